"""Which server draws a job: pure, from what is known about each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .....core.errors import KizyError

FIRST_GUESS = 20.0
"""Seconds for a job, before anything was learned."""

LOADING_GUESS = 10.0
"""Seconds that a server needs more for a model that it has not loaded, before it was learned."""

_NEWEST = 0.3
"""How much the last job counts for what is expected of the next."""

SERVERS_FAULT = frozenset(
    {
        "server_unreachable",
        "server_refused",
        "server_too_old",
        "server_disk_full",
        "server_lost",
        "server_stuck",
    }
)
"""Errors that say nothing about the job: on another server it may well be drawn."""


def is_servers_fault(error: BaseException) -> bool:
    """Whether the server is to blame, not the job: it rests, and the job may move."""
    return isinstance(error, KizyError) and error.code in SERVERS_FAULT


@dataclass(frozen=True)
class Candidate:
    """A server that has all that a job needs.

    `ours`: our jobs there, running and waiting; `work`: seconds until they are done. `others`:
    jobs of others; `each`: seconds for one of those. `job`: seconds for this job, with loading its
    model if need be. `room`: how many of our jobs it may have.
    """

    name: str
    loaded: bool = False
    ours: int = 0
    work: float = 0.0
    others: int = 0
    each: float = FIRST_GUESS
    job: float = FIRST_GUESS
    room: int = 2

    @property
    def done_in(self) -> float:
        """Seconds until this job would be done there."""
        return self.work + self.others * self.each + self.job


def pick(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one where the job is done first; None if all are full.

    A server that has the model loaded wins by the loading time that it saves, unless its queue is
    longer than that. At most one of our jobs waits on a server: the others stay in our hands.
    """
    with_room = [x for x in candidates if x.ours < x.room]
    return min(with_room, key=lambda x: (x.done_in, not x.loaded), default=None)


@dataclass
class Rest:
    """The pauses of a server that fails: `first` seconds, doubled each time, up to `last`."""

    first: float = 5.0
    last: float = 300.0
    failures: int = 0
    until: float = field(default=float("-inf"))

    def fail(self, now: float) -> None:
        """It failed: it rests. What fails during a rest was sent before it and counts no more."""
        if now < self.until:
            return
        self.until = now + min(self.first * 2**self.failures, self.last)
        self.failures += 1

    def succeed(self) -> None:
        """It works again."""
        self.failures, self.until = 0, float("-inf")

    def resting(self, now: float) -> bool:
        return now < self.until

    @property
    def on_trial(self) -> bool:
        """Whether it has not yet shown that it works again."""
        return self.failures > 0


class Seconds:
    """How long jobs take, by server and model, with and without loading the model."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bool], float] = {}

    def learn(self, server: str, model: str, seconds: float, *, loaded: bool) -> None:
        """A job was drawn in so many seconds; `loaded`: its model was there already."""
        key = (server, model, loaded)
        before = self._known.get(key, seconds)
        self._known[key] = before + _NEWEST * (seconds - before)

    def expect(self, server: str, model: str, *, loaded: bool) -> float:
        """Seconds that a job will take there: from its like, else from what is most like it."""
        exact = self._known.get((server, model, loaded))
        if exact is not None:
            return exact
        other = self._known.get((server, model, not loaded))
        if other is not None:
            saved = min(LOADING_GUESS, other / 2)
            return other - saved if loaded else other + LOADING_GUESS
        alike = self._mean(model, loaded)
        if alike is not None:
            return alike
        return FIRST_GUESS if loaded else FIRST_GUESS + LOADING_GUESS

    def usual(self, server: str) -> float:
        """Seconds of any job there: what one of somebody else's may take."""
        known = [value for (name, _, _), value in self._known.items() if name == server]
        return sum(known) / len(known) if known else FIRST_GUESS

    def _mean(self, model: str, loaded: bool) -> float | None:
        """Over the servers that drew with this model."""
        found = [
            v for (_, name, with_it), v in self._known.items() if (name, with_it) == (model, loaded)
        ]
        return sum(found) / len(found) if found else None
