"""Answers of newer and older servers are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.job import EndEvent, PreviewEvent, ProgressEvent, StateEvent
from kizy.core.request import GenerationRequest
from kizy.orchestrator.sdk.remote.reading import (
    UnreadableError,
    read,
    read_all,
    read_event,
    read_job,
    read_page,
)
from kizy.orchestrator.service import ModelInfo, QueueState

from tests.fakes.draws import plan_of

FOX = GenerationRequest(prompt="a red fox", seed=1)
ARTIFACT = {"id": "a", "name": "x.png", "media_type": "image/png", "bytes": 3}
Build = Callable[..., dict[str, Any]]


def test_fields_that_a_newer_server_adds_are_passed_over(job: Build) -> None:
    plan = plan_of(FOX).model_dump(mode="json") | {"newer": 1}
    request = {"prompt": "x", "newer": {"a": 1}}
    found = read_job(job(newer=True, plan=plan, request=request, links={"self": "/x"}))
    assert found.plan == plan_of(FOX)
    assert found.request.model_dump()["prompt"] == "x"


def test_fields_that_an_older_server_lacks_have_their_defaults() -> None:
    found = read_job({"id": "a", "request": {"prompt": "x"}})
    assert (found.state, found.artifacts) == ("queued", ())


def test_a_plan_of_a_newer_kizy_is_left_out(job: Build) -> None:
    assert read_job(job(plan={"version": 2})).plan is None


def test_files_of_a_kind_that_is_not_known_are_listed_as_such(job: Build) -> None:
    found = read_job(job(artifacts=[ARTIFACT | {"kind": "film"}, ARTIFACT | {"newer": 1}]))
    assert [one.kind for one in found.artifacts] == ["unknown", "picture"]


def test_a_request_of_a_newer_kizy_is_left_out(job: Build) -> None:
    assert read_job(job(request={"mood": "glad"})).request is None


def test_a_training_is_told_from_a_drawing_by_its_request(job: Build) -> None:
    request = {"files": ["a"], "name": "mimi", "newer": 1}
    assert read_job(job(kind="training", request=request)).request.name == "mimi"  # type: ignore


@pytest.mark.parametrize("values", [None, [], {}, {"id": 3}, "text"])
def test_what_is_no_job_is_refused(values: Any) -> None:
    with pytest.raises(UnreadableError):
        read_job(values)


def test_a_state_that_is_not_known_is_said_to_be_so(job: Build) -> None:
    found = read_job(job(state="dreaming"))
    assert (found.state, found.over) == ("unknown", False)


def test_one_job_of_a_newer_kizy_hides_no_other(job: Build) -> None:
    page = read_page({"jobs": [job(state="dreaming", kind="film", request={"a": 1}), job()]})
    assert [one.state for one in page.jobs] == ["unknown", "queued"]


def test_entries_of_lists_that_are_not_known_are_left_out() -> None:
    values = [{"name": "a", "family": None}, {"name": 3}, {"name": "b", "family": "x", "newer": 1}]
    assert [one.name for one in read_all(ModelInfo, values)] == ["a", "b"]


@pytest.mark.parametrize("values", [None, {}, 3])
def test_what_is_no_list_is_refused(values: Any) -> None:
    with pytest.raises(UnreadableError):
        read_all(ModelInfo, values)


def test_a_page_has_jobs_and_the_next_cursor(job: Build) -> None:
    page = read_page({"jobs": [job(), job()], "next": "c", "newer": 1})
    assert (len(page.jobs), page.next) == (2, "c")


@pytest.mark.parametrize("values", [None, {}, {"jobs": None}])
def test_what_is_no_page_is_refused(values: Any) -> None:
    with pytest.raises(UnreadableError):
        read_page(values)


def test_single_values_are_read() -> None:
    assert read(QueueState, {"waiting": 3, "newer": 1}).waiting == 3
    with pytest.raises(UnreadableError):
        read(QueueState, {"waiting": "many"})


class TestEvents:
    def test_all_kinds_are_read(self, job: Build) -> None:
        progress = {"kind": "progress", "job_id": "a", "fraction": 0.5, "doing": "x", "newer": 1}
        preview = {"kind": "preview", "job_id": "a", "index": 0, "png": "aGVsbG8="}
        state = {"kind": "state", "job": job(newer=1)}
        end = {"kind": "end", "job_id": "a", "state": "succeeded"}
        assert isinstance(read_event(progress), ProgressEvent)
        found = read_event(preview)
        assert isinstance(found, PreviewEvent) and found.png == b"hello"
        assert isinstance(read_event(state), StateEvent)
        assert isinstance(read_event(end), EndEvent)

    def test_a_kind_that_is_not_known_is_none(self) -> None:
        assert read_event({"kind": "song", "job_id": "a"}) is None

    @pytest.mark.parametrize("values", [None, 3, {}, {"kind": "progress"}, {"kind": "state"}])
    def test_what_is_no_event_is_refused(self, values: Any) -> None:
        with pytest.raises(UnreadableError):
            read_event(values)
