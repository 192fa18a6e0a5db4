"""Reads caption files: UTF-8 and UTF-16 as they are, others in the one encoding of them all."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field

from .archives import Unreadable
from .captions import one_line
from .encodings import CAPTIONS, judge, shown
from .intake import Caption
from .limits import Limits

AUTO = "auto"

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LARGER = {"shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949"}
"""What systems write that call it by the name of the smaller encoding."""
_LIST, _TAG = 3, 3
"""So many lines of so few words each are a list of tags."""
_SHOWN = 60
"""Letters of an example."""


@dataclass
class CaptionFiles:
    """`encoding`: what those are in that are no UTF-8; "auto": all are judged together by `look`.

    `notes`: (name, what was done to it), as they come.
    """

    limits: Limits
    encoding: str = AUTO
    notes: list[tuple[str, str]] = field(default_factory=list)
    _found: str | None = None

    def __post_init__(self) -> None:
        if self.encoding != AUTO:
            name = codecs.lookup(self.encoding).name
            self._found = _LARGER.get(name, name)

    def look(self, contents: Iterable[Caption]) -> list[str]:
        """Settle the encoding before anything is read; what is to be told, in sentences."""
        if self.encoding != AUTO:
            return []
        old: list[bytes] = []
        for content in contents:
            try:
                data = content.text(self.limits.caption_bytes + 1)
            except Unreadable:
                continue
            if len(data) <= self.limits.caption_bytes and _decoded(data) is None:
                old.append(data)
        verdict = judge(old, CAPTIONS)
        self._found = verdict.encoding
        if not old:
            return []
        which = "1 caption is" if len(old) == 1 else f"{len(old):,} captions are"
        if verdict.encoding is not None:
            example = one_line(old[0].decode(verdict.encoding), _SHOWN)
            name = shown(verdict.encoding)
            return [f'{which} no UTF-8, and read as {name}: "{example}". '
                    "--captions-encoding reads them as something else."]  # fmt: skip
        maybe = [f'{name}: "{_sample(old[0], name)}"' for name in verdict.nearest[:2]]
        guesses = f" They may be {' or '.join(maybe)}." if maybe else ""
        return [f"{which} in an encoding that cannot be told for sure, and not used.{guesses} "
                "Save them as UTF-8, or say which with --captions-encoding."]  # fmt: skip

    def read(self, content: Caption, source: str) -> str | None:
        """The caption in a file, on one line; None if it is empty. Raises Unreadable."""
        data = content.text(self.limits.caption_bytes + 1)
        if len(data) > self.limits.caption_bytes:
            raise Unreadable(
                f"is no caption: it is larger than {self.limits.caption_bytes // 1000} KB"
            )
        text = _decoded(data)
        if text is None:
            text = self._in_old_encoding(data)
        plain = one_line(_joined(text), self.limits.caption_bytes)
        caption = one_line(plain, self.limits.caption_letters)
        if len([line for line in text.splitlines() if line.strip()]) > 1:
            self.notes.append((source, "has a caption of several lines: they are read as one"))
        if len(caption) < len(plain):
            most = f"{self.limits.caption_letters:,}"
            self.notes.append((source, f"has a caption of over {most} letters: it is cut"))
        if not caption:
            self.notes.append((source, "has an empty caption file"))
        return caption or None

    def _in_old_encoding(self, data: bytes) -> str:
        if b"\0" in data:
            raise Unreadable("is no text")
        if self._found is None:
            raise Unreadable("is in an encoding that cannot be told for sure")
        try:
            return data.decode(self._found)
        except (UnicodeDecodeError, LookupError) as error:
            raise Unreadable(f"is neither in UTF-8 nor in {shown(self._found)}") from error


def _joined(text: str) -> str:
    """Lines as one: tags, one a line, with commas, all else with spaces."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) >= _LIST and all(len(line.split()) <= _TAG for line in lines):
        return ", ".join(line.rstrip(",;，、.") for line in lines)
    return " ".join(lines)


def _decoded(data: bytes) -> str | None:
    """As UTF-8 or UTF-16; None if it is neither."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                return None
    if b"\0" in data:
        return _without_mark(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _without_mark(data: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of an ASCII letter is zero."""
    for encoding, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):
        if len(data) % 2 == 0 and zeros.count(0) * 2 >= len(zeros):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            return None if "\0" in text else text
    return None


def _sample(data: bytes, encoding: str) -> str:
    return one_line(data.decode(encoding, "replace"), _SHOWN)
