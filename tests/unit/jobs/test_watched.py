"""Threads that nobody waits for: whatever goes wrong in one round, the next one comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from kizy.orchestrator.jobs.watched_thread import WatchedThread

from tests.waiting import wait_for

Watched = Callable[..., WatchedThread]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """watched(step): a thread that is started, and stopped after the test."""
    made: list[WatchedThread] = []

    def build(step: Callable[[], None], **values: float) -> WatchedThread:
        thread = WatchedThread("kizy-test", step, first_rest=0.01, **values)
        made.append(thread)
        thread.start()
        return thread

    yield build
    for thread in made:
        thread.stop()


@pytest.mark.parametrize("failure", [ValueError("what"), SystemExit(3)], ids=["error", "exit"])
def test_a_round_that_fails_is_told_and_the_next_one_comes(
    watched: Watched, failure: BaseException
) -> None:
    fails, rounds, go_on = threading.Event(), [0], threading.Event()

    def step() -> None:
        rounds[0] += 1
        if not go_on.is_set():
            fails.set()
            raise failure
        go_on.wait(0.01)

    thread = watched(step)
    wait_for(lambda: thread.problem is not None)
    assert type(failure).__name__ in (thread.problem or "")
    assert "what" not in (thread.problem or "")
    go_on.set()
    wait_for(lambda: thread.problem is None)
    assert rounds[0] >= 2


def test_a_round_that_hangs_is_told(watched: Watched) -> None:
    let_go = threading.Event()

    def step() -> None:
        let_go.wait(20.0)

    thread = watched(step, patience=0.02)
    wait_for(lambda: "hung" in (thread.problem or ""))
    let_go.set()
    wait_for(lambda: thread.problem is None or "hung" not in thread.problem)


def test_one_that_is_stopped_rests_no_longer_and_has_no_problem(watched: Watched) -> None:
    thread: list[WatchedThread] = []
    begun = threading.Event()

    def step() -> None:
        begun.set()
        thread[0].rest(600.0)

    thread.append(WatchedThread("kizy-test", step))
    thread[0].start()
    assert begun.wait(20.0)
    thread[0].stop()
    thread[0].join(20.0)
    assert thread[0].problem is None and not thread[0]._thread.is_alive()
