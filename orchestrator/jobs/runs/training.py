"""Carries out one training: data set, plan, run, and the LoRA among the job's files.

The training runs in a process of its own, which goes on when this one dies: whoever takes the
job up finds its folder by name, and follows it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from sqlalchemy import RowMapping

from ....core.errors import CancelledError, EngineError, StorageError
from ....core.job import ErrorInfo, JobArtifact, ProgressEvent
from ....core.request import TrainingRequest
from ....trainer.events import EndEvent, TrainingEvent
from ....trainer.run_folder import RunFolder, trainings_folder
from ....trainer.supervise import TrainingHandle
from ..recorder import Ledger
from .base import CANCELLED, OUR_FAULT, ClaimedRun

log = logging.getLogger(__name__)

PREPARED = 0.05
"""Share of a training's progress that its preparation counts for."""


class Trains(Protocol):
    """What trains: the trainer."""

    def prepare(
        self,
        request: TrainingRequest,
        *,
        progress: Callable[[float, str], None] = ...,
        cancelled: Callable[[], bool] = ...,
        folder: str | None = None,
    ) -> RunFolder: ...

    def resume(self, run: RunFolder) -> TrainingHandle: ...

    def follow(self, handle: TrainingHandle) -> Iterator[TrainingEvent]: ...

    def kill(self, handle: TrainingHandle) -> None: ...


_LEFT: list[TrainingHandle] = []
"""Trainings that go on without this process, which must not wait for their processes."""

Laid = Callable[[TrainingRequest, Path], TrainingRequest]
"""Lays a training's files into a folder by their names; the request that names them there."""


class TrainingRun(ClaimedRun[TrainingHandle]):
    """One training that was claimed. Its own process goes on when this one ends."""

    def __init__(
        self, row: RowMapping, ledger: Ledger, trains: Trains, lay: Laid, attempts: int
    ) -> None:
        super().__init__(row, ledger, attempts)
        self._trains, self._lay = trains, lay

    def _end(self, handle: TrainingHandle) -> None:
        self._trains.kill(handle)

    def _unknown(self, failure: Exception) -> EngineError:
        text = f"{type(failure).__name__}: {failure}"
        return EngineError("training_failed", text, fix=OUR_FAULT)

    def _carried_out(self) -> ErrorInfo | None:
        run = self._prepared()
        plan = run.plan()
        self._ledger.table.set(self.job_id, training=plan.model_dump_json())
        self._add("report", 0, run.path / "report.png", "report.png")
        if run.state() == "succeeded":
            last = run.all_events()[-1]
            return self._ended(run, last) if isinstance(last, EndEvent) else None
        self._check()
        handle = self._trains.resume(run)
        self._begun(handle)
        end: EndEvent | None = None
        for event in self._trains.follow(handle):
            if self._parked:
                _LEFT.append(handle)
                raise CancelledError("cancelled", "It goes on by itself.")
            match event.kind:
                case "step":
                    share = PREPARED + (1 - PREPARED) * event.step / max(1, event.steps)
                    doing = f"step {event.step} of {event.steps}, loss {event.smoothed:.4f}"
                    self._progress(min(1.0, share), doing, event.left)
                case "notice":
                    self._ledger.notice(self.job_id, event.code, event.text)
                case "end":
                    # Not the last word of a process until it is gone.
                    end = event
                case _:
                    pass
        if end is None:
            raise StorageError("database_unusable", "The training told nothing of its end.")
        return self._ended(run, end)

    def _prepared(self) -> RunFolder:
        """The run's folder, with a plan: that of an earlier try, if there is one."""
        name = self._row["run"] or self.job_id
        run = RunFolder(trainings_folder() / name)
        if (run.path / "plan.json").is_file():
            return run
        self._ledger.table.set(self.job_id, run=name)
        request = TrainingRequest.model_validate_json(self._row["request"])
        there = trainings_folder() / f".files-{self.job_id}"
        shutil.rmtree(there, ignore_errors=True)
        try:
            return self._trains.prepare(
                self._lay(request, there),
                progress=lambda share, doing: self._progress(share * PREPARED, doing, None),
                cancelled=lambda: self._stopped is not None or self._parked,
                folder=name,
            )
        finally:
            shutil.rmtree(there, ignore_errors=True)

    def _ended(self, run: RunFolder, event: EndEvent) -> ErrorInfo | None:
        for index, path in enumerate(last_samples(run)):
            self._add("sample", index, path, path.name)
        if event.result is not None:
            self._add("lora", 0, Path(event.result), Path(event.result).name)
        if event.state == "succeeded":
            return None
        if event.state == "stopped" or self._stopped is not None:
            return CANCELLED
        return event.error or CANCELLED

    def _add(self, kind: str, index: int, path: Path, name: str) -> None:
        """One of its files; one that is not there is left out."""
        if not path.is_file():
            return
        digest, kept = self._ledger.store.add(path)
        picture = kind != "lora"
        width, height = _size(kept) if picture else (None, None)
        values = {
            "id": digest,
            "index": index,
            "kind": kind,
            "name": name,
            "media_type": "image/png" if picture else "application/octet-stream",
            "bytes": kept.stat().st_size,
            "width": width,
            "height": height,
        }
        self._ledger.file(self.job_id, JobArtifact.model_validate(values), kept)

    def _progress(self, share: float, doing: str, left: float | None) -> None:
        self._ledger.progress(
            ProgressEvent(job_id=self.job_id, fraction=share, doing=doing, left=left)
        )

    def _check(self) -> None:
        if self._stopped is not None or self._parked:
            raise CancelledError("cancelled", "The training was stopped.")


def last_samples(run: RunFolder) -> list[Path]:
    """The sample pictures of the last step that has any, in their order."""
    samples = [event for event in run.all_events() if event.kind == "sample"]
    if not samples:
        return []
    last = max(event.step for event in samples)
    found = {event.index: Path(event.path) for event in samples if event.step == last}
    return [path if path.is_absolute() else run.path / path for _, path in sorted(found.items())]


def _size(path: Path) -> tuple[int | None, int | None]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except OSError:
        return None, None
