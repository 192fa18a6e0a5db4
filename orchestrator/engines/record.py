"""A started job and what has happened to it so far: what every engine keeps for its followers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...core.errors import KizyError
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
from ...core.plan import Plan


@dataclass
class Record:
    """One job. Many may follow it, from its first event, while one or more threads add to it."""

    plan: Plan
    job_id: str
    _events: list[Event] = field(default_factory=list)
    _changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.RLock())
    )
    _fraction: float = 0.0

    def progress(self, fraction: float, doing: str, left: float | None) -> None:
        """How far it is; never less than was said before."""
        with self._changed:
            self._fraction = max(self._fraction, min(1.0, fraction))
            event = ProgressEvent(
                job_id=self.job_id, fraction=self._fraction, doing=doing, left=left
            )
            self._add(event)

    def preview(self, index: int, png: bytes) -> None:
        """What picture `index` looks like so far, as PNG."""
        self._add(PreviewEvent(job_id=self.job_id, index=index, png=png))

    def notice(self, code: str, text: str) -> None:
        self._add(NoticeEvent(job_id=self.job_id, code=code, text=text))

    def artifact(self, artifact: Artifact) -> None:
        self._add(ArtifactEvent(job_id=self.job_id, artifact=artifact))

    def end(self, error: KizyError | None) -> None:
        """The last event: failed or cancelled by what `error` says, else succeeded."""
        if error is None:
            self._add(EndEvent(job_id=self.job_id, state="succeeded"))
            return
        state = "cancelled" if error.code == "cancelled" else "failed"
        info = ErrorInfo(**error.as_dict())
        self._add(EndEvent(job_id=self.job_id, state=state, error=info))

    def follow(self) -> Iterator[Event]:
        """All events from the first, until the end."""
        position = 0
        while True:
            with self._changed:
                # A time limit, so that the waiting thread still hears Ctrl-C on every system.
                while len(self._events) <= position:
                    self._changed.wait(timeout=0.5)
                fresh = self._events[position:]
            for event in fresh:
                yield event
                if isinstance(event, EndEvent):
                    return
            position += len(fresh)

    def _add(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()
