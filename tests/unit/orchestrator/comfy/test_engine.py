"""The ComfyUI engine over fakes: every picture is drawn once, whatever happens on the way."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.picture_files import read_plan
from kizy.core.plan import ImproveStage, InputPicture, ModelFile, Plan, PlannedStart
from kizy.orchestrator.backends.base import Handle
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.run.backend import ComfyEngine, part_of, prompt_of
from kizy.orchestrator.backends.comfyui.run.pool import Pool
from kizy.orchestrator.storage.pictures import PictureFolder
from PIL import Image

from tests.fakes.comfyui import FakeComfyUI
from tests.unit.orchestrator.comfy.builders import (
    CHECKPOINT,
    QUICK,
    Studio,
    end_of,
    of_kind,
    plan_of,
)


@pytest.fixture
def fake() -> Iterator[FakeComfyUI]:
    with FakeComfyUI(models={"checkpoints": [CHECKPOINT]}) as server:
        yield server


@pytest.fixture
def studio(fake: FakeComfyUI, tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(tmp_path / "pictures", [fake])
    yield studio
    studio.engine.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Studio, list[FakeComfyUI]]]:
    with ExitStack() as stack:
        models = {"checkpoints": [CHECKPOINT]}
        fakes = [stack.enter_context(FakeComfyUI(models=models)) for _ in range(2)]
        studio = Studio(tmp_path / "pictures", fakes)
        yield studio, fakes
        studio.engine.close()


def test_a_picture_is_drawn_and_saved_with_its_plan(studio: Studio) -> None:
    events = studio.draw(plan_of())
    assert end_of(events).state == "succeeded"
    (artifact,) = [event.artifact for event in of_kind(events, "artifact")]
    assert (artifact.width, artifact.height, artifact.seed) == (64, 64, 7)
    assert read_plan(Path(artifact.path)) == plan_of()


def test_each_picture_of_a_job_has_its_own_seed(studio: Studio) -> None:
    events = studio.draw(plan_of(count=5))
    seeds = sorted(event.artifact.seed for event in of_kind(events, "artifact"))
    assert seeds == [7, 8, 9, 10, 11]


def test_progress_never_runs_backwards(studio: Studio) -> None:
    events = studio.draw(plan_of(count=3))
    fractions = [event.fraction for event in of_kind(events, "progress")]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_previews_are_png(studio: Studio) -> None:
    previews = of_kind(studio.draw(plan_of()), "preview")
    assert previews and all(event.png.startswith(b"\x89PNG") for event in previews)


def test_the_first_picture_has_the_jobs_own_id_there(studio: Studio, fake: FakeComfyUI) -> None:
    job_id = studio.start(plan_of(count=2))
    studio.events(job_id)
    assert fake.ran(job_id) == 1
    assert fake.ran(prompt_of(job_id, 1)) == 1


def test_a_second_start_with_the_same_id_draws_nothing_more(
    studio: Studio, fake: FakeComfyUI
) -> None:
    job_id = studio.start(plan_of())
    studio.engine.start(plan_of(), job_id)
    studio.events(job_id)
    assert fake.ran(job_id) == 1


def test_another_process_takes_up_a_job_without_drawing_it_again(
    studio: Studio, fake: FakeComfyUI, tmp_path: Path
) -> None:
    job_id = studio.start(plan_of())
    studio.events(job_id)
    later = Studio(tmp_path / "later", [fake], again=True)
    later.start(plan_of(), job_id)
    events = later.events(job_id)
    assert len(of_kind(events, "artifact")) == 1
    assert fake.ran(job_id) == 1


def test_a_job_goes_on_after_a_restart_of_its_server_and_is_drawn_once(
    studio: Studio, fake: FakeComfyUI
) -> None:
    fake.pace.hold("step")
    job_id = studio.start(plan_of())
    fake.pace.wait()
    fake.pace.release()
    fake.restart()
    events = studio.events(job_id)
    assert end_of(events).state == "succeeded"
    said = [event.code for event in of_kind(events, "notice")]
    # On a busy machine the restart may take long enough to be told of.
    assert [code for code in said if not code.startswith("server_")] == ["sent_again"]
    assert (len(of_kind(events, "artifact")), fake.ran(job_id)) == (1, 1)


def test_a_job_survives_a_queue_that_somebody_cleared(studio: Studio, fake: FakeComfyUI) -> None:
    fake.pace.hold("dequeued")
    foreign = fake.add_foreign_job()
    fake.pace.wait()
    job_id = studio.start(plan_of())
    while job_id not in fake.pending():
        threading.Event().wait(0.005)
    fake.clear_queue()
    fake.pace.release()
    assert end_of(studio.events(job_id)).state == "succeeded"
    assert (fake.ran(job_id), fake.ran(foreign)) == (1, 1)


def test_a_job_that_vanishes_twice_fails_in_plain_words(studio: Studio, fake: FakeComfyUI) -> None:
    fake.pace.hold("step")
    job_id = studio.start(plan_of())
    for _ in range(2):
        fake.pace.wait()
        fake.restart()
    end = end_of(studio.events(job_id))
    assert end.error is not None and end.error.code == "server_lost"


def test_cancel_stops_our_job_and_nobody_elses(studio: Studio, fake: FakeComfyUI) -> None:
    fake.pace.hold("step")
    job_id = studio.start(plan_of(count=2))
    fake.pace.wait()
    foreign = fake.add_foreign_job()
    studio.engine.cancel(Handle(job_id))
    end = end_of(studio.events(job_id))
    fake.pace.release()
    assert end.state == "cancelled"
    while fake.history().get(foreign) is None:
        threading.Event().wait(0.005)
    assert fake.history()[foreign] == "success"
    assert fake.ran(job_id) == 0


def test_out_of_memory_is_met_once_by_decoding_in_tiles(studio: Studio, fake: FakeComfyUI) -> None:
    fake.faults.out_of_memory("VAEDecode", times=None)
    job_id = studio.start(plan_of())
    events = studio.events(job_id)
    assert end_of(events).state == "succeeded"
    assert [event.code for event in of_kind(events, "notice")] == ["less_memory"]
    assert fake.ran(job_id, "VAEDecodeTiled") == 1


def test_where_memory_ran_out_for_a_part_of_a_picture_the_next_ones_begin_in_tiles(
    studio: Studio, fake: FakeComfyUI, tmp_path: Path
) -> None:
    fake.faults.out_of_memory("VAEDecode", times=None)
    picture, mask = Image.new("RGB", (200, 100), "teal"), Image.new("L", (200, 100))
    mask.paste(255, (20, 30, 60, 70))
    mask.paste(255, (130, 30, 170, 70))
    values = {"what": "mask", "amount": "normal", "strength": 0.4, "multiple": 64}
    values |= {"width": 64, "height": 64, "mask": kept(mask, tmp_path / "mask.png")}
    start = PlannedStart(picture=kept(picture, tmp_path / "start.png"), strength=0)
    size = {"output_width": 200, "output_height": 100}
    job_id = studio.start(plan_of(start=start, stages=(ImproveStage(**values),), **size))
    events = studio.events(job_id)
    assert end_of(events).state == "succeeded"
    codes = [event.code for event in of_kind(events, "notice")]
    assert codes == ["improved", "less_memory"]
    parts = [part_of(job_id, number) for number in (1, 2)]
    assert fake.requests.count("POST /prompt") == 3
    assert [fake.ran(part, "VAEDecodeTiled") for part in parts] == [1, 1]


def kept(picture: Image.Image, path: Path) -> InputPicture:
    picture.save(path)
    return InputPicture(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_out_of_memory_that_stays_fails_with_a_fix(studio: Studio, fake: FakeComfyUI) -> None:
    fake.faults.out_of_memory("KSampler", times=None)
    end = end_of(studio.draw(plan_of()))
    assert end.error is not None
    assert end.error.code == "out_of_memory" and end.error.fix


def test_a_missing_model_fails_with_what_is_there(studio: Studio) -> None:
    end = end_of(studio.draw(plan_of(model=ModelFile(name="v1-5-pruned.safetensors"))))
    assert end.error is not None and end.error.code == "server_model_missing"
    assert "v1-5-pruned-emaonly" in end.error.message


def test_what_comes_in_another_size_is_brought_to_the_planned_one(studio: Studio) -> None:
    events = studio.draw(plan_of(output_width=70, output_height=71))
    (artifact,) = [event.artifact for event in of_kind(events, "artifact")]
    assert (artifact.width, artifact.height) == (70, 71)


def test_a_job_of_a_dead_server_moves_to_another_once(
    two: tuple[Studio, list[FakeComfyUI]],
) -> None:
    studio, fakes = two
    for fake in fakes:
        fake.pace.hold("step")
    job_id = studio.start(plan_of())
    while not any(job_id in fake.at_work() for fake in fakes):
        threading.Event().wait(0.005)
    first, second = sorted(fakes, key=lambda fake: job_id not in fake.at_work())
    second.pace.release()
    first.stop()
    events = studio.events(job_id)
    first.start()
    assert end_of(events).state == "succeeded"
    assert [event.code for event in of_kind(events, "notice")][-1] == "moved"
    assert second.ran(job_id) == 1


def test_a_server_that_comes_back_is_told_to_drop_what_moved_away(
    two: tuple[Studio, list[FakeComfyUI]],
) -> None:
    studio, fakes = two
    fakes[0].pace.hold("step")
    client = studio.clients[0]
    prompt_id = str(uuid.uuid4())
    studio.engine._left_behind[client.address.name] = {prompt_id}
    client.submit(_graph(plan_of(), client), prompt_id)
    fakes[0].pace.wait()
    studio.engine._stop_left_behind(client, now="another")
    fakes[0].pace.release()
    while prompt_id not in fakes[0].history():
        threading.Event().wait(0.005)
    assert fakes[0].history()[prompt_id] == "error"


def _graph(plan: Plan, client: ComfyClient) -> Any:
    from kizy.orchestrator.backends.comfyui.workflows.compile import compile_plan
    from kizy.orchestrator.backends.comfyui.workflows.library import template_for

    facts = client.facts()
    return compile_plan(plan, template_for(plan, facts), facts).graph


def test_pictures_of_one_job_are_shared_by_the_servers(
    two: tuple[Studio, list[FakeComfyUI]],
) -> None:
    studio, fakes = two
    for fake in fakes:
        fake.pace.hold("step")
    job_id = studio.start(plan_of(count=4))
    for fake in fakes:
        fake.pace.wait()
    for fake in fakes:
        fake.pace.release()
    events = studio.events(job_id)
    assert len(of_kind(events, "artifact")) == 4
    prompts = [prompt_of(job_id, index) for index in range(4)]
    assert all(sum(fake.ran(prompt) for fake in fakes) == 1 for prompt in prompts)
    assert all(any(fake.ran(prompt) for prompt in prompts) for fake in fakes)


def test_without_an_answer_from_any_server_the_job_fails_in_plain_words(tmp_path: Path) -> None:
    with FakeComfyUI() as fake:
        url = fake.url
    client = ComfyClient(Address("gone", url), timing=replace(QUICK, connect=0.2))
    engine = ComfyEngine(Pool([client]), [client], PictureFolder(tmp_path, "0").save_png)
    job_id = str(uuid.uuid4())
    engine.start(plan_of(), job_id)
    end = end_of(list(engine.follow(Handle(job_id))))
    assert end.error is not None and end.error.code == "server_unreachable"


def test_what_the_servers_can_draw_is_told(studio: Studio) -> None:
    capabilities = studio.engine.capabilities()
    assert capabilities.kind == "comfyui"
    assert "sd15" in capabilities.families
    assert "0.3.64" in capabilities.fingerprint
