"""When a ComfyUI is restarted: pure, told the time and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["leave", "end", "start", "give up"]


@dataclass(frozen=True)
class Rules:
    """Seconds, but for the counts.

    `hangs`: silent for so long, and so many looks, it hangs; a large model that loads from a slow
    disk may keep it silent for minutes. `limit`: restarts in a row; a run of `steady` seconds
    ends the row. `first_pause` doubles with each restart, up to `last_pause`.
    """

    hangs: float = 180.0
    silent_looks: int = 3
    ready: float = 300.0
    limit: int = 5
    steady: float = 600.0
    first_pause: float = 1.0
    last_pause: float = 60.0


class Watch:
    """One server's history since it was first ready. `problem` is why it was last ended."""

    def __init__(self, rules: Rules, now: float) -> None:
        self._rules = rules
        self._started = self._heard = now
        self._ready = True
        self._silent_looks = 0
        self._start_at: float | None = None
        self.restarts = 0
        self.given_up = False
        self.problem = ""

    @property
    def ready(self) -> bool:
        """Whether it has answered since it was last started."""
        return self._ready and self._start_at is None and not self.given_up

    def look(self, now: float, *, runs: bool, answers: bool, asked: bool = False) -> Action:
        """What to do. `asked`: somebody says that it is stuck, though it answers.

        After "end" the caller ends it; "start" comes when its pause is over.
        """
        if self.given_up:
            return "leave"
        if self._start_at is not None:
            return self._begin(now) if now >= self._start_at else "leave"
        if not runs:
            return self._fail(now, "It ended by itself.")
        if asked:
            return self._fail(now, "Nothing ran on it any more.")
        if answers:
            self._heard, self._ready, self._silent_looks = now, True, 0
            if now - self._started >= self._rules.steady:
                self.restarts = 0
            return "leave"
        self._silent_looks += 1
        patience = self._rules.hangs if self._ready else self._rules.ready
        if now - self._heard < patience or self._silent_looks < self._rules.silent_looks:
            return "leave"
        return self._fail(now, f"It did not answer for {now - self._heard:.0f} seconds.")

    def _begin(self, now: float) -> Action:
        self._start_at = None
        self._started = self._heard = now
        self._ready = False
        self._silent_looks = 0
        return "start"

    def _fail(self, now: float, problem: str) -> Action:
        self.problem = problem
        if self.restarts >= self._rules.limit:
            self.given_up = True
            return "give up"
        pause = self._rules.first_pause * 2**self.restarts
        self._start_at = now + min(pause, self._rules.last_pause)
        self.restarts += 1
        return "end"
