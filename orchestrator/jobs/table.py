"""The table of jobs: the truth of what was accepted, and how it ended.

Each change is one transaction that says from which state it may be made, so that whatever
happens twice, after a crash or from two threads, counts once.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Float, RowMapping, Text, bindparam, func, select

from ...core.errors import InputError, UnknownNameError
from ...core.job import (
    EndEvent,
    ErrorInfo,
    Job,
    JobArtifact,
    JobArtifactEvent,
    JobEvent,
    JobKind,
    Notice,
    NoticeEvent,
)
from ...core.plan import Plan
from ..service import MAX_PAGE, JobPage, JobQuery, Numbered
from . import rows
from .database import OVER, Database, artifacts, events, job_artifacts, jobs, meta, put
from .schedule import Waiting

WAITING = "queued"
RUNNING = "running"

_FILES = (
    job_artifacts.c.job_id,
    job_artifacts.c.kind,
    job_artifacts.c.idx,
    job_artifacts.c.artifact_id,
    job_artifacts.c.name,
    job_artifacts.c.seed,
    artifacts.c.media_type,
    artifacts.c.bytes,
    artifacts.c.width,
    artifacts.c.height,
    artifacts.c.gone,
)


# What is asked for with every job is put together once.
_BY_ID = select(jobs).where(jobs.c.id == bindparam("job"))
_COUNT_WAITING = select(func.count()).select_from(jobs).where(jobs.c.state == WAITING)
_CLAIM = (
    jobs.update()
    .where((jobs.c.id == bindparam("job")) & (jobs.c.state == WAITING) & ~jobs.c.paused)
    .values(
        state=RUNNING,
        started=func.coalesce(jobs.c.started, bindparam("moment", type_=Float)),
        not_before=None,
        attempts=jobs.c.attempts + 1,
    )
    .returning(jobs)
)
_FINISH = (
    jobs.update()
    .where((jobs.c.id == bindparam("job")) & (jobs.c.state == bindparam("was")))
    .values(
        state=bindparam("becomes"),
        ended=bindparam("moment", type_=Float),
        error=bindparam("why", type_=Text),
        progress=func.coalesce(bindparam("share", type_=Float), jobs.c.progress),
        doing="",
        remaining=None,
    )
    .returning(jobs.c.kind, jobs.c.started, jobs.c.ended)
)
_ADD_JOB = jobs.insert().returning(jobs)
_ADD_EVENT = events.insert()
_ADD_FILE = job_artifacts.insert()
_LAST_NUMBER = select(func.max(jobs.c.number))
_FILE_AT = select(job_artifacts.c.artifact_id).where(
    (job_artifacts.c.job_id == bindparam("job"))
    & (job_artifacts.c.kind == bindparam("kind"))
    & (job_artifacts.c.idx == bindparam("idx"))
)


@dataclass(frozen=True)
class NewJob:
    """What is accepted. `plan` None: a training, which is planned when its turn comes.

    `asked`: sha256 of all that was asked for, to tell whether an idempotency key fits. `begun`: it
    runs at once, in the hands of whoever accepts it.
    """

    id: str
    kind: JobKind
    lane: str
    owner: str
    priority: int
    title: str
    request: str
    asked: str
    plan: Plan | None = None
    fresh: bool = False
    idempotency_key: str | None = None
    deadline: float | None = None
    expected: float | None = None
    retry_of: str | None = None
    run: str | None = None
    begun: bool = False


Besides = Callable[[Connection], None]
"""Writes more in a transaction."""


def nothing(connection: Connection) -> None:
    """Writes nothing more."""


class JobTable:
    """Jobs in a database. `now`: seconds since 1970. Every method raises StorageError."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self.database, self.now = database, now

    def accept(self, new: NewJob, limit: int) -> tuple[Job, float | None]:
        """Write it down; (the job, its place). None: its idempotency key had one before.

        Raises InputError `idempotency_conflict`, and `Full` if `limit` jobs wait already.
        """
        with self.database.writing(durable=True) as connection:
            self._take_turn(connection)
            earlier = self._same_key(connection, new)
            if earlier is not None:
                return earlier, None
            if not new.begun and connection.execute(_COUNT_WAITING).scalar_one() >= limit:
                raise Full
            number = (connection.execute(_LAST_NUMBER).scalar() or 0) + 1
            now = self.now()
            values: dict[str, Any] = {
                "id": new.id,
                "kind": new.kind,
                "lane": new.lane,
                "owner": new.owner,
                "state": RUNNING if new.begun else WAITING,
                "started": now if new.begun else None,
                "attempts": int(new.begun),
                "priority": new.priority,
                "place": float(number),
                "title": new.title,
                "request": new.request,
                "plan": rows.mapping_values(new.plan),
                "digest": new.plan.digest() if new.plan is not None else None,
                "fresh": new.fresh,
                "idempotency_key": new.idempotency_key,
                "asked": new.asked,
                "created": now,
                "deadline": new.deadline,
                "expected": new.expected,
                "retry_of": new.retry_of,
                "run": new.run,
                "number": number,
            }
            row = connection.execute(_ADD_JOB, values).mappings().one()
            for told in new.plan.notices if new.plan is not None else ():
                self._notice(connection, new.id, Notice(code=told.value, text=told.why))
                row = self._row(connection, new.id)
            return rows.job_of(row, plan=new.plan), float(number)

    def job(self, job_id: str, owner: str | None = None) -> Job:
        """A job, of any owner if `owner` is None. Raises UnknownNameError `job_unknown`."""
        with self.database.reading() as connection:
            return self._job(connection, job_id, owner)

    def row(self, job_id: str) -> RowMapping:
        """All that is known of a job. Raises UnknownNameError `job_unknown`."""
        with self.database.reading() as connection:
            return self._row(connection, job_id)

    def page(self, query: JobQuery) -> JobPage:
        """Some jobs, newest first. Raises InputError `request_invalid`: wrong limit or cursor."""
        limit = query.limit
        if not 1 <= limit <= MAX_PAGE:
            raise InputError("request_invalid", f"limit = {limit}: it is 1 to {MAX_PAGE}.")
        asked = select(jobs).order_by(jobs.c.number.desc()).limit(limit + 1)
        if query.states:
            asked = asked.where(jobs.c.state.in_(query.states))
        if query.kind is not None:
            asked = asked.where(jobs.c.kind == query.kind)
        if query.owner is not None:
            asked = asked.where(jobs.c.owner == query.owner)
        if query.cursor is not None:
            asked = asked.where(jobs.c.number < _number_of(query.cursor))
        with self.database.reading() as connection:
            found = connection.execute(asked).mappings().all()
            shown = found[:limit]
            files = self._files(connection, [row["id"] for row in shown])
        page = tuple(rows.job_of(row, files.get(row["id"], ())) for row in shown)
        more = len(found) > limit
        return JobPage(jobs=page, next=_cursor_of(shown[-1]["number"]) if more else None)

    def waiting(self) -> list[Waiting]:
        """All that wait, in no order."""
        asked = select(
            jobs.c.id,
            jobs.c.owner,
            jobs.c.lane,
            jobs.c.priority,
            jobs.c.place,
            jobs.c.paused,
            jobs.c.not_before,
            jobs.c.deadline,
            jobs.c.expected,
        ).where(jobs.c.state == WAITING)
        with self.database.reading() as connection:
            return [Waiting(*row) for row in connection.execute(asked)]

    def running(self) -> list[RowMapping]:
        """All that run, or ran when their process died."""
        with self.database.reading() as connection:
            asked = select(jobs).where(jobs.c.state == RUNNING)
            return list(connection.execute(asked).mappings())

    def counts(self) -> dict[tuple[str, str], int]:
        """(kind, state) -> jobs."""
        asked = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
        with self.database.reading() as connection:
            return {(kind, state): count for kind, state, count in connection.execute(asked)}

    def claim(self, job_id: str) -> RowMapping | None:
        """It begins; None if it waits no longer, or was paused.

        Raises NewerRowError, and leaves it as it is, if only a newer version can carry it out.
        """
        with self.database.writing() as connection:
            claimed = connection.execute(_CLAIM, {"job": job_id, "moment": self.now()})
            row = claimed.mappings().one_or_none()
            if row is not None and rows.newness(row) is rows.Newness.NEWER:
                raise NewerRowError(job_id)
            return row

    def park(self, job_id: str) -> bool:
        """It waits again, at its old place; whether it ran."""
        return self._from_running(job_id, state=WAITING, doing="", remaining=None)

    def crashed(self, job_id: str) -> int:
        """It waits again after its process died while it ran; how often that happened by now."""
        with self.database.writing() as connection:
            where = (jobs.c.id == job_id) & (jobs.c.state == RUNNING)
            connection.execute(
                jobs.update()
                .where(where)
                .values(state=WAITING, doing="", remaining=None, crashes=jobs.c.crashes + 1)
            )
            return int(self._row(connection, job_id)["crashes"])

    def try_again(self, job_id: str, at: float, notice: Notice) -> Numbered | None:
        """It failed by no fault of its own, and waits until `at`."""
        with self.database.writing() as connection:
            where = (jobs.c.id == job_id) & (jobs.c.state == RUNNING)
            changed = connection.execute(
                jobs.update()
                .where(where)
                .values(
                    state=WAITING,
                    not_before=at,
                    failures=jobs.c.failures + 1,
                    doing="",
                    remaining=None,
                )
            )
            return self._notice(connection, job_id, notice) if changed.rowcount else None

    def finish(
        self,
        job_id: str,
        state: str,
        error: ErrorInfo | None = None,
        *,
        begun: bool = True,
        besides: Besides = nothing,
    ) -> Ended | None:
        """The end, once: None if it was over already. `begun` False: only if it still waits.

        `besides`: what else is written in the same transaction.
        """
        values = {
            "job": job_id,
            "was": RUNNING if begun else WAITING,
            "becomes": state,
            "moment": self.now(),
            "why": rows.mapping_values(error),
            "share": 1.0 if state == "succeeded" else None,
        }
        with self.database.writing() as connection:
            row = connection.execute(_FINISH, values).one_or_none()
            if row is None:
                return None
            besides(connection)
            event = EndEvent.model_validate({"job_id": job_id, "state": state, "error": error})
            seconds = row.ended - row.started if row.started is not None else 0.0
            return Ended(self._event(connection, job_id, event), row.kind, seconds)

    def told(self, job_id: str, notice: Notice) -> Numbered | None:
        """Keep what the person should know; None if the job has been told the same."""
        with self.database.writing() as connection:
            return self._notice(connection, job_id, notice)

    def progressed(self, job_id: str, fraction: float, doing: str, left: float | None) -> None:
        """How far it is."""
        with self.database.writing() as connection:
            connection.execute(
                jobs.update()
                .where((jobs.c.id == job_id) & (jobs.c.state == RUNNING))
                .values(progress=fraction, doing=doing, remaining=left)
            )

    def set(self, job_id: str, **values: Any) -> None:
        """Other columns."""
        with self.database.writing() as connection:
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(**values))

    def change_waiting(self, job_id: str, **values: Any) -> bool:
        """Columns of a job that waits; whether it does."""
        where = (jobs.c.id == job_id) & (jobs.c.state == WAITING)
        with self.database.writing() as connection:
            return bool(connection.execute(jobs.update().where(where).values(**values)).rowcount)

    def add_file(self, job_id: str, file: JobArtifact, where: str) -> Numbered | None:
        """A finished file; `where`: relative to the store. None: that place has one already."""
        with self.database.writing() as connection:
            return self._add_file(connection, job_id, file, where)

    def files_of(self, job_id: str) -> list[tuple[JobArtifact, str]]:
        """(file, where it lies in the store) of a job."""
        with self.database.reading() as connection:
            found = connection.execute(
                select(*_FILES, artifacts.c.file)
                .join(artifacts, artifacts.c.id == job_artifacts.c.artifact_id)
                .where(job_artifacts.c.job_id == job_id)
                .order_by(job_artifacts.c.kind, job_artifacts.c.idx)
            ).mappings()
            return [(rows.file_of(row), row["file"]) for row in found]

    def heard_since(self, job_id: str, after: int) -> list[Numbered]:
        """The kept events of a job behind number `after`."""
        asked = select(events).where((events.c.job_id == job_id) & (events.c.id > after))
        with self.database.reading() as connection:
            found = connection.execute(asked.order_by(events.c.id)).all()
        return [Numbered(row.id, rows.event_of(row.job_id, row.data)) for row in found]

    def heard_by_all(self, after: int) -> list[tuple[str, Numbered]]:
        """(job, event) of all jobs behind number `after`."""
        asked = select(events).where(events.c.id > after).order_by(events.c.id).limit(1000)
        with self.database.reading() as connection:
            found = connection.execute(asked).all()
        return [
            (row.job_id, Numbered(row.id, rows.event_of(row.job_id, row.data))) for row in found
        ]

    def to_cancel(self) -> list[str]:
        """Jobs that run and that somebody wants to end."""
        asked = select(jobs.c.id).where((jobs.c.state == RUNNING) & jobs.c.cancelled)
        with self.database.reading() as connection:
            return list(connection.execute(asked).scalars())

    def queue_paused(self) -> bool:
        """Whether nothing new may begin."""
        asked = select(meta.c.value).where(meta.c.key == "paused")
        with self.database.reading() as connection:
            return connection.execute(asked).scalar_one_or_none() == "yes"

    def pause_queue(self, paused: bool) -> None:
        """Keep whether nothing new may begin."""
        with self.database.writing() as connection:
            put(connection, meta, {"key": "paused"}, {"value": "yes" if paused else "no"})

    def place_before(self, job_id: str, before: str) -> bool:
        """Move a job that waits: before another one that waits, "first" or "last" of its owner.

        Whether it waits. Raises UnknownNameError `job_unknown`, InputError `job_not_waiting`.
        """
        with self.database.writing() as connection:
            row = self._row(connection, job_id)
            same = (jobs.c.state == WAITING) & (jobs.c.owner == row["owner"])
            others = select(jobs.c.place).where(same & (jobs.c.id != job_id))
            places = sorted(connection.execute(others).scalars())
            if before == "first":
                place = places[0] - 1.0 if places else row["place"]
            elif before == "last":
                place = places[-1] + 1.0 if places else row["place"]
            else:
                other = self._row(connection, before)
                if other["state"] != WAITING or other["owner"] != row["owner"]:
                    message = f"Job {before} does not wait, or is somebody else's."
                    raise InputError("job_not_waiting", message)
                lower = [one for one in places if one < other["place"]]
                place = (lower[-1] + other["place"]) / 2 if lower else other["place"] - 1.0
            where = (jobs.c.id == job_id) & (jobs.c.state == WAITING)
            changed = connection.execute(jobs.update().where(where).values(place=place))
            return bool(changed.rowcount)

    def unfinished_texts(self) -> list[str]:
        """Requests and Plans of all jobs that are not over, also in states of newer versions."""
        asked = select(jobs.c.request, jobs.c.plan).where(jobs.c.state.not_in(OVER))
        with self.database.reading() as connection:
            return [f"{row.request} {row.plan or ''}" for row in connection.execute(asked)]

    def forget_events(self, older: float) -> None:
        """Events of jobs that ended before `older`: their state says all that matters."""
        ended = select(jobs.c.id).where(jobs.c.ended < older)
        with self.database.writing() as connection:
            connection.execute(events.delete().where(events.c.job_id.in_(ended)))

    def last_event(self) -> int:
        """The number of the newest event of all; 0 if there is none."""
        with self.database.reading() as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def _job(self, connection: Connection, job_id: str, owner: str | None = None) -> Job:
        row = self._row(connection, job_id)
        if owner is not None and row["owner"] != owner:
            raise UnknownNameError("job_unknown", f"There is no job {job_id}.")
        return rows.job_of(row, self._files(connection, [job_id]).get(job_id, ()))

    def _row(self, connection: Connection, job_id: str) -> RowMapping:
        row = connection.execute(_BY_ID, {"job": job_id}).mappings().one_or_none()
        if row is None:
            raise UnknownNameError("job_unknown", f"There is no job {job_id[:60]}.")
        return row

    def _files(
        self, connection: Connection, job_ids: Sequence[str]
    ) -> dict[str, list[JobArtifact]]:
        found: dict[str, list[JobArtifact]] = {}
        asked = (
            select(*_FILES)
            .join(artifacts, artifacts.c.id == job_artifacts.c.artifact_id)
            .where(job_artifacts.c.job_id.in_(job_ids))
            .order_by(job_artifacts.c.job_id, job_artifacts.c.kind, job_artifacts.c.idx)
        )
        for row in connection.execute(asked).mappings():
            found.setdefault(row["job_id"], []).append(rows.file_of(row))
        return found

    def _same_key(self, connection: Connection, new: NewJob) -> Job | None:
        if new.idempotency_key is None:
            return None
        where = (jobs.c.owner == new.owner) & (jobs.c.idempotency_key == new.idempotency_key)
        row = connection.execute(select(jobs.c.id, jobs.c.asked).where(where)).one_or_none()
        if row is None:
            return None
        if row.asked != new.asked:
            message = "The idempotency key belongs to another request."
            raise InputError("idempotency_conflict", message)
        return self._job(connection, row.id)

    def _take_turn(self, connection: Connection) -> None:
        """Others who accept jobs wait until this transaction is done, and then see what it wrote:
        its number, and its idempotency key. SQLite has one writer at a time anyway."""
        if self.database.is_postgres:
            connection.exec_driver_sql("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")

    def _from_running(self, job_id: str, **values: Any) -> bool:
        where = (jobs.c.id == job_id) & (jobs.c.state == RUNNING)
        with self.database.writing() as connection:
            return bool(connection.execute(jobs.update().where(where).values(**values)).rowcount)

    def _event(self, connection: Connection, job_id: str, event: JobEvent) -> Numbered:
        values = {"job_id": job_id, "at": self.now(), "data": rows.event_text(event)}
        added = connection.execute(_ADD_EVENT, values)
        number = added.inserted_primary_key
        assert number is not None
        return Numbered(number[0], event)

    def _notice(self, connection: Connection, job_id: str, notice: Notice) -> Numbered | None:
        row = self._row(connection, job_id)
        known = rows.notices_of(row)
        if notice in known:
            return None
        text = rows.notices_text([*known, notice])
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(notices=text))
        event = NoticeEvent(job_id=job_id, code=notice.code, text=notice.text)
        return self._event(connection, job_id, event)

    def _add_file(
        self, connection: Connection, job_id: str, file: JobArtifact, where: str
    ) -> Numbered | None:
        place = {"job": job_id, "kind": file.kind, "idx": file.index}
        if connection.execute(_FILE_AT, place).scalar_one_or_none() is not None:
            return None
        now = self.now()
        there = {"used": now, "gone": False, "file": where}
        new = {
            "media_type": file.media_type,
            "bytes": file.bytes,
            "width": file.width,
            "height": file.height,
            "created": now,
        }
        put(connection, artifacts, {"id": file.id}, there, new=new)
        values = {
            "job_id": job_id,
            "kind": file.kind,
            "idx": file.index,
            "artifact_id": file.id,
            "name": file.name,
            "seed": file.seed,
        }
        connection.execute(_ADD_FILE, values)
        return self._event(connection, job_id, JobArtifactEvent(job_id=job_id, artifact=file))


@dataclass(frozen=True)
class Ended:
    """A job's end. `seconds`: since it began."""

    event: Numbered
    kind: str
    seconds: float


class NewerRowError(Exception):
    """Only a newer version can carry the job out."""


class Full(Exception):  # noqa: N818
    """As many jobs wait as may."""


def _cursor_of(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def _number_of(cursor: str) -> int:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        return int(base64.urlsafe_b64decode(padded).decode("ascii"))
    except (ValueError, binascii.Error) as error:
        message = "The cursor is none that a page of jobs gave."
        raise InputError("request_invalid", message) from error
