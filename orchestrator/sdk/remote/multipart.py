"""Forms with files (multipart/form-data, RFC 7578), read from disk while they are sent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ....core.errors import StorageError, UnknownNameError

_BLOCK = 1 << 18


@dataclass(frozen=True)
class FilePart:
    """A file of a form. `open`: gives it anew, at its begin, each time the form is sent."""

    field: str
    name: str
    size: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    media_type: str = "application/octet-stream"


def on_disk(field: str, path: Path, name: str | None = None) -> FilePart:
    """A file of this machine. Raises UnknownNameError `file_missing`."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise UnknownNameError("file_missing", f"There is no file {path}.") from error
    return FilePart(field, name or path.name, size, lambda: _opened(path))


class Form:
    """A form that can be sent, and sent again. Its length in bytes is known beforehand."""

    def __init__(self, fields: Sequence[tuple[str, str]], files: Sequence[FilePart]) -> None:
        self._boundary = secrets.token_hex(16)
        self._fields = b"".join(self._field(name, text) for name, text in fields)
        self._files = [(self._head(file), file) for file in files]
        self._end = f"--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        files = sum(len(head) + file.size + 2 for head, file in self._files)
        return len(self._fields) + files + len(self._end)

    def body(self) -> Body:
        """What is sent, from its begin."""
        return Body(self._blocks(), len(self))

    def _blocks(self) -> Iterator[bytes]:
        yield self._fields
        for head, file in self._files:
            yield head
            yield from _exactly(file)
            yield b"\r\n"
        yield self._end

    def _field(self, name: str, text: str) -> bytes:
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
        return f"{head}\r\n\r\n{text}\r\n".encode()

    def _head(self, file: FilePart) -> bytes:
        name = f'name="{_quoted(file.field)}"; filename="{_quoted(file.name)}"'
        head = f"--{self._boundary}\r\nContent-Disposition: form-data; {name}"
        return f"{head}\r\nContent-Type: {file.media_type}\r\n\r\n".encode("utf-8", "replace")


class Body:
    """The blocks of a form, as requests sends a file: it has a length, and is read or iterated."""

    def __init__(self, blocks: Iterator[bytes], length: int) -> None:
        self._blocks, self._length, self._rest = blocks, length, b""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def read(self, size: int = -1) -> bytes:
        """The next bytes, `size` at most; all that are left if it is below zero."""
        if size < 0:
            rest, self._rest = self._rest, b""
            return rest + b"".join(self._blocks)
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = block
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def already_open(field: str, name: str, data: IO[bytes]) -> FilePart:
    """A file that its owner opened, from where it stands; it stays open, and must be seekable."""
    begin = data.tell()
    size = data.seek(0, os.SEEK_END) - begin

    def again() -> AbstractContextManager[IO[bytes]]:
        data.seek(begin)
        return nullcontext(data)

    return FilePart(field, name, size, again)


def _exactly(part: FilePart) -> Iterator[bytes]:
    """The file in blocks. One that changes while it is sent would break the form."""
    left = part.size
    with part.open() as file:
        while left:
            block = file.read(min(_BLOCK, left))
            if not block:
                message = f"{part.name} became shorter while it was sent."
                fix = "Wait until it is whole, and try again."
                raise StorageError("folder_not_writable", message, fix=fix)
            left -= len(block)
            yield block


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise UnknownNameError("file_missing", f"{path} cannot be read.") from error


def _quoted(name: str) -> str:
    """As the HTML standard escapes names of a form (section 4.10.22.8)."""
    safe = name.encode("utf-8", "replace").decode()
    return safe.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
