"""One dispatcher a deployment: a file lock beside SQLite, an advisory lock in Postgres.

Both are given back by the system when the process that holds them dies.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from ...core.files import storage_errors, take_lock
from .database import Database, database_errors

ADVISORY = 7433000
"""The lock's number in Postgres."""


class DispatcherLock:
    """The right to begin jobs of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Taken and given back by the dispatcher's thread, and by the one that closes the service
        # when that thread has stopped, or has not within two seconds.
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None
        self._held = False

    @property
    def shared(self) -> bool:
        """Whether other processes may use the database beside this one."""
        return self._database.is_postgres

    def take(self) -> bool:
        """Whether it is ours now; does not wait. Raises StorageError."""
        if self._held:
            return True
        if self._database.is_postgres:
            self._held = self._take_advisory()
        elif (path := self._database.path) is not None:
            self._held = self._take_file(path.with_name(path.name + ".lock"))
        else:
            self._held = True
        return self._held

    def still_held(self) -> bool:
        """Whether it is ours still: a broken line to Postgres gives it to others."""
        if not self._held or self._connection is None:
            return self._held
        try:
            self._connection.execute(text("SELECT 1"))
            self._connection.commit()
        except SQLAlchemyError:
            self.release()
        return self._held

    def release(self) -> None:
        """Let another process begin jobs."""
        self._held = False
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                # Postgres notices a closed connection a little later only.
                freed = text("SELECT pg_advisory_unlock(:number)").bindparams(number=ADVISORY)
                self._connection.execute(freed)
            with contextlib.suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_advisory(self) -> bool:
        with database_errors():
            if self._connection is None:
                self._connection = self._database.engine.connect()
            asked = text("SELECT pg_try_advisory_lock(:number)").bindparams(number=ADVISORY)
            got = bool(self._connection.execute(asked).scalar_one())
            self._connection.commit()
        return got

    def _take_file(self, path: Path) -> bool:
        with storage_errors(path):
            file = path.open("ab")
        if take_lock(file):
            self._file = file
            return True
        file.close()
        return False
