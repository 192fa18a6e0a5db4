"""Stopping our own job and nobody else's, on old servers and new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.errors import CancelledError, EngineError
from kizy.orchestrator.backends.comfyui.protocol.client import MAX_STOPPING, ComfyClient

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import done_of
from tests.fakes.comfyui_graphs import (
    drawing,
    drawing_graph,
    new_id,
    picture,
    picture_graph,
)

Connect = Callable[..., ComfyClient]


@pytest.fixture(params=[False, True], ids=["old", "new"])
def any_age(request: pytest.FixtureRequest) -> Any:
    """A fake as 0.3.64, and one as versions with an atomic cancel."""
    with FakeComfyUI(newer=request.param) as fake:
        yield fake


def test_a_running_job_is_stopped(
    any_age: FakeComfyUI, connect: Connect, following: Callable[..., Any]
) -> None:
    client = connect(url=any_age.url)
    any_age.pace.hold("step")
    prompt_id = new_id()
    client.submit(drawing_graph(), prompt_id)
    job = following(client.follow(prompt_id, drawing()))
    any_age.pace.wait()
    client.cancel(prompt_id)
    assert isinstance(job.failure(), CancelledError)
    assert any_age.history() == {prompt_id: "error"}


def test_a_waiting_job_is_stopped(
    any_age: FakeComfyUI, connect: Connect, following: Callable[..., Any]
) -> None:
    client = connect(url=any_age.url)
    any_age.pace.hold("node")
    other = any_age.add_foreign_job()
    any_age.pace.wait()
    prompt_id = new_id()
    client.submit(picture_graph(), prompt_id)
    job = following(client.follow(prompt_id, picture()))
    client.cancel(prompt_id)
    assert isinstance(job.failure(), CancelledError)
    any_age.pace.release()
    assert any_age.at_work() in ([other], [])
    assert any_age.ran(prompt_id) == 0


def test_nobody_else_is_stopped(any_age: FakeComfyUI, connect: Connect) -> None:
    client = connect(url=any_age.url)
    any_age.pace.hold("step")
    other = any_age.add_foreign_job(drawing_graph())
    any_age.pace.wait()
    for prompt_id in (new_id(), new_id()):
        client.cancel(prompt_id)
    mine = new_id()
    client.submit(picture_graph(), mine)
    client.cancel(mine)
    with pytest.raises(CancelledError):
        list(client.follow(mine, picture()))
    any_age.pace.release()
    last = new_id()
    client.submit(picture_graph(2), last)
    done_of(client, last, picture(2))
    assert any_age.history()[other] == "success"
    # The interrupt is sent only while our own job runs.
    assert "POST /interrupt" not in any_age.requests


def test_the_atomic_cancel_is_looked_for_once(fake: FakeComfyUI, client: ComfyClient) -> None:
    for _ in range(3):
        client.cancel(new_id())
    assert len([r for r in fake.requests if r.endswith("/cancel")]) == 1


def test_a_server_with_an_atomic_cancel_needs_nothing_else(connect: Connect) -> None:
    with FakeComfyUI(newer=True) as fake:
        client = connect(url=fake.url)
        client.cancel(new_id())
        assert [r for r in fake.requests if r.startswith("POST") and "/cancel" not in r] == []


def test_stopping_a_job_that_is_over_changes_nothing(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    prompt_id = new_id()
    client.submit(picture_graph(), prompt_id)
    done_of(client, prompt_id, picture())
    client.cancel(prompt_id)
    assert done_of(client, prompt_id, picture()).outputs


def test_stopping_while_the_server_is_away_does_not_raise(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.stop()
    client.cancel(new_id())


def test_jobs_that_nobody_follows_any_more_are_not_remembered(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.pace.hold("step")
    prompt_id = new_id()
    client.submit(drawing_graph(), prompt_id)
    events = client.follow(prompt_id, drawing())
    next(events)
    client.cancel(prompt_id)
    # Whoever follows goes away before its end.
    events.close()
    fake.pace.release()
    assert not client._stopping


def test_what_is_asked_to_stop_without_being_followed_is_not_remembered(
    client: ComfyClient,
) -> None:
    client.ask_to_stop(new_id())
    assert not client._stopping


def test_the_list_of_jobs_that_are_stopped_does_not_grow_for_ever(
    client: ComfyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_there(_prompt_id: str) -> None:
        raise EngineError("server_unreachable", "It is away.")

    monkeypatch.setattr(client._jobs, "ask_cancel", nobody_there)
    for _ in range(MAX_STOPPING + 10):
        client.cancel(new_id())
    assert len(client._stopping) == MAX_STOPPING
