"""Writing files so that nothing half-done is ever left, and errors that say why not."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from .errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_NOWHERE = (errno.ENOENT, errno.ENAMETOOLONG)
"""About a folder above the file: it cannot be made there."""


def sha256_of(path: Path, begin: int = 0) -> str:
    """sha256 of a file's content from byte `begin` on, in hexadecimal. OSErrors pass through."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(begin)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors about `path` into StorageError.

    Raises StorageError `disk_full` or `folder_not_writable`; other OSErrors pass through.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError("disk_full", f"The disk is full: {path} was not written.") from error
        above = isinstance(error.filename, str) and Path(error.filename) in path.parents
        if error.errno in _FORBIDDEN or (above and error.errno in _NOWHERE):
            raise StorageError("folder_not_writable", f"Cannot write to {path.parent}.") from error
        raise


def require_writable(folder: Path) -> None:
    """Make the folder and try to write there: better before long work than after it.

    Raises StorageError.
    """
    with storage_errors(folder / "picture"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)


_unfinished: dict[Path, None] = {}
"""Temporary files that are written now. Each thread adds and removes its own, in one step."""


def remove_unfinished() -> None:
    """Remove what is half written, before a process ends whose threads hear nothing of it."""
    for temporary in list(_unfinished):
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to it if the block ends well.

    The folder is made. An older file at `path` is replaced. Raises StorageError.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        _unfinished[temporary] = None
        try:
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
            _unfinished.pop(temporary, None)


def write_new(folder: Path, names: Iterable[str], data: bytes) -> Path:
    """Write `data` into `folder` under the first of `names` that is free; returns its path.

    Never overwrites, also when another process writes there at the same moment: the file is
    written under a temporary name and takes its name by a link that fails if the name exists.
    The folder is made. Raises StorageError.
    """
    with storage_errors(folder / "picture"):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".kizy.", suffix=".part")
        temporary = Path(name)
        _unfinished[temporary] = None
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            temporary.chmod(0o644)
            for candidate in names:
                path = folder / candidate
                if _take_name(temporary, path):
                    return path
        finally:
            temporary.unlink(missing_ok=True)
            _unfinished.pop(temporary, None)
    raise StorageError("folder_not_writable", f"No name is free in {folder}.")


def _take_name(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _FULL:
            raise
        # A file system without links: the check and the rename are two steps there.
        if path.exists():
            return False
        temporary.replace(path)
    return True


def take_lock(file: IO[bytes]) -> bool:
    """The only lock on an open file, if no other process holds it; does not wait.

    It is given back when the file is closed in every process that has it, however that ends.
    """
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
