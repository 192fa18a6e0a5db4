"""Draws in this process, over `drawing/`. One job runs at a time; the others wait their turn."""

from __future__ import annotations

import importlib.metadata
import io
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...catalog.loras import file_sha256
from ...catalog.models import STARTER_FILE
from ...core.cores import all_cores, leave_shared_core
from ...core.errors import EngineError, KizyError
from ...core.job import Artifact, Event
from ...core.plan import Plan
from .base import Capabilities, Handle, SavedArtifacts
from .record import Record, StartedJobs, unforeseen

if TYPE_CHECKING:
    from PIL import Image

    from ...drawing.cancel import CancelToken
    from ...drawing.drawer import Drawer

NEEDED = ("torch", "diffusers", "transformers", "tokenizers", "psutil")
"""What drawing here imports: the extra `local`."""

FAMILIES = frozenset({"starter", "sd15", "sdxl"})

Save = Callable[[Plan, "Image.Image"], Artifact]
"""Stores one finished picture with the Plan of that picture alone."""


def require_local() -> None:
    """Raises EngineError `local_missing` if drawing's libraries are not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise EngineError("local_missing", f"To draw here, {', '.join(missing)} must be installed.")


@dataclass
class _Work:
    """A job that waits for its turn, how to stop it, and what was saved of it before."""

    record: Record
    cancel: CancelToken
    saved: dict[int, Artifact]


class EmbeddedEngine:
    """The Engine over a Drawer. `save` stores what is drawn, `saved` remembers it.

    Raises EngineError `local_missing` where the libraries are not installed.
    """

    def __init__(
        self,
        save: Save,
        drawer: Drawer | None = None,
        previews: bool = True,
        saved: SavedArtifacts | None = None,
    ) -> None:
        require_local()
        self._save = save
        self._saved = saved
        self._previews = previews
        # The thread that draws and those that ask what the engine can do make the drawer on first
        # use: with two of them its model would lie in memory twice.
        self._making = threading.Lock()
        self._drawer = drawer
        self._started = StartedJobs[_Work](lambda work: work.record)
        self._waiting: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        # Held by whoever starts a job, which may be several threads: the started jobs and the
        # thread that draws are changed under it. Followers look jobs up without it.
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    @all_cores()
    def capabilities(self) -> Capabilities:
        import torch

        from ...drawing.memory import device_name

        device = self._the_drawer().device
        name = device_name(device)
        versions = [f"{n}-{importlib.metadata.version(n)}" for n in ("torch", "diffusers")]
        weights = f"starter-{file_sha256(STARTER_FILE)[:12]}"
        parts = ["embedded", *versions, weights, name, f"threads-{torch.get_num_threads()}"]
        return Capabilities("embedded", device.type, FAMILIES, " ".join(parts))

    def start(self, plan: Plan, job_id: str, *, again: bool = False) -> Handle:
        """Begin. `again`: pictures that were saved before are not drawn again."""
        from ...drawing.cancel import CancelToken

        saved = self._saved.of(job_id, plan) if again and self._saved is not None else {}
        with self._lock:
            if self._started.startable(job_id, again=again):
                work = _Work(Record(plan, job_id), CancelToken(), saved)
                self._started.add(job_id, work)
                self._waiting.put(work)
                if self._worker is None:
                    self._worker = threading.Thread(target=self._work, daemon=True)
                    self._worker.start()
        return Handle(job_id)

    def follow(self, handle: Handle) -> Iterator[Event]:
        work = self._started.get(handle.job_id)
        if work is None:
            raise EngineError("drawing_failed", f"No job {handle.job_id} was started here.")
        return work.record.follow()

    def cancel(self, handle: Handle) -> None:
        work = self._started.get(handle.job_id)
        if work is not None:
            work.cancel.cancel()

    def _the_drawer(self) -> Drawer:
        with self._making:
            if self._drawer is None:
                from ...drawing.drawer import Drawer

                self._drawer = Drawer(previews=self._previews)
            return self._drawer

    def _work(self) -> None:
        leave_shared_core()
        while True:
            self._run(self._waiting.get())

    def _run(self, work: _Work) -> None:
        record, error = work.record, None
        try:
            work.cancel.check()
            for index in sorted(work.saved):
                record.artifact(work.saved[index])
            for first, count in missing(record.plan.count, work.saved):
                self._draw(work, first, count)
        except KizyError as failure:
            error = failure
        except BaseException as failure:
            # Also what would end the thread, which all later jobs wait for.
            error = unforeseen(failure)
            _log_failure()
        record.end(error)

    def _draw(self, work: _Work, first: int, count: int) -> None:
        """Pictures `first` to `first + count` of the Plan. Raises KizyError."""
        record = work.record
        self._the_drawer().draw(
            record.plan.for_picture(first).model_copy(update={"count": count}),
            cancel=work.cancel,
            report=_Reporter(record, first),
            deliver=lambda index, picture: self._deliver(record, first + index, picture),
        )

    def _deliver(self, record: Record, index: int, picture: Image.Image) -> None:
        artifact = self._save(record.plan.for_picture(index), picture)
        if self._saved is not None:
            self._saved.add(record.job_id, index, artifact)
        record.artifact(artifact)


def missing(count: int, saved: Collection[int]) -> Iterator[tuple[int, int]]:
    """(first, how many) of each stretch of pictures 0 to `count` that was not saved."""
    first = 0
    for index in [*sorted(saved), count]:
        if index > first:
            yield first, index - first
        first = index + 1


def _log_failure() -> None:
    import logging

    logging.getLogger(__name__).debug("drawing failed", exc_info=True)


class _Reporter:
    """Hands what the drawer says to the job's record."""

    def __init__(self, record: Record, first: int) -> None:
        self._record, self._first = record, first
        self.progress = record.progress
        self.notice = record.notice

    def preview(self, index: int, picture: Image.Image) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        self._record.preview(self._first + index, buffer.getvalue())
