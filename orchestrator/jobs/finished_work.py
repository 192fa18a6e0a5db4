"""The store of finished work: which Plan, drawn by what, gave which file."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from ...core.job import JobArtifact
from .database import OVER, Database, artifacts, finished, job_artifacts, jobs, put

_DRAWN = (
    select(finished.c.fingerprint, finished.c.artifact_id)
    .join(artifacts, artifacts.c.id == finished.c.artifact_id)
    .where((finished.c.digest == bindparam("plan")) & ~artifacts.c.gone)
)
"""Put together once: it is asked with every job."""


@dataclass(frozen=True)
class Removable:
    """A file that may go. `file`: relative to the store's folder."""

    id: str
    file: str
    bytes: int
    used: float


class FinishedWork:
    """Files by content and by Plan. Every method raises StorageError."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    @staticmethod
    def add(connection: Connection, digest: str, fingerprint: str, artifact_id: str) -> None:
        """A Plan of one picture was drawn: this is its newest file."""
        key = {"digest": digest, "fingerprint": fingerprint}
        put(connection, finished, key, {"artifact_id": artifact_id})

    def drawn(self, digest: str) -> dict[str, str]:
        """Fingerprint -> id of the file, of those that are still there."""
        with self._database.reading() as connection:
            found = connection.execute(_DRAWN, {"plan": digest})
            return {row.fingerprint: row.artifact_id for row in found}

    def file(self, artifact_id: str) -> tuple[JobArtifact, str] | None:
        """(file, where it lies in the store)."""
        asked = select(artifacts).where(artifacts.c.id == artifact_id)
        with self._database.reading() as connection:
            row = connection.execute(asked).mappings().one_or_none()
            if row is None:
                return None
            named = (
                connection.execute(
                    select(job_artifacts).where(job_artifacts.c.artifact_id == artifact_id).limit(1)
                )
                .mappings()
                .one_or_none()
            )
        about = JobArtifact(
            id=row["id"],
            kind=named["kind"] if named else "picture",
            index=named["idx"] if named else 0,
            name=named["name"] if named else row["file"].rpartition("/")[2],
            media_type=row["media_type"],
            bytes=row["bytes"],
            width=row["width"],
            height=row["height"],
            seed=named["seed"] if named else None,
            gone=row["gone"],
        )
        return about, row["file"]

    def owned(self, artifact_id: str, owner: str) -> bool:
        """Whether a job of that owner has the file."""
        asked = (
            select(func.count())
            .select_from(job_artifacts.join(jobs, jobs.c.id == job_artifacts.c.job_id))
            .where((job_artifacts.c.artifact_id == artifact_id) & (jobs.c.owner == owner))
        )
        with self._database.reading() as connection:
            return bool(connection.execute(asked).scalar_one())

    def known(self, artifact_ids: Collection[str]) -> set[str]:
        """Those of the files that are recorded, and not as gone; in one question."""
        where = artifacts.c.id.in_(artifact_ids) & ~artifacts.c.gone
        with self._database.reading() as connection:
            return set(connection.execute(select(artifacts.c.id).where(where)).scalars())

    def used(self, artifact_id: str) -> None:
        """It was drawn again, or fetched: it counts as new."""
        with self._database.writing() as connection:
            connection.execute(
                artifacts.update().where(artifacts.c.id == artifact_id).values(used=self._now())
            )

    def by_age(self) -> list[Removable]:
        """All that is there and that no unfinished job has, the longest unused first."""
        unfinished = (
            select(job_artifacts.c.artifact_id)
            .join(jobs, jobs.c.id == job_artifacts.c.job_id)
            .where(jobs.c.state.not_in(OVER))
        )
        asked = (
            select(artifacts.c.id, artifacts.c.file, artifacts.c.bytes, artifacts.c.used)
            .where(~artifacts.c.gone & artifacts.c.id.not_in(unfinished))
            .order_by(artifacts.c.used)
        )
        with self._database.reading() as connection:
            return [Removable(*row) for row in connection.execute(asked)]

    def total_bytes(self) -> int:
        """Of all files that are there."""
        asked = select(func.coalesce(func.sum(artifacts.c.bytes), 0)).where(~artifacts.c.gone)
        with self._database.reading() as connection:
            return int(connection.execute(asked).scalar_one())

    def gone(self, artifact_id: str) -> None:
        """It was removed; jobs still say that they had it."""
        with self._database.writing() as connection:
            connection.execute(
                artifacts.update().where(artifacts.c.id == artifact_id).values(gone=True)
            )
            connection.execute(finished.delete().where(finished.c.artifact_id == artifact_id))
