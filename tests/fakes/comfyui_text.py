"""ComfyUI's way from a prompt to token states, told once more and plainly: one token at a time.

For tests that compare; written from its description, without Kizy's own code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch

Encode = Callable[[list[list[int]]], tuple[torch.Tensor, torch.Tensor]]


def weights_of(text: str, current: float = 1.0) -> list[tuple[str, float]]:
    """Texts with their weights; the escapes are still in them, as single letters."""
    pieces: list[str] = []
    level, piece = 0, ""
    for letter in text:
        if letter == "(" and level == 0:
            pieces.append(piece)
            piece = ""
        piece += letter
        level += {"(": 1, ")": -1}.get(letter, 0)
        if letter == ")" and level == 0:
            pieces.append(piece)
            piece = ""
    found: list[tuple[str, float]] = []
    for one in [p for p in [*pieces, piece] if p]:
        if not re.fullmatch(r"\(.*\)", one, re.DOTALL):
            found.append((one, current))
            continue
        inside, weight = one[1:-1], current * 1.1
        number = re.fullmatch(r"(.+):\s*([-+]?[0-9.]+)\s*", inside, re.DOTALL)
        if number:
            inside, weight = number[1], float(number[2])
        found += weights_of(inside, weight)
    return found


def token_rows(
    prompt: str,
    tokenize: Callable[[str], Sequence[int]],
    start: int,
    end: int,
    pad: int,
    length: int,
) -> list[list[tuple[int, float]]]:
    """Rows of (token, weight)."""
    escaped = prompt.replace("\\)", "\x01").replace("\\(", "\x02")
    words = []
    for text, weight in weights_of(escaped):
        plain = text.replace("\x01", ")").replace("\x02", "(")
        words.append([(token, weight) for token in tokenize(plain)])
    rows: list[list[tuple[int, float]]] = [[]]
    for word in words:
        may_be_torn = len(word) >= 8
        for index, token in enumerate(word):
            full = len(rows[-1]) == length - 2
            does_not_fit = index == 0 and len(rows[-1]) + len(word) > length - 2
            if full or (does_not_fit and not may_be_torn):
                rows.append([])
            rows[-1].append(token)
    return [
        ([(start, 1.0), *row, (end, 1.0), *[(pad, 1.0)] * length])[:length]
        if len(row) < length - 2
        else [(start, 1.0), *row, (end, 1.0)]
        for row in rows
    ]


def encoded(
    rows: list[list[tuple[int, float]]], encode: Encode, start: int, end: int, pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(states of all rows one behind the other, what is pooled of the first)."""
    length = len(rows[0])
    ids = [[token for token, _ in row] for row in rows]
    if all(weight == 1.0 for row in rows for _, weight in row):
        states, pooled = encode(ids)
        return torch.cat(list(states), 0)[None], pooled[:1]
    states, pooled = encode([*ids, [start, end, *[pad] * (length - 2)]])
    nothing = states[-1]
    lines = []
    for at, row in enumerate(rows):
        for place, (_, weight) in enumerate(row):
            state = states[at, place]
            if weight != 1.0:
                state = (state - nothing[place]) * weight + nothing[place]
            lines.append(state)
    return torch.stack(lines)[None], pooled[:1]
