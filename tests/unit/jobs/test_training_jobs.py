"""Trainings in the queue: prepared, followed, taken up, stopped; their files are the job's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import InputError, UnknownNameError
from kizy.core.request import TrainingRequest
from kizy.trainer import supervise
from kizy.trainer.events import TrainingEvent
from kizy.trainer.run_folder import RunFolder
from kizy.trainer.supervise import TrainingHandle, Waits
from PIL import Image

from tests.fakes.training import FakeEngine, plan
from tests.waiting import wait_for


class FakeTrainer:
    """Prepares nothing; trains with the fake engine's process. `how`: what that does."""

    def __init__(self, **how: Any) -> None:
        self.how: dict[str, Any] = {"pause": 0.01} | how
        self.prepared: list[TrainingRequest] = []
        self.names: list[list[str]] = []

    def prepare(
        self,
        request: TrainingRequest,
        *,
        progress: Callable[[float, str], None] = lambda share, doing: None,
        cancelled: Callable[[], bool] = lambda: False,
        folder: str | None = None,
    ) -> RunFolder:
        self.prepared.append(request)
        self.names.append(sorted(Path(file).name for file in request.files))
        assert all(Path(file).is_file() for file in request.files)
        progress(0.5, "looking at pictures")
        run = RunFolder.create(request, name=folder)
        (run.path / "fake.json").write_text(json.dumps(self.how))
        (run.path / "result").write_bytes(b"a LoRA of this training")
        for name in ("sample.png", "report.png"):
            Image.new("RGB", (8, 8), "red" if name == "sample.png" else "blue").save(
                run.path / name
            )
        run.write("plan.json", plan())
        return run

    def resume(self, run: RunFolder) -> TrainingHandle:
        if run.is_running():
            return supervise.attach(run)
        return supervise.start(run, FakeEngine())

    def follow(self, handle: TrainingHandle) -> Iterator[TrainingEvent]:
        return supervise.follow(handle, Waits(0.005))

    def kill(self, handle: TrainingHandle) -> None:
        supervise.kill(handle)


def ended(service: Any, job_id: str) -> Any:
    for _ in service.follow(job_id):
        pass
    return service.job(job_id)


def uploaded(service: Any, *names: str) -> tuple[str, ...]:
    """Files that were handed over, as a training names them."""
    found = []
    for number, name in enumerate(names):
        buffer = io.BytesIO()
        if name.endswith(".txt"):
            buffer.write(f"a caption, {number}".encode())
        else:
            Image.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
        buffer.seek(0)
        found.append(f"{service.upload(name, buffer).id}/{name}")
    return tuple(found)


def wanted(service: Any, *names: str) -> TrainingRequest:
    files = uploaded(service, *(names or ("a.png", "b.png")))
    return TrainingRequest(files=files, name="Mimi", about="a cat")


def test_a_training_ends_with_its_lora_samples_and_report(made: Any) -> None:
    trainer = FakeTrainer()
    service = made(trainer=lambda: trainer)
    job = service.train(wanted(service, "a.png", "a.txt", "b.png"))
    assert (job.kind, job.title) == ("training", "Mimi")
    over = ended(service, job.id)
    assert over.state == "succeeded" and over.training["name"] == plan().name
    assert trainer.names == [["a.png", "a.txt", "b.png"]]
    assert sorted(file.kind for file in over.artifacts) == ["lora", "report", "sample"]
    lora = next(file for file in over.artifacts if file.kind == "lora")
    assert service.artifact(lora.id).path.read_bytes() == b"a LoRA of this training"


def test_ids_beside_paths_become_files_and_paths_stay(made: Any, tmp_path: Path) -> None:
    trainer = FakeTrainer()
    service = made(trainer=lambda: trainer, files=True)
    mine = tmp_path / "mine.png"
    Image.new("RGB", (8, 8), "blue").save(mine)
    files = (*uploaded(service, "sent.png"), str(mine))
    job = service.train(TrainingRequest(files=files, name="Mimi", about="a cat"))
    assert ended(service, job.id).state == "succeeded"
    assert trainer.names == [["mine.png", "sent.png"]]
    assert trainer.prepared[0].files[1] == str(mine) and mine.is_file()


def test_an_id_beside_paths_that_nobody_handed_over_is_told(made: Any, tmp_path: Path) -> None:
    service = made(trainer=lambda: FakeTrainer(), files=True)
    files = ("0" * 64, str(tmp_path))
    job = service.train(TrainingRequest(files=files, name="Mimi", about="a cat"))
    over = ended(service, job.id)
    assert over.state == "failed" and over.error.code == "upload_unknown"


def test_trainings_and_drawings_run_beside_each_other(made: Any, wish: Any) -> None:
    service = made(trainer=lambda: FakeTrainer(pause=0.05))
    training = service.train(wanted(service))
    drawing = service.generate(wish())
    assert ended(service, drawing.id).state == "succeeded"
    assert service.job(training.id).state == "running"
    assert ended(service, training.id).state == "succeeded"


def test_its_steps_are_its_progress(made: Any) -> None:
    service = made(trainer=lambda: FakeTrainer())
    job = service.train(wanted(service))
    events = [numbered.event for numbered in service.follow(job.id)]
    shares = [event.fraction for event in events if event.kind == "progress"]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert any("step 10 of 20" in e.doing for e in events if e.kind == "progress")


def test_a_training_is_cancelled_and_goes_on_when_tried_again(made: Any) -> None:
    trainer = FakeTrainer(steps=200)
    service = made(trainer=lambda: trainer)
    job = service.train(wanted(service))
    wait_for(lambda: service.job(job.id).progress > 0.15)
    service.cancel(job.id)
    over = ended(service, job.id)
    assert over.state == "cancelled"
    assert not any(file.kind == "lora" for file in over.artifacts)
    again = ended(service, service.retry(job.id).id)
    assert again.state == "succeeded" and len(trainer.prepared) == 1


def test_a_training_goes_on_in_its_own_process_when_the_server_stops(made_in_file: Any) -> None:
    trainer = FakeTrainer(steps=100)
    first = made_in_file(trainer=lambda: trainer)
    job = first.train(wanted(first))
    wait_for(lambda: first.job(job.id).progress > 0.1)
    first.close(0.1)
    second = made_in_file(trainer=lambda: trainer)
    over = ended(second, job.id)
    assert (over.state, over.attempts) == ("succeeded", 2)
    assert len(trainer.prepared) == 1


def test_a_training_that_dies_says_why(made: Any) -> None:
    service = made(trainer=lambda: FakeTrainer(end="memory"))
    over = ended(service, service.train(wanted(service)).id)
    assert over.state == "failed" and over.error is not None
    assert over.error.code == "out_of_memory"


def test_files_that_nobody_handed_over_are_refused_at_once(made: Any, tmp_path: Path) -> None:
    service = made(trainer=lambda: FakeTrainer())
    for wrong in (str(tmp_path), "0" * 64):
        with pytest.raises(UnknownNameError) as caught:
            service.train(TrainingRequest(files=(wrong,), name="x"))
        assert caught.value.code == "upload_unknown"
    with pytest.raises(InputError):
        service.train(
            TrainingRequest(files=uploaded(service, "a.png"), name="x", base=str(tmp_path))
        )
