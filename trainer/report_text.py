"""Text in pictures that Pillow draws: fonts for every script that is there, lines that fit."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from PIL import ImageFont

# Names under which Windows, macOS and Linux have fonts of many scripts.
_CANDIDATES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "segoeui.ttf",
    "Arial.ttf",
)


def font_for(text: str, size: int) -> Any:
    """Pillow's own font if it has all letters, else the one of the system's that has most."""
    missing = [letter for letter in set(text) if not _has(None, letter) and not letter.isspace()]
    if not missing:
        return _font(None, size)
    best = max(_installed(), key=lambda name: sum(_has(name, x) for x in missing), default=None)
    return _font(best, size)


def width_of(text: str, size: int) -> float:
    """In pixels, on one line."""
    return float(font_for(text, size).getlength(text))


def shortened(text: str, size: int, width: float) -> str:
    """The text, or its beginning and end, so that it fits."""
    if width_of(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        kept = (low + high + 1) // 2
        if width_of(_middle_cut(text, kept), size) <= width:
            low = kept
        else:
            high = kept - 1
    return _middle_cut(text, low)


def wrapped(text: str, size: int, width: float, lines: int) -> list[str]:
    """At most `lines` lines; the last ends in "…" if there is more."""
    found: list[str] = []
    rest = text.split()
    while rest and len(found) < lines:
        line = rest.pop(0)
        if width_of(line, size) > width:
            fits = _fitting(line, size, width)
            line, rest = line[:fits], [line[fits:], *rest]
        else:
            while rest and width_of(f"{line} {rest[0]}", size) <= width:
                line = f"{line} {rest.pop(0)}"
        found.append(line)
    if rest and found:
        last = found[-1]
        while last and width_of(f"{last}…", size) > width:
            last = last[:-1]
        found[-1] = f"{last.rstrip(' ,')}…"
    return found


def _fitting(word: str, size: int, width: float) -> int:
    """How many letters of a word fit; at least one."""
    count = 1
    while count < len(word) and width_of(word[: count + 1], size) <= width:
        count += 1
    return count


def _middle_cut(text: str, kept: int) -> str:
    end = kept * 2 // 3
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


@lru_cache(maxsize=64)
def _font(name: str | None, size: int) -> Any:
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)


@lru_cache(maxsize=20_000)
def _has(name: str | None, letter: str) -> bool:
    """Whether the font has a shape of its own for the letter."""
    font = _font(name, 16)
    return bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))


@cache
def _installed() -> tuple[str, ...]:
    found = []
    for name in _CANDIDATES:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        found.append(name)
    return tuple(found)
