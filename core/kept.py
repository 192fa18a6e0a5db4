"""A value that is asked for in a thread of its own, and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

SLICE = 0.25
"""Seconds of one wait: one without end would keep Ctrl-C from the main thread on Windows."""

_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """What `ask` says. Any thread may call; `ask` runs in one thread at a time, under no lock.

    `fresh`: seconds after which it is asked again in the background.
    """

    def __init__(
        self,
        ask: Callable[[], _Value],
        *,
        fresh: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._fresh, self._clock = ask, fresh, clock
        # Guards the three below, from all callers and the thread that asks.
        self._lock = threading.Lock()
        self._asking: _Question[_Value] | None = None
        self._answer: _Question[_Value] | None = None
        self._at = float("-inf")

    def get(self, max_age: float) -> _Value:
        """The value, `max_age` seconds old at most: waits for a new one if it is older.

        Raises what `ask` raised.
        """
        with self._lock:
            age = self._clock() - self._at
            if self._answer is not None and age < max_age:
                question = self._answer
                if age >= self._fresh:
                    self._begin()
            else:
                question = self._begin()
        while not question.ended.wait(SLICE):
            pass
        return question.value()

    def soon(self) -> _Value | None:
        """The value as it is known now, None if it is not; waits for nobody and raises nothing."""
        with self._lock:
            if self._clock() - self._at >= self._fresh:
                self._begin()
            answer = self._answer
        return answer.found if answer is not None else None

    @property
    def last(self) -> _Value | None:
        """The last value, None if there is none; asks nobody."""
        with self._lock:
            return self._answer.found if self._answer is not None else None

    def _begin(self) -> _Question[_Value]:
        """The question under way, or a new one. Called with the lock."""
        if self._asking is None:
            self._asking = _Question()
            work = threading.Thread(
                target=self._run, args=(self._asking,), name="kizy-asks", daemon=True
            )
            work.start()
        return self._asking

    def _run(self, question: _Question[_Value]) -> None:
        try:
            question.found = self._ask()
        except Exception as error:
            question.error = error
        with self._lock:
            self._answer, self._asking = question, None
            self._at = self._clock()
        question.ended.set()


class _Question(Generic[_Value]):
    """One call of `ask`. Written by the thread that asks, before `ended` is set."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.found: _Value | None = None
        self.error: Exception | None = None

    def value(self) -> _Value:
        if self.error is not None:
            raise self.error
        return self.found  # type: ignore[return-value]  # None only if `ask` gave None
