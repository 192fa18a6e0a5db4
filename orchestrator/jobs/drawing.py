"""Carries out one drawing: from a claimed row of the table to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, RowMapping

from ...core.errors import CancelledError, EngineError, KizyError, StorageError
from ...core.job import (
    Artifact,
    EndEvent,
    ErrorInfo,
    Event,
    JobArtifact,
    Notice,
)
from ...core.plan import Plan
from ..engines.base import Handle
from ..storage.pictures import slug
from . import rows
from .estimate import Durations
from .ledger import Ledger
from .table import Besides, nothing

log = logging.getLogger(__name__)

NOT_ITS_FAULT = frozenset(
    {
        "server_unreachable",
        "server_lost",
        "server_stuck",
        "server_disk_full",
        "disk_full",
        "folder_not_writable",
        "database_unusable",
        "comfyui_not_started",
    }
)
"""Failures of what is around a job: the same job may well succeed a little later."""

REST_SECONDS = (2.0, 10.0, 60.0)
"""Before the second try, the third, and all later ones."""


class Draws(Protocol):
    """What draws Plans: the App."""

    def start(self, plan: Plan, job_id: str | None = None, *, again: bool = False) -> Handle: ...

    def follow(self, handle: Handle) -> Iterator[Event]: ...

    def cancel(self, handle: Handle) -> None: ...

    def fingerprint(self, kind: str | None) -> str:
        """What draws, as exactly as pixels depend on it. Raises KizyError."""
        ...


class SavedInLedger:
    """What was saved of which job, for the engines: written down as soon as it is saved."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, job_id: str, index: int, artifact: Artifact) -> None:
        """Raises StorageError: what is not written down is drawn again."""
        self._ledger.file(job_id, as_file(artifact, index), Path(artifact.path))

    def of(self, job_id: str, plan: Plan) -> dict[int, Artifact]:
        found: dict[int, Artifact] = {}
        for file, where in self._ledger.table.files_of(job_id):
            path = self._ledger.store.folder / where
            if file.kind == "picture" and 0 <= file.index < plan.count and path.is_file():
                found[file.index] = Artifact(
                    id=file.id,
                    path=str(path),
                    media_type=file.media_type,
                    width=file.width or 0,
                    height=file.height or 0,
                    seed=plan.seed + file.index,
                    plan=plan.for_picture(file.index),
                )
        return found


class DrawingRun:
    """One drawing that was claimed. `run` does all of it; `stop` and `park` come from outside."""

    def __init__(
        self,
        row: RowMapping,
        ledger: Ledger,
        draws: Draws,
        durations: Durations,
        attempts: int,
    ) -> None:
        self.job_id: str = row["id"]
        self.owner: str = row["owner"]
        self.lane: str = row["lane"]
        self.deadline: float | None = row["deadline"]
        self.expected: float | None = row["expected"]
        self._row, self._ledger, self._draws = row, ledger, draws
        self._durations, self._attempts = durations, attempts
        self._handle: Handle | None = None
        self._lock = threading.Lock()
        self._stopped: ErrorInfo | None = None
        self._parked = False
        self._learned: list[Besides] = []
        self.waits = False

    def stop(self, why: ErrorInfo | None = None) -> None:
        """End it soon: as cancelled, or as failed with `why`."""
        with self._lock:
            self._stopped = self._stopped or why or CANCELLED
            handle = self._handle
        if handle is not None:
            self._draws.cancel(handle)

    def park(self, *, here: bool) -> None:
        """Let go of it; another process takes it up. `here`: it computes in this process, which
        ends."""
        with self._lock:
            self._parked = True
            handle = self._handle
        if here and handle is not None:
            self._draws.cancel(handle)

    @property
    def parked(self) -> bool:
        return self._parked

    def run(self) -> None:
        """From the start to the end, or to where it waits again. Never raises."""
        try:
            error = self._drawn()
        except KizyError as failure:
            error = ErrorInfo(**failure.as_dict())
        except Exception as failure:
            log.exception("job %s", self.job_id)
            error = ErrorInfo(**_unknown(failure).as_dict())
        self.waits = settle(
            self._ledger,
            self._row,
            error,
            stopped=self._stopped,
            parked=lambda: self._parked,
            attempts=self._attempts,
            besides=self._write_learned,
        )

    def _drawn(self) -> ErrorInfo | None:
        plan = rows.plan_of(self._row)
        if plan is None:
            raise StorageError("database_unusable", f"Job {self.job_id} has no Plan.")
        if not self._row["fresh"] and from_store(self._ledger, self._draws, self.job_id, plan):
            return None
        began = time.monotonic()
        handle = self._draws.start(plan, self.job_id, again=self._row["attempts"] > 1)
        with self._lock:
            self._handle = handle
            stopped = self._stopped is not None or self._parked
        if stopped:
            self._draws.cancel(handle)
        server, drawn = "", 0
        for event in self._draws.follow(handle):
            match event.kind:
                case "progress":
                    self._ledger.progress(event)
                case "preview":
                    self._ledger.preview(event)
                case "notice":
                    self._ledger.notice(self.job_id, event.code, event.text)
                case "artifact":
                    server, drawn = event.server or server, drawn + 1
                    self._remember(plan, event.artifact)
                case "end":
                    if event.state == "succeeded" and self._row["attempts"] == 1:
                        seconds = (time.monotonic() - began) / max(1, drawn)
                        self._learned.append(
                            partial(
                                self._durations.learn,
                                plan=plan,
                                lane=self.lane,
                                server=server,
                                seconds=seconds,
                            )
                        )
                    return _error_of(event)
        raise StorageError("database_unusable", "The engine told nothing of the end.")

    def _write_learned(self, connection: Connection) -> None:
        for write in self._learned:
            write(connection)

    def _remember(self, plan: Plan, artifact: Artifact) -> None:
        """For whoever asks for the same picture again."""
        index = artifact.seed - plan.seed
        try:
            fingerprint = self._draws.fingerprint(plan.engine)
            self._learned.append(
                partial(
                    self._ledger.finished.add,
                    digest=plan.for_picture(index).digest(),
                    fingerprint=fingerprint,
                    artifact_id=artifact.id,
                )
            )
        except KizyError:
            # It is drawn and saved; that it is drawn once more some day does no harm.
            log.debug("job %s is not in the store of finished work", self.job_id, exc_info=True)


def settle(
    ledger: Ledger,
    row: RowMapping,
    error: ErrorInfo | None,
    *,
    stopped: ErrorInfo | None,
    parked: Callable[[], bool],
    attempts: int,
    besides: Besides = nothing,
) -> bool:
    """Write down how a job ended; whether it waits again instead.

    A database that fails is tried again for a while. `stopped`: why it was stopped from outside;
    `parked`: whether another process takes it up; `besides`: what is written with its success.
    """
    for pause in (0.05, 0.2, 1.0, 5.0, 5.0, 5.0, None):
        try:
            if error is None:
                ledger.end(row["id"], "succeeded", besides=besides)
                return False
            return _failed(ledger, row, error, stopped=stopped, parked=parked(), attempts=attempts)
        except StorageError:
            if parked():
                # It counts as running: the next process takes it up.
                return True
            log.warning("job %s: its end could not be written down", row["id"])
            if pause is not None:
                time.sleep(pause)
    return True


def _failed(
    ledger: Ledger,
    row: RowMapping,
    error: ErrorInfo,
    *,
    stopped: ErrorInfo | None,
    parked: bool,
    attempts: int,
) -> bool:
    """Write it down; whether the job waits again."""
    job_id = row["id"]
    if parked:
        return ledger.table.park(job_id)
    if error.code == "cancelled":
        if stopped is None or stopped.code == "cancelled":
            ledger.end(job_id, "cancelled", error)
        else:
            ledger.end(job_id, "failed", stopped)
    elif error.code in NOT_ITS_FAULT and row["failures"] + 1 < attempts:
        rest = REST_SECONDS[min(row["failures"], len(REST_SECONDS) - 1)]
        text = f"{error.message} The job is tried again in {rest:.0f} seconds."
        ledger.try_again(job_id, ledger.table.now() + rest, Notice(code=error.code, text=text))
        return True
    else:
        ledger.end(job_id, "failed", error)
    return False


CANCELLED = ErrorInfo(**CancelledError("cancelled", "The work was stopped.").as_dict())


def from_store(ledger: Ledger, draws: Draws, job_id: str, plan: Plan) -> bool:
    """Give the job the files of the same Plan, if all were drawn before by the same engine.

    Raises StorageError.
    """
    found = stored(ledger, draws, plan)
    if found is None:
        return False
    for index, (file, path) in enumerate(found):
        name = picture_name(plan.for_picture(index))
        values = {"index": index, "name": name, "seed": plan.seed + index, "kind": "picture"}
        ledger.file(job_id, file.model_copy(update=values), path)
    ledger.table.set(job_id, from_store=True)
    return True


def stored(ledger: Ledger, draws: Draws, plan: Plan) -> list[tuple[JobArtifact, Path]] | None:
    """The files of all pictures of a Plan; None if one is missing. Raises StorageError."""
    found: list[tuple[JobArtifact, Path]] = []
    fingerprint: str | None = None
    for index in range(plan.count):
        drawn = ledger.finished.drawn(plan.for_picture(index).digest())
        if not drawn:
            return None
        try:
            # Only now: to ask an engine costs more than to ask the table.
            fingerprint = fingerprint or draws.fingerprint(plan.engine)
            found.append(ledger.path_of(drawn[fingerprint]))
        except (KizyError, KeyError):
            return None
    return found


def as_file(artifact: Artifact, index: int) -> JobArtifact:
    """A finished picture, as others are told of it."""
    return JobArtifact(
        id=artifact.id,
        index=index,
        name=picture_name(artifact.plan),
        media_type=artifact.media_type,
        bytes=Path(artifact.path).stat().st_size,
        width=artifact.width,
        height=artifact.height,
        seed=artifact.seed,
    )


def picture_name(plan: Plan) -> str:
    """What a picture is called when it is fetched."""
    return f"{slug(plan.request_prompt)}-{plan.seed}.png"


def _unknown(failure: Exception) -> EngineError:
    text = f"{type(failure).__name__}: {failure}"
    return EngineError("drawing_failed", text, fix="Try again; report it if it happens again.")


def _error_of(event: EndEvent) -> ErrorInfo | None:
    if event.state == "succeeded":
        return None
    return event.error or CANCELLED
