"""Finished files that are gone from a server, and what its cache answers then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.orchestrator.backends.comfyui.protocol.graphs import OWN_INPUT, is_of_another, saving_anew
from PIL import Image

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_graphs import node, picture_graph
from tests.unit.orchestrator.comfy.builders import CHECKPOINT, Studio, end_of, of_kind, plan_of


@pytest.fixture(params=["0.3.64", "newer"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeComfyUI]:
    newer = request.param == "newer"
    with FakeComfyUI(models={"checkpoints": [CHECKPOINT]}, newer=newer) as fake:
        yield fake


@pytest.fixture
def make(fake: FakeComfyUI, tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    studios: list[Studio] = []

    def make(**options: Any) -> Studio:
        studios.append(Studio(tmp_path / f"pictures-{len(studios)}", [fake], **options))
        return studios[-1]

    yield make
    for studio in studios:
        studio.engine.close()


def drawn(studio: Studio, job_id: str) -> bytes:
    """The pixels of the job's only picture."""
    events = studio.events(job_id)
    assert end_of(events).error is None
    (event,) = of_kind(events, "artifact")
    with Image.open(event.artifact.path) as picture:
        return picture.tobytes()


def test_the_same_wish_after_the_output_folder_was_emptied_is_saved_from_the_cache(
    fake: FakeComfyUI, make: Callable[..., Studio]
) -> None:
    studio = make()
    first = studio.start(plan_of())
    pixels = drawn(studio, first)
    fake.empty_folder()
    second = studio.start(plan_of())
    assert drawn(studio, second) == pixels
    assert (fake.ran(second, "KSampler"), fake.ran(second, "SaveImage")) == (0, 1)


def test_another_picture_under_the_same_name_is_never_taken_for_the_wish(
    fake: FakeComfyUI, make: Callable[..., Studio]
) -> None:
    """In an emptied folder the numbers of files begin anew."""
    studio = make()
    pixels = drawn(studio, studio.start(plan_of(seed=1)))
    fake.empty_folder()
    other = drawn(studio, studio.start(plan_of(seed=2)))
    assert drawn(studio, studio.start(plan_of(seed=1))) == pixels != other


def test_a_file_that_goes_before_it_is_fetched_is_saved_once_more(
    fake: FakeComfyUI, make: Callable[..., Studio]
) -> None:
    studio = make()
    client, gone = studio.clients[0], []
    read = client.read

    def read_late(*given: Any) -> bytes:
        if not gone:
            gone.append(True)
            fake.empty_folder()
        return read(*given)

    client.read = read_late
    job_id = studio.start(plan_of())
    drawn(studio, job_id)
    assert (fake.ran(job_id, "KSampler"), fake.ran(job_id, "SaveImage")) == (1, 2)
    assert [e.code for e in of_kind(studio.events(job_id), "notice")] == ["sent_again"]


def test_a_job_that_is_taken_up_is_made_again_when_its_file_is_gone(
    fake: FakeComfyUI, make: Callable[..., Studio]
) -> None:
    studio, later = make(), make(again=True)
    job_id = studio.start(plan_of())
    pixels = drawn(studio, job_id)
    fake.empty_folder()
    later.start(plan_of(), job_id)
    assert drawn(later, job_id) == pixels


def test_a_job_that_is_taken_up_takes_no_other_picture_for_its_own(
    fake: FakeComfyUI, make: Callable[..., Studio]
) -> None:
    studio, later = make(), make(again=True)
    job_id = studio.start(plan_of(seed=1))
    pixels = drawn(studio, job_id)
    fake.empty_folder()
    drawn(studio, studio.start(plan_of(seed=2)))
    later.start(plan_of(seed=1), job_id)
    assert drawn(later, job_id) == pixels


def test_files_that_always_go_are_told_after_three_tries(
    fake: FakeComfyUI, make: Callable[..., Studio]
) -> None:
    studio = make()
    client = studio.clients[0]
    read = client.read

    def read_late(*given: Any) -> bytes:
        fake.empty_folder()
        return read(*given)

    client.read = read_late
    job_id = studio.start(plan_of())
    end = end_of(studio.events(job_id))
    assert end.error is not None and "no longer has the finished file" in end.error.message
    assert fake.ran(job_id, "SaveImage") == 3


def test_every_kind_of_output_node_gets_an_input_of_its_own() -> None:
    graph = {**picture_graph(), "3": node("PreviewImage", images=["1", 0])}
    made = saving_anew(graph, ("2", "3"), "a/0")
    assert [OWN_INPUT in made[name]["inputs"] for name in "123"] == [False, True, True]
    assert graph == {**picture_graph(), "3": node("PreviewImage", images=["1", 0])}


def test_what_does_not_tell_its_graph_is_not_taken_for_anothers() -> None:
    assert not is_of_another(b"\x89PNG....", "a/0")
    assert is_of_another(b'\x89PNG..tEXtprompt\0{"kizy_job": "b/0"}', "a/0")
    assert not is_of_another(b'\x89PNG..tEXtprompt\0{"kizy_job": "a/0"}', "a/0")
