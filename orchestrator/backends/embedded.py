"""Draws in this process, over `drawing/`. One job runs at a time; the others wait their turn."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...catalog.index.hashes import Stamp, file_sha256, folder_stamp, known_model_sha256
from ...catalog.index.models import STARTER_FILE
from ...core.cores import all_cores, leave_shared_core
from ...core.errors import EngineError, KizyError
from ...core.job import Artifact, Event
from ...core.plan import EnlargeStage, ImproveStage, Plan
from .base import Capabilities, Handle, SavedArtifacts
from .event_log import Record, StartedJobs, unforeseen

if TYPE_CHECKING:
    from PIL import Image

    from ...drawing.cancel import CancelToken
    from ...drawing.drawer import Drawer

NEEDED = ("torch", "diffusers", "transformers", "tokenizers", "psutil")
"""What drawing here imports: the extra `local`."""

FAMILIES = frozenset({"starter", "sd15", "sdxl"})

Save = Callable[[Plan, "Image.Image"], Artifact]
"""Stores one finished picture with the Plan of that picture alone."""


def missing_libraries() -> list[str]:
    """What of NEEDED is not installed; nothing of it is imported."""
    return [name for name in NEEDED if find_spec(name) is None]


def require_local() -> None:
    """Raises EngineError `local_missing` if drawing's libraries are not installed."""
    if missing := missing_libraries():
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
        before = _model_stamp(record.plan)
        self._the_drawer().draw(
            record.plan.for_picture(first).model_copy(update={"count": count}),
            cancel=work.cancel,
            report=_Reporter(record, first),
            deliver=lambda index, picture: self._deliver(record, first + index, picture, before),
        )

    def _deliver(
        self, record: Record, index: int, picture: Image.Image, before: ModelStamp | None
    ) -> None:
        """`before`: the stamps of the model's files when its drawing began."""
        plan = record.plan.for_picture(index)
        artifact = self._save(_with_hash(plan, before), picture)
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


def content_of(plan: Plan) -> str | None:
    """sha256 over the content of every file that a Plan is drawn with in this process.

    None until all hashes are known: from the first call on, what is large is read in the
    background. Raises UnknownNameError `file_missing` if a file of Kizy's own is not there.
    """
    found = [known_model_sha256(path) for path in _files_of(plan)]
    if any(sha256 is None for sha256 in found):
        return None
    own = [file_sha256(path) for path in _own_weights()]
    return hashlib.sha256(" ".join([*own, *map(str, found)]).encode()).hexdigest()


ModelStamp = tuple[tuple[str, Stamp], ...]


def _model_stamp(plan: Plan) -> ModelStamp | None:
    """The stamps of the files of a model whose hash is not known; None for any other."""
    if plan.model.path is None or plan.model.sha256 is not None:
        return None
    known_model_sha256(Path(plan.model.path))  # it is read from now on, while it is drawn
    try:
        return folder_stamp(Path(plan.model.path))
    except OSError:
        return None


def _with_hash(plan: Plan, before: ModelStamp | None) -> Plan:
    """With the model's hash, if it is known by now and is that of what was drawn with."""
    if before is None or plan.model.path is None:
        return plan
    sha256 = known_model_sha256(Path(plan.model.path))
    if sha256 is None or _model_stamp(plan) != before:
        return plan
    return plan.model_copy(update={"model": plan.model.model_copy(update={"sha256": sha256})})


def _files_of(plan: Plan) -> list[Path]:
    """What a Plan names by path: model, LoRAs, enlargers."""
    files = [plan.model, *(lora.file for lora in plan.loras)]
    for stage in plan.stages:
        if isinstance(stage, EnlargeStage):
            files.append(stage.model)
        if isinstance(stage, ImproveStage) and stage.enlarger is not None:
            files.append(stage.enlarger)
    return [Path(file.path) for file in files if file.path is not None]


def _own_weights() -> list[Path]:
    """The weights that Kizy brings and draws with."""
    from ...imaging import centerface, drawn_faces
    from ...language.encoder import MODEL_FILE, TOKENIZER_FILE
    from ...starter.checkpoint import ENLARGER_FILE

    faces = [centerface.WEIGHTS_FILE, drawn_faces.WEIGHTS_FILE]
    return [STARTER_FILE, ENLARGER_FILE, MODEL_FILE, TOKENIZER_FILE, *faces]


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
