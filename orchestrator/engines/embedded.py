"""Draws in this process, over `drawing/`. One job runs at a time; the others wait their turn."""

from __future__ import annotations

import importlib.metadata
import io
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

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
from ...core.plan import Plan
from .base import Capabilities, Handle

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
class _Record:
    """One job and what has happened to it so far."""

    plan: Plan
    job_id: str
    cancel: CancelToken
    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, event: Event) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()


class EmbeddedEngine:
    """The Engine over a Drawer. `save` stores what is drawn.

    Raises EngineError `local_missing` where the libraries are not installed.
    """

    def __init__(self, save: Save, drawer: Drawer | None = None, previews: bool = True) -> None:
        require_local()
        self._save = save
        self._previews = previews
        self._drawer = drawer
        self._records: dict[str, _Record] = {}
        self._waiting: queue.SimpleQueue[_Record] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def capabilities(self) -> Capabilities:
        import torch

        device = self._the_drawer().device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        versions = [f"{n}-{importlib.metadata.version(n)}" for n in ("torch", "diffusers")]
        parts = ["embedded", *versions, name, f"threads-{torch.get_num_threads()}"]
        return Capabilities("embedded", device.type, FAMILIES, " ".join(parts))

    def start(self, plan: Plan, job_id: str) -> Handle:
        from ...drawing.cancel import CancelToken

        with self._lock:
            if job_id not in self._records:
                record = _Record(plan, job_id, CancelToken())
                self._records[job_id] = record
                self._waiting.put(record)
                if self._worker is None:
                    self._worker = threading.Thread(target=self._work, daemon=True)
                    self._worker.start()
        return Handle(job_id)

    def follow(self, handle: Handle) -> Iterator[Event]:
        record = self._records.get(handle.job_id)
        if record is None:
            raise EngineError("drawing_failed", f"No job {handle.job_id} was started here.")
        position = 0
        while True:
            with record.changed:
                # A time limit, so that the waiting thread still hears Ctrl-C on every system.
                while len(record.events) <= position:
                    record.changed.wait(timeout=0.5)
                fresh = record.events[position:]
            for event in fresh:
                yield event
                if isinstance(event, EndEvent):
                    return
            position += len(fresh)

    def cancel(self, handle: Handle) -> None:
        record = self._records.get(handle.job_id)
        if record is not None:
            record.cancel.cancel()

    def _the_drawer(self) -> Drawer:
        if self._drawer is None:
            from ...drawing.drawer import Drawer

            self._drawer = Drawer(previews=self._previews)
        return self._drawer

    def _work(self) -> None:
        while True:
            self._run(self._waiting.get())

    def _run(self, record: _Record) -> None:
        state, error = "succeeded", None
        try:
            record.cancel.check()
            self._the_drawer().draw(
                record.plan,
                cancel=record.cancel,
                report=_Reporter(record),
                deliver=lambda index, picture: self._deliver(record, index, picture),
            )
        except KizyError as failure:
            state = "cancelled" if failure.code == "cancelled" else "failed"
            error = ErrorInfo(**failure.as_dict())
        except Exception as failure:
            state = "failed"
            known = EngineError("drawing_failed", f"{type(failure).__name__}: {failure}")
            error = ErrorInfo(**known.as_dict())
            _log_failure()
        record.add(EndEvent(job_id=record.job_id, state=state, error=error))

    def _deliver(self, record: _Record, index: int, picture: Image.Image) -> None:
        artifact = self._save(record.plan.for_picture(index), picture)
        record.add(ArtifactEvent(job_id=record.job_id, artifact=artifact))


def _log_failure() -> None:
    import logging

    logging.getLogger(__name__).debug("drawing failed", exc_info=True)


class _Reporter:
    """Turns what the drawer says into events."""

    def __init__(self, record: _Record) -> None:
        self._record = record

    def progress(self, fraction: float, doing: str, left: float | None) -> None:
        job_id = self._record.job_id
        self._record.add(ProgressEvent(job_id=job_id, fraction=fraction, doing=doing, left=left))

    def preview(self, index: int, picture: Image.Image) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        png = buffer.getvalue()
        self._record.add(PreviewEvent(job_id=self._record.job_id, index=index, png=png))

    def notice(self, code: str, text: str) -> None:
        self._record.add(NoticeEvent(job_id=self._record.job_id, code=code, text=text))
