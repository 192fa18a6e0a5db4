"""The SQLite file of the index: its tables, and making it anew when it is damaged or outdated.

Tables: `files`, one row a file, with its card; `facts`, what Civitai said, by sha256; `hashes`,
which contents were seen, so that a file that moved need not be hashed again; `meanings`, vectors by
text.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from ...core.errors import StorageError
from ...core.files import storage_errors
from ..families.family import FAMILIES_FOLDER

FORMAT = 4
"""Of the tables, and of what is read from files. Another one: all files are read again."""

_WAIT = 30.0
"""Seconds that a process waits for another one that writes."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INT, mtime_ns INT, stamp TEXT, root BLOB, health TEXT,
    digest BLOB, sha256 TEXT, family TEXT, form TEXT, rank INT, alpha REAL, text_encoder INT,
    open TEXT, made_for TEXT, own TEXT, said TEXT, card TEXT, texts BLOB
);
CREATE INDEX IF NOT EXISTS files_by_sha256 ON files (sha256);
CREATE TABLE IF NOT EXISTS hashes (sha256 TEXT PRIMARY KEY, size INT, digest BLOB, sample BLOB);
CREATE INDEX IF NOT EXISTS hashes_by_digest ON hashes (digest, size);
CREATE TABLE IF NOT EXISTS facts (sha256 TEXT PRIMARY KEY, facts TEXT);
CREATE TABLE IF NOT EXISTS meanings (hash BLOB PRIMARY KEY, vector BLOB);
"""
_OURS = ("meta", "files", "hashes", "facts", "meanings")
_FULL = (sqlite3.SQLITE_FULL,)
_SHUT = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_T = TypeVar("_T")


class IndexFile:
    """Opens the file for each piece of work. `notes`: what happened to it, in plain words."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError `folder_not_writable` or `disk_full`."""
        self.path = path
        self.notes: list[str] = []
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.guarded(self._prepare)

    def state(self) -> tuple[tuple[int, int] | None, ...]:
        """(size, time of change) of the file and of its write-ahead log; None: not there."""
        found: list[tuple[int, int] | None] = []
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            try:
                about = path.stat()
                found.append((about.st_size, about.st_mtime_ns))
            except OSError:
                found.append(None)
        return tuple(found)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What the query finds. Raises StorageError."""
        return self.guarded(lambda db: db.execute(query, values).fetchall())

    def guarded(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do the work; if the file is damaged or was deleted, make it anew and do it again.

        Raises StorageError `folder_not_writable` or `disk_full`.
        """
        try:
            with self._open() as db:
                return work(db)
        except sqlite3.DatabaseError as error:
            if _is(error, _DAMAGED):
                self._begin_again()
            elif "no such table" not in str(error):
                raise self._storage_error(error) from error
        try:
            with self._open() as db:
                self._prepare(db)
                return work(db)
        except sqlite3.DatabaseError as error:
            raise self._storage_error(error) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            yield db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables; forget what an older Kizy, or one with other families, read."""
        wanted = {"format": str(FORMAT), "families": _families_digest()}
        with transaction(db):
            if not _has_tables(db):
                for name in _OURS:
                    db.execute(f"DROP TABLE IF EXISTS {name}")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            known = dict(db.execute("SELECT name, value FROM meta"))
            if known != wanted:
                # A time that no file has: all are read again, and what was hashed stays known.
                db.execute("UPDATE files SET mtime_ns = -1")
                db.execute("DELETE FROM meta")
                db.executemany("INSERT INTO meta VALUES (?, ?)", wanted.items())

    def _begin_again(self) -> None:
        """Put the damaged file aside, where nobody needs it."""
        aside = self.path.with_name(self.path.name + ".damaged")
        with storage_errors(self.path):
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                self.path.replace(aside)
        self.notes.append(
            f"The index of your LoRAs was damaged and is made anew; the old file is {aside.name}."
        )

    def _storage_error(self, error: sqlite3.DatabaseError) -> StorageError:
        if _is(error, _FULL):
            return StorageError("disk_full", f"The disk is full: {self.path} was not written.")
        if _is(error, _SHUT):
            return StorageError("folder_not_writable", f"Cannot write to {self.path.parent}.")
        message = f"The index {self.path} cannot be used: {error}."
        return StorageError("folder_not_writable", message, fix="Delete the file and try again.")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _has_tables(db: sqlite3.Connection) -> bool:
    """Whether the tables are none yet, or just as they should be."""
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_TABLES)
        right = {name: _columns(fresh, name) for name in _OURS}
    return all(_columns(db, name) in ([], columns) for name, columns in right.items())


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def _is(error: sqlite3.DatabaseError, codes: Sequence[int]) -> bool:
    # The lower 8 bits; the others tell more of the same.
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in codes


def _families_digest() -> str:
    digest = blake2b(digest_size=16)
    for path in sorted(FAMILIES_FOLDER.glob("*.toml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
