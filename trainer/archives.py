"""Zip files as strangers pack them: looked over before anything is unpacked, then one by one.

Nothing is ever written under a name that stands in an archive, so no name can lead anywhere;
names that try are left out all the same, and told. The format: PKWARE's APPNOTE.TXT 6.3.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..core.errors import InputError
from .limits import Limits, stop_if
from .zip_names import decoded

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\5\6"
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LONGEST_COMMENT = 0xFFFF
_SMALLEST_ENTRY = 46
"""Bytes of an entry in the central directory, without its name."""
_LONGEST_ENTRY = 512
"""Bytes that an entry may take there on average: Python keeps the whole directory in memory."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python unpacks these piece by piece; of bzip2 and LZMA a small piece can fill the memory."""
_ENCRYPTED = 0x1
_MADE_ON_UNIX = (3, 19)
"""Unix and macOS: their entries tell what kind of file they are."""
_DRIVE = re.compile(r"^[A-Za-z]:")
_BLOCK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError,
           UnicodeDecodeError)  # fmt: skip


class Unreadable(Exception):  # noqa: N818 -- never leaves the trainer
    """An entry that cannot be unpacked; its text says why, in words that follow a name."""


@dataclass(frozen=True)
class Entry:
    """A file in an archive. `name`: its path there, with slashes; `why_not`: None if usable."""

    info: zipfile.ZipInfo
    name: str
    why_not: str | None


def open_archive(path: Path, limits: Limits) -> zipfile.ZipFile:
    """The archive, after its end record was looked at.

    Raises InputError `archive_unusable` or `pictures_too_many`.
    """
    try:
        with path.open("rb") as file:
            _check_end(file, path, limits)
        return zipfile.ZipFile(path)
    except UnicodeDecodeError as error:
        message = f"{path.name} holds a name that is marked as UTF-8, and is none: pack it anew."
        raise _unusable(message) from error
    except _DAMAGE as error:
        raise _unusable(f"{path.name} is no whole zip file: it is damaged or cut short.") from error


def entries(
    archive: zipfile.ZipFile,
    path: Path,
    limits: Limits,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Entry]:
    """Its files. `tell`: told of names in old encodings, in words behind the archive's name.

    Raises InputError `archive_unusable` or `pictures_too_many`.
    """
    infos = [info for info in archive.infolist() if not info.orig_filename.endswith("/")]
    if len(archive.infolist()) > limits.entries:
        raise _too_many(path, len(archive.infolist()), limits)
    packed = sum(info.compress_size for info in infos)
    unpacked = sum(info.file_size for info in infos)
    size = path.stat().st_size
    if packed > size:
        raise _unusable(f"The files in {path.name} overlap: it is made to do harm.")
    if unpacked > limits.archive_bytes or (
        unpacked > limits.archive_ratio_from and unpacked > limits.archive_ratio * size
    ):
        amount = f"{unpacked / 1e9:,.0f} GB"
        raise _unusable(f"{path.name} would unpack to {amount}: it may be made to fill a disk.")
    if infos and all(info.flag_bits & _ENCRYPTED for info in infos):
        raise _unusable(f"{path.name} is locked with a password.")
    names, note = decoded(infos)
    if note is not None:
        tell(note)
    # Some programs of Windows write folders as empty files whose name ends with a backslash.
    return [
        Entry(info, name, _why_not(info, name))
        for info, name in zip(infos, names, strict=True)
        if not name.endswith("/") or info.file_size
    ]


def head(archive: zipfile.ZipFile, entry: Entry, length: int) -> bytes:
    """Its first bytes. Raises Unreadable."""
    try:
        with archive.open(entry.info) as file:
            return file.read(length)
    except _DAMAGE as error:
        raise Unreadable("is damaged inside the archive") from error


def extract(
    archive: zipfile.ZipFile,
    entry: Entry,
    target: Path,
    most: int,
    cancelled: Callable[[], bool],
) -> None:
    """Write its content to `target`, piece by piece, `most` bytes at most.

    Raises Unreadable, CancelledError; OSErrors of writing pass through.
    """
    with target.open("wb") as out:
        for block in _blocks(archive, entry):
            stop_if(cancelled)
            if out.tell() + len(block) > most:
                raise Unreadable(f"is larger than {most // 1_000_000:,} MB")
            out.write(block)


def _blocks(archive: zipfile.ZipFile, entry: Entry) -> Iterator[bytes]:
    try:
        with archive.open(entry.info) as file:
            while block := file.read(_BLOCK):
                yield block
    except _DAMAGE as error:
        raise Unreadable("is damaged inside the archive") from error


def _why_not(info: zipfile.ZipInfo, name: str) -> str | None:
    if not name.strip("./"):
        return "has no name in the archive"
    if name.startswith("/") or _DRIVE.match(name) or "\0" in name:
        return "has a name that is not allowed in an archive"
    if ".." in PurePosixPath(name).parts:
        return "has a name that leads out of the archive"
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system in _MADE_ON_UNIX else 0
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG):
        return "is no ordinary file"
    if info.flag_bits & _ENCRYPTED:
        return "is locked with a password"
    if info.compress_type not in _METHODS:
        return "is packed in a way that Kizy does not unpack (only stored and deflated files)"
    return None


def _check_end(file: IO[bytes], path: Path, limits: Limits) -> None:
    """Refuse a directory of too many entries before Python reads it whole."""
    length = file.seek(0, 2)
    start = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(_END_SIGNATURE)
    if place < 0 or len(tail) - place < _END.size:
        raise zipfile.BadZipFile
    record = _END.unpack_from(tail, place)
    count, size = record[4], record[5]
    locator = start + place - _END64_LOCATOR.size
    if locator >= 0:
        file.seek(locator)
        found = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
        if found[0] == b"PK\6\7":
            # Versions of Python differ in where they look for the record.
            for place in (locator - _END64.size, found[2]):
                file.seek(min(max(place, 0), length))
                large = file.read(_END64.size)
                if len(large) == _END64.size and large[:4] == b"PK\6\6":
                    values = _END64.unpack(large)
                    count, size = max(count, values[7]), max(size, values[8])
    if count > limits.entries or size > limits.entries * _LONGEST_ENTRY:
        many = count > limits.entries
        raise _too_many(path, count if many else size // _SMALLEST_ENTRY, limits)


def _too_many(path: Path, count: int, limits: Limits) -> InputError:
    message = f"{path.name} holds about {count:,} files; {limits.entries:,} is the limit."
    return InputError("pictures_too_many", message)


def _unusable(message: str) -> InputError:
    return InputError("archive_unusable", message)
