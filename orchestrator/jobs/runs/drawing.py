"""Carries out one drawing: from a claimed row of the table to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, RowMapping

from ....core.errors import EngineError, KizyError, StorageError
from ....core.job import (
    Artifact,
    EndEvent,
    ErrorInfo,
    Event,
    JobArtifact,
)
from ....core.plan import Plan
from ....core.seeds import places_after, seed_after
from ...backends.base import Handle
from ...storage.pictures import slug
from .. import rows
from ..durations import Durations
from ..recorder import Ledger
from ..table import Besides
from .base import CANCELLED, OUR_FAULT, ClaimedRun

log = logging.getLogger(__name__)


class Draws(Protocol):
    """What draws Plans: the App."""

    def start(self, plan: Plan, job_id: str | None = None, *, again: bool = False) -> Handle: ...

    def follow(self, handle: Handle) -> Iterator[Event]: ...

    def cancel(self, handle: Handle) -> None: ...

    def fingerprints(self, plan: Plan, only: str | None = None) -> Mapping[str, str]:
        """Place -> what draws the Plan there, as exactly as its pixels depend on it.

        Of the places where the content of all files that are drawn with is known; a place is what
        events call `server`. `only`: that place alone. Raises KizyError.
        """
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
                    seed=seed_after(plan.seed, file.index),
                    plan=plan.for_picture(file.index),
                )
        return found


class DrawingRun(ClaimedRun[Handle]):
    """One drawing that was claimed."""

    def __init__(
        self,
        row: RowMapping,
        ledger: Ledger,
        draws: Draws,
        durations: Durations,
        attempts: int,
    ) -> None:
        super().__init__(row, ledger, attempts)
        self._draws, self._durations = draws, durations
        self._learned: list[Besides] = []

    def _end(self, handle: Handle) -> None:
        self._draws.cancel(handle)

    def _unknown(self, failure: Exception) -> EngineError:
        text = f"{type(failure).__name__}: {failure}"
        return EngineError("drawing_failed", text, fix=OUR_FAULT)

    def _besides(self, connection: Connection) -> None:
        for write in self._learned:
            write(connection)

    def _carried_out(self) -> ErrorInfo | None:
        plan = rows.plan_of(self._row)
        if not self._row["fresh"] and from_store(self._ledger, self._draws, self.job_id, plan):
            return None
        drawn_before = self._drawn_before()
        fingerprints = _fingerprints(self._draws, plan)
        began = time.monotonic()
        handle = self._draws.start(plan, self.job_id, again=self._row["attempts"] > 1)
        self._begun(handle)
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
                    index = event.artifact.seed - plan.seed
                    if index not in drawn_before and event.server in fingerprints:
                        before = fingerprints[event.server]
                        self._remember(plan, event.artifact, event.server, before)
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

    def _drawn_before(self) -> set[int]:
        """Pictures of earlier tries: nobody knows any more which files they were drawn with."""
        if self._row["attempts"] <= 1:
            return set()
        return {file.index for file, _ in self._ledger.table.files_of(self.job_id)}

    def _remember(self, plan: Plan, artifact: Artifact, place: str, before: str) -> None:
        """For whoever asks for the same picture again, if nothing changed while it was drawn.

        `before`: what drew it, when it was begun.
        """
        if _fingerprints(self._draws, plan, place).get(place) != before:
            log.debug("job %s is not in the store of finished work", self.job_id)
            return
        index = places_after(artifact.seed, plan.seed)
        self._learned.append(
            partial(
                self._ledger.finished.add,
                digest=plan.for_picture(index).digest(),
                fingerprint=before,
                artifact_id=artifact.id,
            )
        )


def _fingerprints(draws: Draws, plan: Plan, only: str | None = None) -> Mapping[str, str]:
    """None, if it cannot be told: then it is drawn, and drawn once more some day."""
    try:
        return draws.fingerprints(plan, only)
    except KizyError:
        log.debug("what draws %s is not known", plan.model.name, exc_info=True)
        return {}


def from_store(ledger: Ledger, draws: Draws, job_id: str, plan: Plan) -> bool:
    """Give the job the files of the same Plan, if all were drawn before by the same engine.

    Raises StorageError.
    """
    found = stored(ledger, draws, plan)
    if found is None:
        return False
    for index, (file, path) in enumerate(found):
        name = picture_name(plan.for_picture(index))
        values = {
            "index": index,
            "name": name,
            "seed": seed_after(plan.seed, index),
            "kind": "picture",
        }
        ledger.file(job_id, file.model_copy(update=values), path)
    ledger.table.set(job_id, from_store=True)
    return True


def stored(ledger: Ledger, draws: Draws, plan: Plan) -> list[tuple[JobArtifact, Path]] | None:
    """The files of all pictures of a Plan; None if one is missing. Raises StorageError."""
    found: list[tuple[JobArtifact, Path]] = []
    now: set[str] | None = None
    for index in range(plan.count):
        drawn = ledger.finished.drawn(plan.for_picture(index).digest())
        if not drawn:
            return None
        if now is None:
            # Only now: to ask an engine costs more than to ask the table.
            now = set(_fingerprints(draws, plan).values())
        artifact = next((drawn[one] for one in sorted(now) if one in drawn), None)
        if artifact is None:
            return None
        try:
            found.append(ledger.path_of(artifact))
        except KizyError:
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


def _error_of(event: EndEvent) -> ErrorInfo | None:
    if event.state == "succeeded":
        return None
    return event.error or CANCELLED
