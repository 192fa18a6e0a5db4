"""What happens to jobs, written down and told to those who listen, in this order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...core.errors import UnknownNameError
from ...core.job import (
    EndEvent,
    ErrorInfo,
    Job,
    JobArtifact,
    Notice,
    PreviewEvent,
    ProgressEvent,
    StateEvent,
)
from ..service import Numbered
from ..storage.artifacts import ArtifactStore
from .finished_work import FinishedWork
from .hub import Heard, Hub
from .table import Besides, JobTable, nothing

PROGRESS_SECONDS = 2.0
"""Progress is written down so often; listeners hear all of it."""

View = Callable[[Job], Job]
"""Adds what only the dispatcher knows: place and time left."""


class Ledger:
    """The table, the store of files and the listeners of one process."""

    def __init__(self, table: JobTable, store: ArtifactStore) -> None:
        self.table, self.store = table, store
        self.finished = FinishedWork(table.database, now=table.now)
        self.hub = Hub()
        self.view: View = lambda job: job
        # The threads of running jobs write here what those of requests read, under this lock.
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}
        self._progress: dict[str, ProgressEvent] = {}
        self._seconds: dict[str, float] = {}

    def job(self, job_id: str, owner: str | None = None) -> Job:
        """A job as it is now. Raises UnknownNameError `job_unknown`."""
        return self.view(self._with_progress(self.table.job(job_id, owner)))

    def seen(self, job: Job) -> Job:
        """A job that was read from the table, as it is now."""
        return self.view(self._with_progress(job))

    def watch(
        self, job_id: str, heard: Heard, *, owner: str | None = None, after: int | None = None
    ) -> Callable[[], None]:
        """Hear a job's state, what was kept behind event `after`, and what happens from now on.

        The answer ends it. Raises UnknownNameError `job_unknown`.
        """
        listener = _Listener(heard)
        stop = self.hub.listen(job_id, listener)
        try:
            kept = self.table.heard_since(job_id, after or 0)
            job = self.job(job_id, owner)
        except BaseException:
            stop()
            raise
        # What was kept is in the job as well: who asks for nothing older needs but its end.
        last = kept[-1].id if kept else after
        first = [Numbered(None, StateEvent(job=job))]
        if after is not None:
            first += kept
        if job.over and not isinstance(first[-1].event, EndEvent):
            first.append(_end_of(job, kept))
        try:
            listener.begin(first, last or 0)
        except BaseException:
            stop()
            raise
        return stop

    def state(self, job_id: str) -> Job | None:
        """Tell listeners how the job is now; the job, None if there are none."""
        if not self.hub.has(job_id):
            return None
        job = self.job(job_id)
        self.hub.tell(job_id, Numbered(None, StateEvent(job=job)))
        return job

    def end_of(self, job: Job) -> Numbered:
        """The end of a job that is over."""
        return _end_of(job, self.table.heard_since(job.id, 0))

    def progress(self, event: ProgressEvent) -> None:
        """How far a job is. Raises StorageError."""
        now = time.monotonic()
        with self._lock:
            self._progress[event.job_id] = event
            due = now - self._written.setdefault(event.job_id, now) >= PROGRESS_SECONDS
            if due:
                self._written[event.job_id] = now
        self.hub.tell(event.job_id, Numbered(None, event))
        if due:
            self.table.progressed(event.job_id, event.fraction, event.doing, event.left)

    def preview(self, event: PreviewEvent) -> None:
        self.hub.tell(event.job_id, Numbered(None, event))

    def notice(self, job_id: str, code: str, text: str) -> None:
        """What the person should know. Raises StorageError."""
        self._tell(job_id, self.table.told(job_id, Notice(code=code, text=text)))

    def file(self, job_id: str, file: JobArtifact, path: Path) -> bool:
        """A finished file in the store; False if that place of the job had one already.

        One that nobody has use for is deleted. Raises StorageError.
        """
        where = path.relative_to(self.store.folder).as_posix()
        told = self.table.add_file(job_id, file, where)
        if told is None and not self.finished.known([file.id]):
            self.store.remove(path)
        self._tell(job_id, told)
        return told is not None

    def end(
        self,
        job_id: str,
        state: str,
        error: ErrorInfo | None = None,
        *,
        begun: bool = True,
        besides: Besides = nothing,
    ) -> bool:
        """The job is over; False if it was so before. Raises StorageError.

        `besides`: what is written down with it.
        """
        ended = self.table.finish(job_id, state, error, begun=begun, besides=besides)
        if ended is None:
            # It may run still, such as where one that waits was to be ended.
            return False
        self.forget(job_id)
        with self._lock:
            self._seconds[ended.kind] = self._seconds.get(ended.kind, 0.0) + ended.seconds
        self.state(job_id)
        self._tell(job_id, ended.event)
        return True

    def seconds(self) -> dict[str, float]:
        """Kind -> what the jobs took that this process ended, added up."""
        with self._lock:
            return dict(self._seconds)

    def try_again(self, job_id: str, at: float, notice: Notice) -> None:
        """The job waits until `at`. Raises StorageError."""
        told = self.table.try_again(job_id, at, notice)
        self.forget(job_id)
        self._tell(job_id, told)
        self.state(job_id)

    def forget(self, job_id: str) -> None:
        """Progress of a job that does not run any more."""
        with self._lock:
            self._progress.pop(job_id, None)
            self._written.pop(job_id, None)

    def path_of(self, artifact_id: str) -> tuple[JobArtifact, Path]:
        """A file of the store. Raises UnknownNameError `artifact_unknown`, `artifact_gone`."""
        found = self.finished.file(artifact_id)
        if found is None:
            raise UnknownNameError("artifact_unknown", f"There is no file {artifact_id[:64]}.")
        file, where = found
        path = self.store.folder / where
        if file.gone or not path.is_file():
            raise UnknownNameError("artifact_gone", f"The file {artifact_id} was removed.")
        return file, path

    def _tell(self, job_id: str, told: Numbered | None) -> None:
        if told is not None:
            self.hub.tell(job_id, told)

    def _with_progress(self, job: Job) -> Job:
        with self._lock:
            event = self._progress.get(job.id)
        if event is None or job.state != "running":
            return job
        values = {"progress": event.fraction, "doing": event.doing, "left": event.left}
        return job.model_copy(update=values)


def _end_of(job: Job, kept: list[Numbered]) -> Numbered:
    if kept and isinstance(kept[-1].event, EndEvent):
        return kept[-1]
    values = {"job_id": job.id, "state": job.state, "error": job.error}
    return Numbered(None, EndEvent.model_validate(values))


class _Listener:
    """Holds back what happens until the listener knows how things stand."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._held: list[Numbered] | None = []
        self._lock = threading.RLock()

    def __call__(self, event: Numbered) -> None:
        with self._lock:
            if self._held is not None:
                self._held.append(event)
                return
            self._heard(event)

    def begin(self, first: list[Numbered], last: int) -> None:
        """`last`: the number of the newest event that is part of `first`."""
        over = any(isinstance(event.event, EndEvent) for event in first)
        with self._lock:
            held, self._held = self._held or [], None
            for event in first:
                self._heard(event)
            for event in () if over else held:
                if event.id is None or event.id > last:
                    self._heard(event)
