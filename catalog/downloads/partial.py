"""A file that is on its way: what has arrived lies beside its target, and survives the process.

.name.safetensors.part        the bytes so far
.name.safetensors.part.json   which file they belong to
.name.safetensors.part.lock   held by the process that downloads
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...core.errors import InputError
from ...core.files import replacing
from ..formats.published_facts import RemoteFile


@dataclass(frozen=True)
class Origin:
    """What the bytes belong to. `etag`, `modified`: of the answer that they came with."""

    url: str
    sha256: str | None
    size: int | None
    etag: str | None = None
    modified: str | None = None

    def same_file(self, other: Origin) -> bool:
        """Whether both are the same file, as far as is known before asking the service."""
        if self.sha256 is not None or other.sha256 is not None:
            return self.sha256 == other.sha256
        return (self.url, self.size) == (other.url, other.size)


class Partial:
    """The bytes so far. Open it with `partial`; OSErrors pass through."""

    def __init__(self, target: Path, file: RemoteFile) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._state_path = target.with_name(f".{target.name}.part.json")
        self.origin = Origin(file.url, file.sha256, file.size)
        known = self._read_state()
        if known is not None and known.same_file(self.origin):
            self.origin = replace(self.origin, etag=known.etag, modified=known.modified)
        else:
            self.path.unlink(missing_ok=True)
        self._file = self.path.open("ab")
        self.size = self._file.tell()
        self.resumed = False
        """Whether the last answer was asked to go on where an earlier one ended."""
        self._digest = hashlib.sha256()

    def hash_what_is_there(self, check: Callable[[], None]) -> None:
        """Read what earlier processes left. `check` may raise."""
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                check()
                self._digest.update(block)

    def restart(self) -> None:
        """Forget all bytes."""
        self._file.truncate(0)
        self.size = 0
        self._digest = hashlib.sha256()

    def belongs_to(self, etag: str | None, modified: str | None) -> None:
        """Remember the answer that the bytes come with."""
        origin = replace(self.origin, etag=etag, modified=modified)
        if origin != self.origin or not self._state_path.exists():
            self.origin = origin
            with replacing(self._state_path) as temporary:
                temporary.write_text(json.dumps(asdict(origin)), encoding="utf-8")

    def write(self, block: bytes) -> None:
        """Add bytes to the end."""
        self._file.write(block)
        self._digest.update(block)
        self.size += len(block)

    def flush(self) -> None:
        """Let other readers see all bytes."""
        self._file.flush()

    def sha256(self) -> str:
        """Of all bytes."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Keep the bytes for later; nothing if there are none."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self.size == 0:
            self.delete()

    def delete(self) -> None:
        """Keep nothing."""
        with contextlib.suppress(OSError):
            self._file.close()
        for path in (self.path, self._state_path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _read_state(self) -> Origin | None:
        try:
            values = json.loads(self._state_path.read_text(encoding="utf-8"))
            return Origin(**values)
        except (OSError, ValueError, TypeError):
            return None


@contextmanager
def partial(target: Path, file: RemoteFile) -> Iterator[Partial]:
    """The bytes that are there of `file`, for this process alone.

    Raises InputError `download_refused` if another process downloads to the same target.
    """
    lock = target.with_name(f".{target.name}.part.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _lock(handle)
        except OSError as error:
            message = f"{target.name} is being downloaded already."
            raise InputError("download_refused", message, fix="Wait for it.") from error
        part = Partial(target, file)
        try:
            yield part
        finally:
            part.close()
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
