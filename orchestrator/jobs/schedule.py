"""Who is next: what waits, in the order in which it will begin. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits. `place` orders an owner's jobs of one priority; `expected`: seconds."""

    id: str
    owner: str
    lane: str
    priority: int
    place: float
    paused: bool = False
    not_before: float | None = None
    deadline: float | None = None
    expected: float | None = None


def in_order(
    waiting: Iterable[Waiting],
    *,
    running: Mapping[str, int] | None = None,
    served: Mapping[str, float] | None = None,
) -> list[Waiting]:
    """The order in which they begin: higher priorities first, owners in turns.

    Within one priority the owner with the fewest running jobs comes first, of these the one who
    was served longest ago; then each owner in turn, with the first of his own. `running`: owner
    -> jobs that run; `served`: owner -> when one of his last began.
    """
    running, served = running or {}, served or {}
    levels: defaultdict[int, list[Waiting]] = defaultdict(list)
    for one in waiting:
        levels[one.priority].append(one)
    found: list[Waiting] = []
    for priority in sorted(levels, reverse=True):
        of_owner: dict[str, deque[Waiting]] = {}
        for one in sorted(levels[priority], key=lambda one: one.place):
            of_owner.setdefault(one.owner, deque()).append(one)
        owners = sorted(
            of_owner,
            key=lambda owner: (
                running.get(owner, 0),
                served.get(owner, 0.0),
                of_owner[owner][0].place,
            ),
        )
        turn = deque(owners)
        while turn:
            owner = turn.popleft()
            found.append(of_owner[owner].popleft())
            if of_owner[owner]:
                turn.append(owner)
    return found


def first_ready(order: Iterable[Waiting], now: float) -> Waiting | None:
    """The first that is neither paused nor resting after a failure."""
    return next((one for one in order if _is_ready(one, now)), None)


def _is_ready(one: Waiting, now: float) -> bool:
    return not one.paused and (one.not_before is None or one.not_before <= now)


def starts_in(ahead: Iterable[float | None], slots: int, busy: Iterable[float | None]) -> float:
    """Seconds until the one behind all these begins.

    `ahead`: what those before it take, in order; `busy`: what the running ones still take. What
    is unknown counts as nothing: rather too short than made up.
    """
    free = sorted(max(0.0, seconds or 0.0) for seconds in busy)[:slots]
    free += [0.0] * (max(1, slots) - len(free))
    for seconds in ahead:
        free.sort()
        free[0] += max(0.0, seconds or 0.0)
    return min(free)
