"""A job's events from a Kizy server, to the end: cut lines are joined, or the job is looked at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from ....core.errors import KizyError
from ....core.job import EndEvent, Job, JobArtifactEvent, NoticeEvent, ProgressEvent, StateEvent
from ...service import Numbered
from . import problems, sse
from .http_client import BusyError, Http
from .problems import AwayError
from .reading import UnreadableError, read_event, read_job

if TYPE_CHECKING:
    import requests

_BROKEN_STREAMS = 2
"""Streams in a row that bring no event at all, after which the job is looked at instead."""

_GARBAGE = 20
"""Messages in a row that are no events."""

_BLOCK = 1 << 16


class _BrokenStreamError(Exception):
    """What comes is no stream of events."""


class Following:
    """One follower of one job.

    `after`: the id of the last event that was heard. `clock`: seconds that never go back.
    """

    def __init__(
        self,
        http: Http,
        job_id: str,
        after: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._job_id, self._clock = http, job_id, clock
        self._path = f"/v1/jobs/{quote(job_id, safe='')}"
        self._last, self._reached = after, False
        self._asked_since = after is not None
        self._told: set[tuple[str, str, int]] = set()
        self._job: Job | None = None
        self._heard = clock()
        self._broken = 0

    def events(self) -> Iterator[Numbered]:
        """The state first, and the EndEvent last, whatever happens to the line in between.

        Raises KizyError that the server tells of (`job_unknown`, `key_wrong`, ...), and EngineError
        `server_unreachable` if it stays away.
        """
        pauses = self._http.timing.pauses()
        while True:
            began, last = self._clock(), self._last
            looks = self._broken >= _BROKEN_STREAMS
            try:
                for numbered in self._looked() if looks else self._stream():
                    yield numbered
                    if isinstance(numbered.event, EndEvent):
                        return
            except (AwayError, BusyError) as error:
                self._require_patience(error)
                # It may be that only the stream does not come through, as behind some proxies.
                self._broken += isinstance(error, AwayError) and error.sent
            except _BrokenStreamError:
                self._broken += 1
            if self._job is not None and self._job.over:
                yield from self._rest(self._job)
                return
            if self._last != last or self._clock() - began > self._http.timing.longest:
                pauses = self._http.timing.pauses()
            self._http.wait(self._http.timing.poll if looks else next(pauses))

    def _stream(self) -> Iterator[Numbered]:
        """What one connection brings. Ends when the server, or whatever is between, ends it."""
        timing = self._http.timing
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._reached or self._last is not None:
            # 0 is before all events: nothing is missed that came since the line broke.
            headers["Last-Event-ID"] = str(self._last or 0)
        reader, garbage, events, latest = sse.Reader(), 0, 0, self._clock()
        path = f"{self._path}/events"
        with self._http.answer("GET", path, read=timing.silence, headers=headers) as response:
            kind = response.headers.get("Content-Type", "")
            if not kind.startswith("text/event-stream"):
                raise _BrokenStreamError
            for block in _as_they_come(response):
                self._heard = self._clock()
                for message in _messages(reader, block):
                    numbered = self._numbered(message)
                    garbage = garbage + 1 if numbered is None else 0
                    if garbage >= _GARBAGE:
                        raise _BrokenStreamError
                    if numbered is None:
                        continue
                    events, latest, self._broken = events + 1, self._heard, 0
                    if self._is_new(numbered):
                        yield numbered
                if self._heard - latest > timing.silence:
                    # Alive, and without a word about the job: perhaps its end got lost.
                    latest = self._heard
                    yield from self._looked()
                    if not events:
                        raise _BrokenStreamError
        if not events:
            raise _BrokenStreamError

    def _numbered(self, message: sse.Message) -> Numbered | None:
        """None for what is no event, or one that only a newer Kizy knows."""
        try:
            event = read_event(json.loads(message.data))
        except (UnreadableError, ValueError, RecursionError):
            return None
        number = int(message.id) if message.id and message.id.isdecimal() else None
        return Numbered(number, event) if event is not None else None

    def _is_new(self, numbered: Numbered) -> bool:
        """Remembers it. After a reconnection some come again."""
        event = numbered.event
        if isinstance(event, StateEvent):
            first, self._job, self._reached = self._job is None, event.job, True
            if first and not self._asked_since:
                self._told |= set(_all_told(event.job))
            return True
        if isinstance(event, EndEvent):
            return True
        if numbered.id is not None:
            self._last = max(self._last or 0, numbered.id)
        mark = _mark(event)
        if mark in self._told:
            return False
        if mark is not None:
            self._told.add(mark)
        return True

    def _looked(self) -> Iterator[Numbered]:
        """What is new about the job, from the job itself."""
        job = self._now()
        self._heard = self._clock()
        before, self._job, self._reached = self._job, job, True
        if job != before:
            yield Numbered(None, StateEvent(job=job))
        if before is None:
            self._told |= set() if self._asked_since else set(_all_told(job))
        elif job.progress > before.progress:
            event = ProgressEvent(
                job_id=job.id, fraction=job.progress, doing=job.doing, left=job.left
            )
            yield Numbered(None, event)
        if before is not None or job.over:
            yield from self._rest(job)

    def _rest(self, job: Job) -> Iterator[Numbered]:
        """What was not told yet of what the job tells of; its end, if it is over."""
        for notice in job.notices:
            event = NoticeEvent(job_id=job.id, code=notice.code, text=notice.text)
            if self._is_new(Numbered(None, event)):
                yield Numbered(None, event)
        for artifact in job.artifacts:
            event = JobArtifactEvent(job_id=job.id, artifact=artifact)
            if self._is_new(Numbered(None, event)):
                yield Numbered(None, event)
        if not job.over:
            return
        values = {"job_id": job.id, "state": job.state, "error": job.error}
        yield Numbered(None, EndEvent.model_validate(values))

    def _now(self) -> Job:
        with self._http.answer("GET", self._path) as response:
            content = response.content
        try:
            return read_job(json.loads(content))
        except (UnreadableError, ValueError, RecursionError) as error:
            raise problems.not_kizy(self._http.place, self._path, str(error)) from None

    def _require_patience(self, error: AwayError | BusyError) -> None:
        why: KizyError = error.error if isinstance(error, BusyError) else error
        if isinstance(error, AwayError) and error.hopeless:
            raise error
        patience = self._http.timing.away if self._http.answered else self._http.timing.longest
        if self._clock() - self._heard > patience:
            raise problems.stayed_away(self._http.place, self._job_id, why) from None


def _all_told(job: Job) -> Iterator[tuple[str, str, int]]:
    """What a follower who hears of the job's state hears of with it."""
    yield from (("notice", f"{notice.code} {notice.text}", 0) for notice in job.notices)
    yield from ((one.kind, one.id, one.index) for one in job.artifacts)


def _mark(event: object) -> tuple[str, str, int] | None:
    """What is told once only."""
    if isinstance(event, NoticeEvent):
        return "notice", f"{event.code} {event.text}", 0
    if isinstance(event, JobArtifactEvent):
        return event.artifact.kind, event.artifact.id, event.artifact.index
    return None


def _messages(reader: sse.Reader, block: bytes) -> Iterator[sse.Message]:
    try:
        yield from reader.feed(block)
    except ValueError:
        raise _BrokenStreamError from None


def _as_they_come(response: requests.Response) -> Iterator[bytes]:
    """The answer's bytes, each as soon as it is there."""
    raw = response.raw
    if getattr(raw, "chunked", False):
        yield from response.iter_content(None)
        return
    read = getattr(raw, "read1", None)
    if read is None:
        yield from response.iter_content(1)
        return
    while block := read(_BLOCK):
        yield block
