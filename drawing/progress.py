"""How far a drawing is and how long it still takes, learned from the parts already done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class Meter:
    """Counts parts of several kinds; each kind's cost is what it has taken so far.

    `parts`: how many parts of each kind there are. `guess`: cost of a part of each kind in
    seconds before one was seen; only their ratio counts once any part was seen.
    """

    def __init__(
        self,
        parts: Mapping[str, int],
        guess: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = dict(parts)
        self._guess = dict(guess)
        self._seconds = dict.fromkeys(parts, 0.0)
        self._done = dict.fromkeys(parts, 0)
        self._clock = clock
        self._last = clock()
        self._fraction = 0.0

    def done(self, kind: str) -> None:
        """One part of a kind has just ended; the time since the last call is its cost."""
        moment = self._clock()
        self._seconds[kind] += moment - self._last
        self._last = moment
        self._done[kind] += 1
        self._left[kind] = max(0, self._left[kind] - 1)

    def expect(self, kind: str, count: int) -> None:
        """So many parts of a kind are still to come: what was guessed is known now."""
        self._left[kind] = count

    @property
    def left(self) -> float | None:
        """Seconds still to go; None before anything is known."""
        if not any(self._done.values()):
            return None
        return sum(count * self._cost(kind) for kind, count in self._left.items())

    @property
    def fraction(self) -> float:
        """Share of the work that is done, 0 to 1; never smaller than it was."""
        spent = sum(count * self._cost(kind) for kind, count in self._done.items())
        total = spent + sum(count * self._cost(kind) for kind, count in self._left.items())
        if total > 0:
            self._fraction = max(self._fraction, min(1.0, spent / total))
        return self._fraction

    def _cost(self, kind: str) -> float:
        if self._done[kind]:
            return self._seconds[kind] / self._done[kind]
        guessed = sum(self._guess[k] * n for k, n in self._done.items())
        scale = sum(self._seconds.values()) / guessed if guessed > 0 else 1.0
        return self._guess[kind] * scale
