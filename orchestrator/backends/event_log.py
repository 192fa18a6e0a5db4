"""A started job and what has happened to it so far: what every engine keeps for its followers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...core.errors import EngineError, KizyError
from ...core.job import (
    Artifact,
    ArtifactEvent,
    EndEvent,
    ErrorInfo,
    Event,
    NoticeEvent,
    PreviewEvent,
    ProgressEvent,
)
from ...core.out_of_memory import fix_for, is_out_of_memory
from ...core.plan import Plan

KEPT_JOBS = 256
"""Jobs that can still be followed, also when they are over."""

_PROGRESS = "progress"
_Work = TypeVar("_Work")


def unforeseen(failure: BaseException) -> KizyError:
    """The error of a job for an exception that no part of it expected."""
    said = f"{type(failure).__name__}: {failure}".rstrip(": ")
    if is_out_of_memory(failure):
        message = "This machine's memory did not suffice."
        return EngineError("out_of_memory", message, fix=fix_for(said), raw=said)
    return EngineError("drawing_failed", said)


@dataclass
class Record:
    """One job. Many may follow it, from its first event, while one or more threads add to it.

    Of progress, and of the previews of a picture, only the newest is kept: a long job would hold
    thousands that nobody looks at any more.
    """

    plan: Plan
    job_id: str
    _events: dict[int, Event] = field(default_factory=dict)
    """By a number that grows."""
    _newest: dict[object, int] = field(default_factory=dict)
    """What is replaced -> the number of its event."""
    _changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.RLock())
    )
    _fraction: float = 0.0
    _count: int = 0
    _ended: bool = False
    _failed: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended, and not well."""
        return self._failed

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self._ended

    def progress(self, fraction: float, doing: str, left: float | None) -> None:
        """How far it is; never less than was said before."""
        with self._changed:
            self._fraction = max(self._fraction, min(1.0, fraction))
            event = ProgressEvent(
                job_id=self.job_id, fraction=self._fraction, doing=doing, left=left
            )
            self._add(event, replaces=_PROGRESS)

    def preview(self, index: int, png: bytes) -> None:
        """What picture `index` looks like so far, as PNG."""
        self._add(PreviewEvent(job_id=self.job_id, index=index, png=png), replaces=index)

    def notice(self, code: str, text: str) -> None:
        self._add(NoticeEvent(job_id=self.job_id, code=code, text=text))

    def artifact(self, artifact: Artifact, server: str = "") -> None:
        """A picture is saved. `server`: what drew it, where there are several."""
        self._add(ArtifactEvent(job_id=self.job_id, artifact=artifact, server=server))

    def end(self, error: KizyError | None) -> None:
        """The last event: failed or cancelled by what `error` says, else succeeded."""
        if error is None:
            self._add(EndEvent(job_id=self.job_id, state="succeeded"))
            return
        state = "cancelled" if error.code == "cancelled" else "failed"
        info = ErrorInfo(**error.as_dict())
        self._add(EndEvent(job_id=self.job_id, state=state, error=info))

    def follow(self) -> Iterator[Event]:
        """The events from the first, until the end."""
        seen = 0
        while True:
            with self._changed:
                # A time limit, so that the waiting thread still hears Ctrl-C on every system.
                while self._count <= seen:
                    self._changed.wait(timeout=0.5)
                fresh = self._since(seen)
                seen = self._count
            for event in fresh:
                yield event
                if isinstance(event, EndEvent):
                    return

    def _since(self, seen: int) -> list[Event]:
        """What is kept of the events from number `seen` on."""
        found: list[Event] = []
        for number in reversed(self._events):
            if number < seen:
                break
            found.append(self._events[number])
        return found[::-1]

    def _add(self, event: Event, *, replaces: object = None) -> None:
        with self._changed:
            if replaces is not None:
                self._events.pop(self._newest.get(replaces, -1), None)
                self._newest[replaces] = self._count
            self._events[self._count] = event
            self._count += 1
            if isinstance(event, EndEvent):
                self._ended, self._failed = True, event.state != "succeeded"
            self._changed.notify_all()

    def drop_previews(self) -> None:
        """Whoever follows it from now on sees none."""
        with self._changed:
            for what in [what for what in self._newest if what != _PROGRESS]:
                self._events.pop(self._newest.pop(what), None)


class StartedJobs(Generic[_Work]):
    """The jobs that an engine started, by id; of those that ended, only the latest are kept."""

    def __init__(self, record_of: Callable[[_Work], Record], *, kept: int = KEPT_JOBS) -> None:
        self._record_of, self._kept = record_of, kept
        self._works: dict[str, _Work] = {}
        self._going: list[str] = []
        self._over: deque[str] = deque()

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._works

    def get(self, job_id: str) -> _Work | None:
        """The job; None if it was never started here, or is long over."""
        return self._works.get(job_id)

    def startable(self, job_id: str, *, again: bool) -> bool:
        """Whether it is new here, or ended badly and is to be begun again."""
        work = self._works.get(job_id)
        return work is None or (again and self._record_of(work).failed)

    def add(self, job_id: str, work: _Work) -> None:
        """One more. Those that are over lose their previews, the oldest of many are forgotten."""
        going: list[str] = []
        if job_id in self._over:
            self._over.remove(job_id)
        for key in self._going:
            if key == job_id:
                continue
            record = self._record_of(self._works[key])
            if record.ended:
                record.drop_previews()
                self._over.append(key)
            else:
                going.append(key)
        self._going = [*going, job_id]
        self._works[job_id] = work
        while self._over and len(self._works) > self._kept:
            del self._works[self._over.popleft()]
