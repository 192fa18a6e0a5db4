"""Keys of a server: made once, known by their sha256 alone."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, func, or_, select

from ...core.errors import InputError, UnknownNameError
from ...core.files import storage_errors
from ...core.home import home
from ..settings import Settings
from .database import Database, keys, sqlite_url

BEGIN = "kizy_"
BYTES = 32
"""Of randomness in a key: it cannot be guessed, so its plain sha256 can be kept."""

MAX_NAME = 100
USED_SECONDS = 600.0
"""So often is written down that a key is used."""


@dataclass(frozen=True)
class Key:
    """What is known of a key. `name`: the owner of the jobs that it asks for. Times in UTC."""

    id: str
    name: str
    admin: bool
    created: datetime
    used: datetime | None = None


class KeyStore:
    """Keys in a database, which other processes may change. Every method raises StorageError."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def add(self, name: str, *, admin: bool = False) -> tuple[Key, str]:
        """A new key, and the words of it: they are told this once.

        Raises InputError `request_invalid` for a name that cannot be one.
        """
        name = " ".join(name.split())
        if not name or len(name) > MAX_NAME or not name.isprintable():
            message = f"A key's name has 1 to {MAX_NAME} letters."
            raise InputError("request_invalid", message)
        words = BEGIN + secrets.token_urlsafe(BYTES)
        values: dict[str, Any] = {
            "id": secrets.token_hex(6),
            "name": name,
            "hash": _hash(words),
            "admin": admin,
            "created": self._now(),
        }
        with self._database.writing() as connection:
            connection.execute(keys.insert().values(**values))
        return Key(values["id"], name, admin, _moment(values["created"])), words

    def list(self) -> tuple[Key, ...]:
        """All that are right, oldest first."""
        wanted = select(keys).where(keys.c.withdrawn.is_(None)).order_by(keys.c.created, keys.c.id)
        with self._database.reading() as connection:
            return tuple(_key_of(row) for row in connection.execute(wanted).mappings())

    def any(self) -> bool:
        """Whether there is any key that is right."""
        wanted = select(func.count()).select_from(keys).where(keys.c.withdrawn.is_(None))
        with self._database.reading() as connection:
            return connection.execute(wanted).scalar_one() > 0

    def withdraw(self, name: str) -> tuple[Key, ...]:
        """Make the key of that id, or all keys of that name, wrong; those that it was.

        Raises UnknownNameError `key_unknown`.
        """
        fits = or_(keys.c.id == name, keys.c.name == name)
        with self._database.writing() as connection:
            wanted = select(keys).where(keys.c.withdrawn.is_(None), fits)
            found = tuple(_key_of(row) for row in connection.execute(wanted).mappings())
            if not found:
                raise UnknownNameError("key_unknown", f'No key is called "{name}".')
            gone = keys.update().where(keys.c.id.in_([key.id for key in found]))
            connection.execute(gone.values(withdrawn=self._now()))
        return found

    def find(self, words: str) -> Key | None:
        """The key with these words; None if it is wrong or withdrawn.

        It is looked up by its hash: how long that takes tells nothing of other keys.
        """
        wanted = select(keys).where(keys.c.hash == _hash(words), keys.c.withdrawn.is_(None))
        with self._database.reading() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        if row is None:
            return None
        key = _key_of(row)
        if row["used"] is None or self._now() - row["used"] > USED_SECONDS:
            with self._database.writing() as connection:
                used = keys.update().where(keys.c.id == key.id).values(used=self._now())
                connection.execute(used)
        return key


def database_of(settings: Settings) -> Database:
    """The database of `kizy serve`. Raises StorageError, EngineError `library_missing`."""
    given = settings.database_url
    path = home() / "jobs.sqlite"
    with storage_errors(path):
        return Database(given.get_secret_value() if given is not None else sqlite_url(path))


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()


def _key_of(row: RowMapping) -> Key:
    used = _moment(row["used"]) if row["used"] is not None else None
    return Key(row["id"], row["name"], row["admin"], _moment(row["created"]), used)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
