"""Server-sent events, as section 9.2 of the HTML standard writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_EVENT = 16_000_000
"""Bytes of one event; previews are the largest that Kizy sends."""


@dataclass(frozen=True)
class Message:
    """One event as it came: its `event` name, its `id` if it has one, its data."""

    event: str
    id: str | None
    data: str


@dataclass
class Reader:
    """Takes blocks of bytes, cut anywhere; gives whole events. Comments are heartbeats."""

    _line: bytearray = field(default_factory=bytearray)
    _data: list[str] = field(default_factory=list)
    _event: str = ""
    _id: str | None = None
    _size: int = 0
    _after_return: bool = False

    def feed(self, block: bytes) -> Iterator[Message]:
        """Raises ValueError if an event is larger than any of Kizy's."""
        for line in self._lines(block):
            message = self._take(line)
            if message is not None:
                yield message

    def _lines(self, block: bytes) -> Iterator[str]:
        if not block:
            return
        if self._after_return and block.startswith(b"\n"):
            block = block[1:]
        self._after_return = block.endswith(b"\r")
        parts = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in parts[:-1]:
            self._line += part
            yield self._line.decode("utf-8", "replace")
            self._line.clear()
        self._line += parts[-1]
        if len(self._line) + self._size > MAX_EVENT:
            raise ValueError("an event without end")

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._whole()
        self._size += len(line)
        if self._size > MAX_EVENT:
            raise ValueError("an event without end")
        name, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _whole(self) -> Message | None:
        data, event, id_ = self._data, self._event, self._id
        self._data, self._event, self._id, self._size = [], "", None, 0
        return Message(event or "message", id_, "\n".join(data)) if data else None
