"""The ComfyUI engine where more than one thing goes wrong, or at an awkward moment."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import CancelledError, EngineError
from kizy.orchestrator.backends.base import Handle
from kizy.orchestrator.backends.comfyui.run.backend import ComfyEngine, prompt_of
from kizy.orchestrator.backends.comfyui.run.pool import Pool
from kizy.orchestrator.backends.comfyui.run.saved_pictures import SavedPictures
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_faults import PATIENCE
from tests.unit.orchestrator.comfy.builders import CHECKPOINT, Studio, end_of, of_kind, plan_of


@pytest.fixture
def fakes() -> Iterator[list[FakeComfyUI]]:
    with ExitStack() as stack:
        models = {"checkpoints": [CHECKPOINT]}
        yield [stack.enter_context(FakeComfyUI(models=models)) for _ in range(2)]


@pytest.fixture
def make(fakes: list[FakeComfyUI], tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    """make(fake, ..., again=...): an engine over those; the first one alone if none is named."""
    studios: list[Studio] = []

    def make(*chosen: FakeComfyUI, **options: Any) -> Studio:
        folder = tmp_path / f"pictures-{len(studios)}"
        studios.append(Studio(folder, list(chosen) or fakes[:1], **options))
        return studios[-1]

    yield make
    for studio in studios:
        studio.engine.close()


def until(true: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE / 0.005)):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not happen")


def test_pictures_that_come_to_a_server_that_is_away_wait_for_it(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    fake, studio = fakes[0], make()
    client = studio.clients[0]
    studio.engine._save = save_after(studio, lambda: fake.stop())
    job_id = studio.start(plan_of(count=4))
    notices = (e for e in studio.engine.follow(Handle(job_id)) if e.kind == "notice")
    assert next(notices).code == "server_away"
    fake.start()
    events = studio.events(job_id)
    assert end_of(events).state == "succeeded"
    assert sorted(e.artifact.seed for e in of_kind(events, "artifact")) == [7, 8, 9, 10]
    assert client.queue().running == ()


def save_after(studio: Studio, act: Callable[[], None]) -> Any:
    """What the engine saves with, that acts once, before the first picture is saved."""
    save, acted = studio.engine._save, threading.Event()

    def acting(plan: Any, data: bytes) -> Any:
        if not acted.is_set():
            acted.set()
            act()
        return save(plan, data)

    return acting


def test_a_new_job_does_not_wait_for_a_server_that_is_away(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    studio = make()
    studio.draw(plan_of())
    fakes[0].stop()
    end = end_of(studio.draw(plan_of()))
    fakes[0].start()
    assert end.error is not None and end.error.code == "server_unreachable"


def test_a_job_that_is_taken_up_waits_for_a_server_that_is_away(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    """After a power cut Kizy may be there before ComfyUI."""
    fakes[0].stop()
    studio = make(again=True)
    job_id = studio.start(plan_of())
    threading.Event().wait(0.05)
    fakes[0].start()
    assert end_of(studio.events(job_id)).state == "succeeded"


def test_a_finished_file_that_cannot_be_fetched_at_once_is_not_drawn_again(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    fakes[0].faults.short_downloads = 2
    studio = make()
    job_id = studio.start(plan_of())
    assert end_of(studio.events(job_id)).state == "succeeded"
    assert fakes[0].ran(job_id) == 1


def test_a_job_that_is_taken_up_is_tiled_too_when_memory_runs_out(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    fakes[0].faults.out_of_memory("VAEDecode", times=None)
    studio = make(again=True)
    job_id = studio.start(plan_of())
    assert end_of(studio.events(job_id)).state == "succeeded"
    assert fakes[0].ran(job_id, "VAEDecodeTiled") == 1


def test_the_end_of_a_first_try_is_not_taken_for_that_of_the_second(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    """The history is written after the end was told, and still holds the first try until then."""
    fake, studio = fakes[0], make()
    fake.faults.out_of_memory("VAEDecode", times=None)
    fake.pace.hold("history")
    job_id = studio.start(plan_of())
    fake.pace.wait()
    fake.pace.go()
    until(lambda: fake.ran(job_id, "VAEDecodeTiled") == 1)
    fake.pace.wait()
    asked = fake.requests.count(f"GET /history/{job_id}")
    until(lambda: fake.requests.count(f"GET /history/{job_id}") > asked + 2)
    fake.pace.release()
    assert end_of(studio.events(job_id)).state == "succeeded"


def test_a_job_that_is_taken_up_saves_nothing_again(
    fakes: list[FakeComfyUI], make: Callable[..., Studio], tmp_path: Path
) -> None:
    """Also when its server forgot everything: what is saved is not drawn again either."""
    saved = SavedPictures(tmp_path / "saved.jsonl")
    first = make(saved=saved)
    job_id = first.start(plan_of(count=3))
    before = [e.artifact for e in of_kind(first.events(job_id), "artifact")]
    gone = min(before, key=lambda artifact: artifact.seed)
    Path(gone.path).unlink()
    fakes[0].restart()
    later = make(saved=saved, again=True)
    later.start(plan_of(count=3), job_id)
    events = later.events(job_id)
    after = {e.artifact.seed: e.artifact for e in of_kind(events, "artifact")}
    assert end_of(events).state == "succeeded" and sorted(after) == [7, 8, 9]
    assert [after[a.seed] for a in before if a != gone] == [a for a in before if a != gone]
    assert len(list((tmp_path / "pictures-1").iterdir())) == 1
    ids = [prompt_of(job_id, index) for index in range(3)]
    assert [fakes[0].ran(prompt_id) for prompt_id in ids] == [2, 1, 1]


def test_servers_may_come_and_go_while_an_engine_lives(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    studio = make(*fakes)
    first, second = studio.clients
    studio.engine.use([first])
    fakes[0].pace.hold("step")
    job_id = studio.start(plan_of())
    fakes[0].pace.wait()
    studio.engine.use([second])
    other = studio.start(plan_of())
    assert end_of(studio.events(other)).state == "succeeded"
    fakes[0].pace.release()
    assert end_of(studio.events(job_id)).state == "succeeded"
    assert [fake.ran(job_id) for fake in fakes] == [1, 0]
    assert [fake.ran(other) for fake in fakes] == [0, 1]


def test_a_job_that_waits_takes_a_server_that_comes(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    studio = make(*fakes)
    first, second = studio.clients
    studio.engine.use([first])
    fakes[0].pace.hold("step")
    long = studio.start(plan_of(count=2))
    fakes[0].pace.wait()
    third = studio.start(plan_of())
    threading.Event().wait(0.05)
    studio.engine.use([first, second])
    assert end_of(studio.events(third)).state == "succeeded"
    assert fakes[1].ran(third) == 1
    fakes[0].pace.release()
    assert end_of(studio.events(long)).state == "succeeded"


@pytest.mark.parametrize("there", [0, 1])
def test_a_job_is_taken_up_on_the_server_that_has_it(
    fakes: list[FakeComfyUI], make: Callable[..., Studio], there: int
) -> None:
    job_id = make(fakes[there]).start(plan_of())
    until(lambda: fakes[there].history().get(job_id) == "success")
    later = make(*fakes, again=True)
    later.start(plan_of(), job_id)
    assert end_of(later.events(job_id)).state == "succeeded"
    assert [fake.ran(job_id) for fake in fakes] == [1 - there, there]


def test_where_no_other_server_has_the_model_the_first_error_is_told(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    first, second = fakes
    second.models["checkpoints"] = []
    studio = make(*fakes, away=0.3)
    first.pace.hold("step")
    job_id = studio.start(plan_of())
    first.pace.wait()
    first.stop()
    end = end_of(studio.events(job_id))
    first.start()
    assert end.error is not None and end.error.code == "server_unreachable"


def test_where_no_other_server_has_the_model_a_job_waits_for_its_own(
    fakes: list[FakeComfyUI], make: Callable[..., Studio]
) -> None:
    first, second = fakes
    second.models["checkpoints"] = []
    studio = make(*fakes)
    first.pace.hold("step")
    job_id = studio.start(plan_of())
    first.pace.wait()
    first.stop()
    notices = (e for e in studio.engine.follow(Handle(job_id)) if e.kind == "notice")
    assert next(notices).code == "server_away"
    first.pace.release()
    first.start()
    assert end_of(studio.events(job_id)).state == "succeeded"
    assert (first.ran(job_id), second.requests.count("POST /prompt")) == (1, 0)


def test_without_servers_a_job_fails_instead_of_hanging(tmp_path: Path) -> None:
    engine = ComfyEngine(Pool([]), [], PictureFolder(tmp_path, "0").save_png)
    handle = engine.start(plan_of(), str(uuid.uuid4()))
    end = end_of(list(engine.follow(handle)))
    assert end.error is not None and end.error.code == "server_unreachable"


def test_a_later_pictures_failure_stops_the_others_and_is_told_at_once(
    make: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = make()
    told = threading.Event()

    def picture(work: Any, index: int, meter: Any) -> None:
        if index == 1:
            raise EngineError("server_failed", "The second picture broke.")
        # The first one goes on for as long as nobody stops it.
        assert work.cancelled.wait(PATIENCE)
        assert told.wait(PATIENCE)
        raise CancelledError("cancelled", "Stopped.")

    monkeypatch.setattr(studio.engine, "_picture", picture)
    events = studio.engine.follow(Handle(studio.start(plan_of(count=2))))
    notice = next(event for event in events if event.kind == "notice")
    assert "The second picture broke." in notice.text
    told.set()
    end = list(events)[-1]
    assert end.kind == "end" and end.error is not None
    assert (end.state, end.error.message) == ("failed", "The second picture broke.")


def test_whatever_ends_a_jobs_thread_its_followers_hear_of_an_end(
    make: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = make()

    def picture(work: Any, index: int, meter: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(studio.engine, "_picture", picture)
    assert end_of(studio.draw(plan_of())).state == "failed"
