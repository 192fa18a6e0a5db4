"""The database of jobs: SQLite with a write-ahead log, or Postgres; the same code on both.

One connection of SQLite writes at a time, so writes of this process take turns (`writing`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from ...core.errors import EngineError, StorageError

SCHEMA = 1
"""Version of the tables. A change adds a step to `_UPGRADES`; nothing is ever dropped."""

BUSY_SECONDS = 30.0
"""How long a write waits for another process's."""

MIN_SQLITE = (3, 35, 0)
"""The first one that answers with the rows that it changed (RETURNING)."""

OVER = ("succeeded", "failed", "cancelled")
"""States in which nothing more happens to a job. A newer version may know others besides "queued"
and "running": whoever removes what no job needs goes by these."""

metadata = MetaData()


class Seed(TypeDecorator[int]):
    """A seed of 64 bits in a column that has a sign: the upper half lies below 0."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> int | None:
        return value if value is None or value < 2**63 else value - 2**64

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        return value if value is None or value >= 0 else value + 2**64


meta = Table("meta", metadata, Column("key", String(40), primary_key=True), Column("value", Text))

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("lane", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("place", Float, nullable=False),
    Column("paused", Boolean, nullable=False, default=False),
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("title", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("plan", Text),
    Column("training", Text),
    Column("digest", String(64)),
    Column("fresh", Boolean, nullable=False, default=False),
    Column("idempotency_key", Text),
    Column("asked", String(64)),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("deadline", Float),
    Column("not_before", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("progress", Float, nullable=False, default=0.0),
    Column("doing", Text, nullable=False, default=""),
    Column("remaining", Float),
    Column("expected", Float),
    Column("error", Text),
    Column("notices", Text, nullable=False, default="[]"),
    Column("from_store", Boolean, nullable=False, default=False),
    Column("retry_of", String(36)),
    Column("run", Text),
    Column("number", BigInteger, nullable=False),
    UniqueConstraint("owner", "idempotency_key"),
    Index("jobs_by_state", "state", "priority", "place"),
    Index("jobs_by_number", "number"),
    Index("jobs_by_owner", "owner", "number"),
)
"""`number` grows with each job: pages go by it. `place` orders what waits at one priority.

`lane`: what carries it out; each has slots of its own. `asked`: sha256 of the request, beside the
idempotency key. `expected`: seconds that it takes. `not_before`: when it is tried again.
`failures`: tries that failed by no fault of the job; `crashes`: those that took Kizy with them.
`run`: the name of a training's folder.
"""

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("file", Text, nullable=False),
    Column("media_type", String(100), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("created", Float, nullable=False),
    Column("used", Float, nullable=False),
    Column("gone", Boolean, nullable=False, default=False),
)
"""Files by content. `file`: relative to the store's folder."""

job_artifacts = Table(
    "job_artifacts",
    metadata,
    Column("job_id", String(36), ForeignKey("jobs.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("idx", Integer, nullable=False),
    Column("artifact_id", String(64), ForeignKey("artifacts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("seed", Seed),
    PrimaryKeyConstraint("job_id", "kind", "idx"),
    Index("jobs_of_artifact", "artifact_id"),
)

finished = Table(
    "finished",
    metadata,
    Column("digest", String(64), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("artifact_id", String(64), ForeignKey("artifacts.id"), nullable=False),
    PrimaryKeyConstraint("digest", "fingerprint"),
    Index("finished_by_artifact", "artifact_id"),
)
"""Digest of one picture's Plan and what drew it -> its file."""

events = Table(
    "events",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("job_id", String(36), nullable=False),
    Column("at", Float, nullable=False),
    Column("data", Text, nullable=False),
    Index("events_of_job", "job_id", "id"),
    sqlite_autoincrement=True,
)
"""What a follower can hear later: notices, artifacts, ends. `data`: the event as JSON."""

durations = Table(
    "durations",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("count", Integer, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("admin", Boolean, nullable=False, default=False),
    Column("created", Float, nullable=False),
    Column("used", Float),
    Column("withdrawn", Float),
)
"""`name` is the owner of the jobs that the key asks for. `hash`: sha256 of the key."""

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("media_type", String(100), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("used", Float, nullable=False),
)

_UPGRADES: dict[int, tuple[str, ...]] = {}
"""Version -> the statements that make its tables of those of the version before."""


class Database:
    """An open database. Raises StorageError `database_unusable`, EngineError `library_missing`."""

    def __init__(self, url: str) -> None:
        """`url`: SQLAlchemy's or Postgres's form; `sqlite://` is a database in memory."""
        self.url = url
        # Every thread that writes to the database of this process takes turns under it.
        self._write = threading.RLock()
        with database_errors():
            self.engine = _engine(url)
        try:
            self._prepare()
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def path(self) -> Path | None:
        """The file of SQLite's; None in memory and for Postgres."""
        name = self.engine.url.database
        return Path(name) if name and self.engine.dialect.name == "sqlite" else None

    @property
    def is_postgres(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only reads; all its answers are of one moment."""
        if self.engine.dialect.name == "sqlite" and isinstance(self.engine.pool, StaticPool):
            # In memory there is but one connection, which nobody else may write to meanwhile.
            with self._write, database_errors(), self.engine.begin() as connection:
                yield connection
            return
        with database_errors(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction: all of it happens, or nothing.

        It outlives the process at once, and a power failure from the next `durable` one on.
        """
        with self._write, database_errors(), self.engine.connect() as connection:
            if not self.is_postgres:
                connection = connection.execution_options(
                    kizy_writes="FULL" if durable else "NORMAL"
                )
            with connection.begin():
                yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _prepare(self) -> None:
        with self.writing() as connection:
            if self.is_postgres:
                # Two processes that start at once make the tables one after the other.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7433001)")
            if not inspect(connection).has_table("meta"):
                metadata.create_all(connection)
                connection.execute(meta.insert().values(key="schema", value=str(SCHEMA)))
                return
            there = select(meta.c.value).where(meta.c.key == "schema")
            version = int(connection.execute(there).scalar_one())
            if version > SCHEMA:
                raise StorageError(
                    "database_unusable",
                    "The database of jobs was made by a newer version of Kizy.",
                    fix="Use that version or a newer one; nothing was changed.",
                )
            for step in range(version + 1, SCHEMA + 1):
                for statement in _UPGRADES[step]:
                    connection.exec_driver_sql(statement)
            connection.execute(
                meta.update().where(meta.c.key == "schema").values(value=str(SCHEMA))
            )


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Raises StorageError `database_unusable` for what the database cannot do."""
    try:
        yield
    except SQLAlchemyError as error:
        # The driver's own words: SQLAlchemy's add the statement and its values.
        words = str(getattr(error, "orig", None) or error).strip().splitlines()
        what = words[0] if words else type(error).__name__
        message = f"The database of jobs does not work ({what})."
        raise StorageError("database_unusable", message) from error


def put(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    new: Mapping[str, Any] | None = None,
) -> None:
    """Write a row's values, whether there is one of that key by now or not. `new`: what only a row
    that was not there gets besides.

    In one statement: with two, another process may come in between, and one of both fails.
    """
    inserting: Any = sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert
    adding = inserting(table).values(**key, **values, **(new or {}))
    connection.execute(adding.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def sqlite_url(path: Path) -> str:
    """The address of a database in a file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def _engine(url: str) -> Engine:
    if url.startswith(("postgresql://", "postgres://")):
        url = f"postgresql+psycopg://{url.partition('://')[2]}"
    try:
        if url == "sqlite://":
            options: dict[str, Any] = {"check_same_thread": False}
            engine = create_engine(url, poolclass=StaticPool, connect_args=options)
        elif url.startswith("sqlite:"):
            engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=20)
        else:
            engine = create_engine(url, pool_size=20, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise EngineError(
            "library_missing",
            f"{error.name} must be installed to use this database.",
            fix="Install it with: pip install 'kizy[postgres]'",
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        # Not the address itself: it may hold a password.
        message = "KIZY_DATABASE_URL is no address of a database that Kizy can use."
        fix = "Give one like postgresql://user:password@host/name, or leave it out."
        raise StorageError("database_unusable", message, fix=fix) from error
    if engine.dialect.name == "sqlite":
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise EngineError(
                "library_missing",
                f"Python's SQLite is {sqlite3.sqlite_version}; 3.35 or newer is needed.",
                fix="Use a newer Python, or a Postgres database (KIZY_DATABASE_URL).",
            )
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    # Python's own idea of when a transaction begins is switched off: `_on_begin` says it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("kizy_writes")
    if writes is not None and connection.info.get("kizy_writes") != writes:
        # With a write-ahead log, NORMAL never breaks the database; FULL waits for the disk.
        connection.exec_driver_sql(f"PRAGMA synchronous={writes}")
        connection.info["kizy_writes"] = writes
    connection.exec_driver_sql("BEGIN" if writes is None else "BEGIN IMMEDIATE")
