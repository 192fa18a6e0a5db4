"""Where files lie while they come in, until the store takes them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO

from starlette.concurrency import run_in_threadpool

from ....core.files import storage_errors
from .body_limit import too_large

BLOCK = 1 << 20
"""Bytes that are gathered before they are written."""

OLD = 24 * 3600.0
"""Seconds after which a folder of a server that died is deleted."""


class ArrivingFolder:
    """A folder of this process's own below `folder`; made when the first file comes."""

    def __init__(self, folder: Path) -> None:
        self._above = folder
        self._own: Path | None = None

    def new_file(self) -> Path:
        """A path that nobody else has. Raises StorageError."""
        with storage_errors(self._above / "file"):
            if self._own is None or not self._own.is_dir():
                self._above.mkdir(parents=True, exist_ok=True)
                self._forget_old()
                self._own = Path(tempfile.mkdtemp(dir=self._above))
            handle, name = tempfile.mkstemp(dir=self._own)
            os.close(handle)
            return Path(name)

    def close(self) -> None:
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _forget_old(self) -> None:
        for folder in self._above.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > OLD:
                    shutil.rmtree(folder, ignore_errors=True)


class ArrivingFile:
    """A file that is written piece by piece; `limit` in bytes.

    Raises InputError `upload_too_large`, StorageError `disk_full`.
    """

    def __init__(self, folder: ArrivingFolder, limit: int) -> None:
        self.path = folder.new_file()
        self.size = 0
        self._limit = limit
        self._file: IO[bytes] = self.path.open("wb")
        self._held = bytearray()

    def add(self, data: bytes) -> None:
        """Take more, in memory."""
        self.size += len(data)
        if self.size > self._limit:
            raise too_large(self._limit)
        self._held += data

    async def settle(self, *, whole: bool = False) -> None:
        """Write what was taken, if it is worth it or the file is `whole`."""
        if whole or len(self._held) >= BLOCK:
            data, self._held = bytes(self._held), bytearray()
            await run_in_threadpool(self._write, data, whole)

    def discard(self) -> None:
        """Delete it, unless it was moved away."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes, whole: bool) -> None:
        with storage_errors(self.path):
            self._file.write(data)
            if whole:
                self._file.close()
