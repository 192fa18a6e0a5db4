"""Numbers that a program logs for TensorBoard, read as the file grows, without TensorBoard.

A file is a row of records: length (8 bytes), its checksum (4), an `Event` message, its checksum
(4). Of tensorflow's event.proto and summary.proto only what add_scalar writes is read: Event.step
(field 2), Event.summary (5) with values (1) of tag (1) and simple_value (2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PATTERN = "events.out.tfevents.*"

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class Scalar(NamedTuple):
    """One number: what it is called, at which step."""

    step: int
    tag: str
    value: float


class ScalarReader:
    """The scalars of all event files below a folder, each once, in the order of the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._positions = {path: path.stat().st_size for path in self._files()}

    def new(self) -> Iterator[Scalar]:
        """Those that came since the reader was made or asked last."""
        for path in self._files():
            data = path.read_bytes()[self._positions.get(path, 0) :]
            used = 0
            for record, used in _records(data):  # noqa: B007
                yield from _scalars(record)
            self._positions[path] = self._positions.get(path, 0) + used

    def _files(self) -> list[Path]:
        return sorted(self._folder.rglob(PATTERN), key=lambda path: path.name)


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The whole records of `data`, each with the position behind it."""
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        end = at + 12 + length + 4
        if end > len(data):
            return
        yield data[at + 12 : end - 4], end
        at = end


def _scalars(record: bytes) -> Iterator[Scalar]:
    step, summaries = 0, []
    for number, value in _fields(record):
        if number == 2 and isinstance(value, int):
            step = value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1 and isinstance(value, bytes):
                parts = dict(_fields(value))
                tag, scalar = parts.get(1), parts.get(2)
                if isinstance(tag, bytes) and isinstance(scalar, float):
                    yield Scalar(step, tag.decode("utf-8", "replace"), scalar)


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a protobuf message: number and value. Ends at the first that is broken."""
    at = 0
    while at < len(message):
        try:
            key, at = _varint(message, at)
            kind = key & 7
            if kind == _VARINT:
                value, at = _varint(message, at)
                yield key >> 3, value
            elif kind == _FOUR:
                yield key >> 3, struct.unpack_from("<f", message, at)[0]
                at += 4
            elif kind == _EIGHT:
                yield key >> 3, struct.unpack_from("<d", message, at)[0]
                at += 8
            elif kind == _BYTES:
                length, at = _varint(message, at)
                yield key >> 3, message[at : at + length]
                at += length
            else:
                return
        except (IndexError, struct.error):
            return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
