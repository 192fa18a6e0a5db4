"""A value that is asked for in a thread of its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kizy.core.kept import Kept

WAIT = 20.0
"""Seconds after which a test that hangs fails."""


class Source:
    """Counts; `go` lets it answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 0.0
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.error: Exception | None = None
        self.kept = Kept(self.ask, fresh=5.0, clock=lambda: self.now)

    def ask(self) -> int:
        self.begun.set()
        assert self.go.wait(WAIT)
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.asked


@pytest.fixture
def source() -> Source:
    return Source()


def test_it_is_asked_again_when_it_is_too_old(source: Source) -> None:
    assert [source.kept.get(60.0), source.kept.get(60.0)] == [1, 1]
    source.now = 60.0
    assert source.kept.get(60.0) == 2


def test_an_old_value_is_given_at_once_and_asked_anew_behind_it(source: Source) -> None:
    assert source.kept.get(60.0) == 1
    source.now = 6.0
    source.begun.clear()
    source.go.clear()
    assert source.kept.get(60.0) == 1 and source.kept.soon() == 1
    assert source.begun.wait(WAIT)
    source.go.set()
    assert source.kept.get(5.0) == 2


def test_all_who_wait_share_one_question(source: Source) -> None:
    source.go.clear()
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(source.kept.get, 60.0) for _ in range(8)]
        assert source.begun.wait(WAIT)
        assert source.kept.soon() is None and source.kept.last is None
        source.go.set()
        assert {one.result(WAIT) for one in found} == {1}


def test_a_failure_is_raised_to_all_and_asked_anew_later(source: Source) -> None:
    source.error = ValueError("no")
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            source.kept.get(5.0)
    assert source.asked == 1 and source.kept.last is None
    source.error, source.now = None, 5.0
    assert source.kept.get(5.0) == 2
