"""Jobs that were handed in: followed, waited for, cancelled, tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

from ...core.job import EndEvent, Job, JobEvent, SeenState, StateEvent
from ..service import JobChange, Service
from .files import File, Picture
from .remote.outcomes import require_success

T = TypeVar("T")
MAX_LOOK = 1.0
"""Seconds between two looks at a job, at most."""


class JobHandle(Generic[T]):
    """A job of a server, or of this process; `result()` is a `T`.

    `job`: what was last heard of it. Iterating follows it to its end:

        for event in handle:
            ...
    """

    def __init__(self, service: Service, job: Job, result: Callable[[JobHandle[T]], T]) -> None:
        self._service, self._result = service, result
        self.job = job

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} {self.job.state}>"

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def state(self) -> SeenState:
        """As it was last heard: queued, running, succeeded, failed or cancelled; "unknown" if only
        a newer Kizy knows it."""
        return self.job.state

    @property
    def done(self) -> bool:
        """Whether it is over, asked anew."""
        return self.job.over or self.refresh().over

    def __iter__(self) -> Iterator[JobEvent]:
        return self.events()

    def events(self) -> Iterator[JobEvent]:
        """What happens: a StateEvent first, the EndEvent last. Lines that break are joined."""
        for numbered in self._service.follow(self.id):
            event = numbered.event
            if isinstance(event, StateEvent):
                self.job = event.job
            elif isinstance(event, EndEvent):
                self.refresh()
            yield event

    def refresh(self) -> Job:
        """The job as it is now."""
        self.job = self._service.job(self.id)
        return self.job

    def wait(self, timeout: float | None = None) -> Job:
        """Wait for its end, but not longer than `timeout` seconds; the job as it is then."""
        if timeout is None:
            for _ in self.events() if not self.job.over else ():
                pass
            return self.job
        end, pause = time.monotonic() + timeout, 0.02
        while not self.refresh().over and (left := end - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, MAX_LOOK)
        return self.job

    def result(self, timeout: float | None = None) -> T:
        """Wait for its end, and give what came out.

        Raises the KizyError that it failed with, CancelledError, and Python's own TimeoutError
        after `timeout` seconds.
        """
        job = self.wait(timeout)
        if not job.over:
            raise TimeoutError(f"The job {job.id} is not done after {timeout:g} seconds.")
        require_success(job)
        return self._result(self)

    def files(self) -> list[File]:
        """All that is finished of it so far, as last heard: pictures, or LoRA, samples, reports."""
        return [self._file(index) for index in range(len(self.job.artifacts))]

    def pictures(self) -> list[Picture]:
        """The pictures that are finished so far, as last heard."""
        return [file for file in self.files() if isinstance(file, Picture)]

    def cancel(self) -> Job:
        """Stop it, queued or running. One that is over stays as it is."""
        self.job = self._service.cancel(self.id)
        return self.job

    def retry(self, *, idempotency_key: str | None = None) -> Self:
        """A new job of the same request. Raises InputError `job_not_over` unless it failed.

        The same `idempotency_key` again gives the job that the first such call made.
        """
        job = self._service.retry(self.id, idempotency_key)
        return type(self)(self._service, job, self._result)

    def pause(self) -> Job:
        """Let others go first: it keeps its place, and waits. InputError `job_not_waiting`."""
        return self._change(JobChange(paused=True))

    def resume(self) -> Job:
        """Let it begin when its turn comes."""
        return self._change(JobChange(paused=False))

    def prioritize(self, priority: int) -> Job:
        """-100 to 100; the highest is begun first. InputError `job_not_waiting`."""
        return self._change(JobChange(priority=priority))

    def move(self, before: str) -> Job:
        """Put it before another job (its id), "first" or "last". InputError `job_not_waiting`."""
        return self._change(JobChange(before=before))

    def _change(self, change: JobChange) -> Job:
        self.job = self._service.change(self.id, change)
        return self.job

    def _file(self, index: int) -> File:
        artifact, fetch = self.job.artifacts[index], self._service.artifact
        if artifact.kind == "sample" and self.job.plan is None:
            return Picture(artifact, fetch, None)
        if artifact.kind == "picture":
            plan = self.job.plan
            return Picture(artifact, fetch, plan.for_picture(artifact.index) if plan else None)
        return File(artifact, fetch)


def drawn(handle: JobHandle[list[Picture]]) -> list[Picture]:
    """The result of a drawing: its pictures in order."""
    return sorted(handle.pictures(), key=lambda picture: picture.artifact.index)


def trained(handle: JobHandle[File]) -> File:
    """The result of a training: its LoRA. Raises UnknownNameError if the server kept none."""
    from ...core.errors import UnknownNameError

    for file in handle.files():
        if file.artifact.kind == "lora":
            return file
    message = f"The training {handle.id} left no LoRA."
    raise UnknownNameError("artifact_unknown", message)
