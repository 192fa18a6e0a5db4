"""How far a job of several pictures is, and when it will be done."""

from __future__ import annotations

import threading
import time

from ...event_log import Record

SHOW_PAUSE = 0.05
"""Seconds between two previews of a picture, or two steps of a sampler: nobody sees more of them.
"""


class Meter:
    """The progress of a job out of that of its pictures."""

    def __init__(self, record: Record, count: int) -> None:
        self._record = record
        self._fractions = [0.0] * count
        self._told: list[tuple[str, float]] = [("", 0.0)] * count
        self._seconds: float | None = None
        # Guards all of it: the pictures of one job are drawn in threads of their own.
        self._lock = threading.Lock()

    def tell(self, index: int, fraction: float, doing: str, left: float | None) -> None:
        activity, now = doing.partition(",")[0], time.monotonic()
        with self._lock:
            self._fractions[index] = max(self._fractions[index], min(fraction, 1.0))
            told, moment = self._told[index]
            if activity == told and now - moment < SHOW_PAUSE:
                return
            self._told[index] = activity, now
            count = len(self._fractions)
            total = sum(self._fractions) / count
            if count > 1:
                left = self._left(index, left)
                doing = f"picture {index + 1} of {count}: {doing}"
            self._record.progress(total, doing, left)

    def part(self, low: float, high: float) -> Share:
        """What tells of a piece of each picture's work, from `low` to `high` of the whole."""
        return Share(self, low, high)

    def done(self, index: int) -> None:
        self.tell(index, 1.0, "saved", 0.0)

    def _left(self, index: int, left: float | None) -> float | None:
        """For all pictures, by what the one that reports now takes as a whole."""
        begun = self._fractions[index]
        if left is not None and begun < 1:
            self._seconds = left / (1 - begun)
        if self._seconds is None:
            return None
        at_once = max(1, sum(0 < f < 1 for f in self._fractions))
        return sum(1 - f for f in self._fractions) * self._seconds / at_once


class Share:
    """The progress of a piece of the work on a picture."""

    def __init__(self, meter: Meter, low: float, high: float) -> None:
        self._meter, self._low, self._high = meter, low, high

    def tell(self, index: int, fraction: float, doing: str, left: float | None) -> None:
        whole = self._low + (self._high - self._low) * min(fraction, 1.0)
        self._meter.tell(index, whole, doing, left)
