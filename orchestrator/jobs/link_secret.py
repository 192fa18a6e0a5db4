"""What links to files are signed with: one secret for all servers of one database."""

from __future__ import annotations

import base64
import secrets

from sqlalchemy import select

from ...core.errors import StorageError
from .database import Database, meta

_KEY = "link_secret"
BYTES = 32


def link_secret(database: Database) -> bytes:
    """The secret, made at the first call. Raises StorageError."""
    made = base64.b64encode(secrets.token_bytes(BYTES)).decode()
    found = _read(database)
    if found is None:
        try:
            with database.writing(durable=True) as connection:
                connection.execute(meta.insert().values(key=_KEY, value=made))
        except StorageError:
            # Another server may have made it at the same moment: then that one counts.
            found = _read(database)
            if found is None:
                raise
    return base64.b64decode(found or made)


def _read(database: Database) -> str | None:
    with database.reading() as connection:
        wanted = select(meta.c.value).where(meta.c.key == _KEY)
        return connection.execute(wanted).scalar_one_or_none()
