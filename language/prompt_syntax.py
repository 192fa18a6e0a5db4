"""Weights, escapes and BREAK in a prompt: one reading for both engines, as ComfyUI has it.

    (a fox)  (a fox:1.3)     1.1 times, and 1.3 times as strong; one within another multiply,
                             unless the inner one has a number, which then stands for itself
    \\( \\)                    parentheses that are drawn as letters
    a fox BREAK a tree       two parts, each encoded by itself, one behind the other

The rules of weights and escapes are those of comfy/sd1_clip.py (token_weights, escape_important):
a parenthesis that is never closed is a letter, and so are square brackets. BREAK is A1111's
(modules/prompt_parser.py there); ComfyUI itself reads it as a word, so that Kizy's graphs encode
the parts one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from ..core.errors import InputError

PLAIN = 1.0
EMPHASIS = 1.1
"""The weight of parentheses without a number."""

MAX_DEPTH = 100
"""So many parentheses within one another are read; ComfyUI fails at about a thousand."""

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Stand for escaped parentheses: codes that Unicode keeps out of every text."""
_PARENTHESIS = re.compile(r"[()]")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


class Segment(NamedTuple):
    """Words of one weight; `text` without escapes."""

    text: str
    weight: float


def segments(prompt: str) -> tuple[Segment, ...]:
    """The prompt's words with their weights, in their order.

    Numbers that are not finite ("(love: infinity)") are words. Raises InputError `request_invalid`
    for parentheses more than `MAX_DEPTH` deep.
    """
    text = prompt.replace("\\)", _CLOSE).replace("\\(", _OPEN)
    found: list[Segment] = []
    # Depth first, without recursion: a prompt may nest as deep as it likes before it is refused.
    waiting = [(text, PLAIN, 0)]
    while waiting:
        part, weight, depth = waiting.pop()
        if depth > MAX_DEPTH:
            message = f"The prompt has parentheses within one another, more than {MAX_DEPTH} deep."
            fix = "Write one weight instead, as in (a fox:1.5)."
            raise InputError("request_invalid", message, fix=fix)
        inner: list[tuple[str, float, int]] = []
        for group in _groups(part):
            if len(group) >= 2 and group[0] == "(" and group[-1] == ")":
                words, own = _weighed(group[1:-1])
                inner.append((words, weight * EMPHASIS if own is None else own, depth + 1))
            else:
                inner.append((group, weight, -1))
        for group, own, level in reversed(inner):
            waiting.append((group, own, level))
        while waiting and waiting[-1][2] < 0:
            group, own, _ = waiting.pop()
            found.append(Segment(_without_escapes(group), own))
    return tuple(found)


def written(parts: Iterable[Segment]) -> str:
    """A prompt that is read as these segments."""
    said = ""
    plain_before = False
    for text, weight in parts:
        escaped = text.replace("(", "\\(").replace(")", "\\)")
        plain = weight == PLAIN and not plain_before
        said += escaped if plain else f"({escaped}:{weight!r})"
        plain_before = plain
    return said


def has_weights(prompt: str) -> bool:
    """Whether some of its words are weighed."""
    return any(weight != PLAIN for _, weight in segments(prompt))


def parts(prompt: str) -> tuple[str, ...]:
    """What BREAK parts, each a prompt of its own; parts without words are left out.

    A prompt without BREAK, or of nothing else, is one part, letter by letter.
    """
    if not _BREAK.search(prompt):
        return (prompt,)
    found: list[list[Segment]] = [[]]
    for text, weight in segments(prompt):
        first, *others = _BREAK.split(text)
        found[-1].append(Segment(first, weight))
        found += [[Segment(other, weight)] for other in others]
    said = (written(s for s in part if s.text).strip() for part in found)
    return tuple(part for part in said if part) or (prompt,)


def _groups(text: str) -> list[str]:
    """The text cut at its outer parentheses, which stay on what they hold."""
    found = []
    begin = level = 0
    for match in _PARENTHESIS.finditer(text):
        at = match.start()
        if match[0] == "(":
            if level == 0:
                found.append(text[begin:at])
                begin = at
            level += 1
        else:
            # Below zero, too: behind one that closes nothing, ComfyUI reads letters.
            level -= 1
            if level == 0:
                found.append(text[begin : at + 1])
                begin = at + 1
    found.append(text[begin:])
    return [group for group in found if group]


def _weighed(text: str) -> tuple[str, float | None]:
    """(words, their weight) of what stands in parentheses; None without a number."""
    words, colon, number = text.rpartition(":")
    if not colon or not words:
        return text, None
    try:
        weight = float(number)
    except ValueError:
        return text, None
    return (words, weight) if math.isfinite(weight) else (text, None)


def _without_escapes(text: str) -> str:
    return text.replace(_OPEN, "(").replace(_CLOSE, ")")
