"""How long drawings take, learned from those that were done: by family, size, steps and server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from ...core.plan import Plan
from .database import Database, durations, put

KEEP = 0.7
"""Share that the known duration keeps when a new one is learned."""


@dataclass(frozen=True)
class Work:
    """What decides how long a picture takes."""

    lane: str
    family: str
    width: int
    height: int
    steps: int
    stages: str

    @property
    def amount(self) -> float:
        """Pixels times steps: what most of the time goes with."""
        return float(max(1, self.width * self.height) * max(1, self.steps))


def work_of(plan: Plan, lane: str) -> Work:
    """One picture of a Plan."""
    kinds = [stage.kind for stage in plan.stages if stage.kind != "draw"]
    steps = plan.steps if plan.draws else 1
    return Work(lane, plan.family, plan.width, plan.height, steps, "+".join(kinds))


class Durations:
    """Seconds for a picture, kept in the database."""

    def __init__(self, database: Database) -> None:
        with database.reading() as connection:
            rows = connection.execute(select(durations)).all()
        # Threads of jobs learn what those of requests read, under this lock.
        self._lock = threading.Lock()
        self._known: dict[str, float] = {key: seconds for key, seconds, _count in rows}
        self._counts: dict[str, int] = {key: count for key, _seconds, count in rows}

    def expect(self, plan: Plan, lane: str) -> float | None:
        """Seconds for all pictures of a Plan, on the lane's servers on average; None: unknown."""
        with self._lock:
            known = dict(self._known)
        one = expected(known, work_of(plan, lane))
        return None if one is None else one * plan.count

    def learn(
        self, connection: Connection, plan: Plan, lane: str, server: str, seconds: float
    ) -> None:
        """One picture of a Plan took so long on a server."""
        key = _key(work_of(plan, lane), server)
        with self._lock:
            before = self._known.get(key)
            self._known[key] = seconds if before is None else KEEP * before + (1 - KEEP) * seconds
            self._counts[key] = self._counts.get(key, 0) + 1
            values = {"seconds": self._known[key], "count": self._counts[key]}
        put(connection, durations, {"key": key}, values)


def expected(known: Mapping[str, float], work: Work) -> float | None:
    """Seconds for one picture: of the same kind, else scaled from others of its family.

    `known`: key of kind and server -> seconds. Over the servers the mean counts.
    """
    same = [seconds for key, seconds in known.items() if _same_kind(key, work)]
    if same:
        return sum(same) / len(same)
    rates: list[float] = []
    for key, seconds in known.items():
        other = _read(key)
        if other is None:
            continue
        alike = (other.lane, other.family, other.stages) == (work.lane, work.family, work.stages)
        if alike:
            rates.append(seconds / other.amount)
    return sum(rates) / len(rates) * work.amount if rates else None


def _key(work: Work, server: str) -> str:
    size = f"{work.width}x{work.height}"
    return "|".join((work.lane, work.family, size, str(work.steps), work.stages, server[:80]))


def _same_kind(key: str, work: Work) -> bool:
    return _read(key) == work


def _read(key: str) -> Work | None:
    """None for a key of another form, as a newer version may write them."""
    try:
        lane, family, size, steps, stages, _server = key.split("|", 5)
        width, _, height = size.partition("x")
        return Work(lane, family, int(width), int(height), int(steps), stages)
    except ValueError:
        return None
