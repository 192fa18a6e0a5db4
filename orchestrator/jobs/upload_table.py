"""What was handed over, as jobs name it: by the sha256 of its content."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from ...core.errors import UnknownNameError
from ...core.files import storage_errors
from ...core.request import TrainingRequest
from ..service import Upload
from ..storage.uploads import UploadStore, clean_name
from .database import Database, put, uploads

_ID = re.compile(r"[0-9a-f]{64}")

FindArtifact = Callable[[str], Path | None]
"""Where a finished file lies that the asking owner may see."""

_Value = TypeVar("_Value")


class Uploads:
    """The files in the store, and what they were called. Methods raise StorageError."""

    def __init__(self, database: Database, store: UploadStore) -> None:
        self._database, self.store = database, store

    def take(self, file: Path, name: str) -> Upload:
        """Move a complete file in. Raises PictureError, InputError `request_invalid`."""
        kept = self.store.take(file, name)
        values = {
            "name": kept.name,
            "media_type": kept.media_type,
            "bytes": kept.bytes,
            "width": kept.width,
            "height": kept.height,
            "used": time.time(),
        }
        with contextlib.suppress(OSError):
            # Age counts from now on, also where the content was here before.
            os.utime(kept.path)
        with self._database.writing() as connection:
            put(connection, uploads, {"id": kept.id}, values)
        return Upload(
            id=kept.id,
            name=kept.name,
            media_type=kept.media_type,
            bytes=kept.bytes,
            width=kept.width,
            height=kept.height,
        )

    def name_of(self, upload_id: str) -> str | None:
        """What a file was called when it came last."""
        with self._database.reading() as connection:
            asked = select(uploads.c.name).where(uploads.c.id == upload_id)
            return connection.execute(asked).scalar_one_or_none()

    def path(self, given: str, artifact: FindArtifact) -> Path:
        """The file of an upload or of an artifact. Raises UnknownNameError `upload_unknown`."""
        digest = given.partition("/")[0]
        if _ID.fullmatch(digest):
            path = self.store.find(digest) or artifact(digest)
            if path is not None:
                return path
            raise UnknownNameError("upload_unknown", f"No file of the id {digest} is here.")
        message = "A picture is named by the id of an upload or of an artifact, and this is none."
        raise UnknownNameError("upload_unknown", f"{message[:-1]}: {given[:80]}.")


def lay_out(
    request: TrainingRequest,
    folder: Path,
    find: Callable[[str], Path],
    name_of: Callable[[str], str | None],
) -> TrainingRequest:
    """What ids name in one folder under its own names; the request that names it there.

    What is no id is a path, and stays as it is. Captions belong to the pictures of the same name,
    so the names count. Raises StorageError.
    """
    with storage_errors(folder / "file"):
        folder.mkdir(parents=True, exist_ok=True)
    laid: list[str] = []
    for given in request.files:
        digest, _, name = given.partition("/")
        if not _ID.fullmatch(digest):
            laid.append(given)
            continue
        source = find(given)
        name = clean_name(name or name_of(digest) or source.name)
        target = _free(folder, name)
        with storage_errors(target):
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
        laid.append(str(target))
    return request.model_copy(update={"files": tuple(laid)})


def _free(folder: Path, name: str) -> Path:
    path, number = folder / name, 2
    while path.exists():
        stem, dot, suffix = name.rpartition(".")
        path = folder / (f"{stem}-{number}.{suffix}" if dot else f"{name}-{number}")
        number += 1
    return path
