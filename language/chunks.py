"""A prompt's tokens in rows of a fixed length, as ComfyUI cuts them (comfy/sd1_clip.py).

A text encoder reads `length` tokens at a time, marks included: what is longer goes on in a further
row. Words of one weight that are fewer than `LARGE` tokens are not torn apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .prompt_syntax import PLAIN, Segment

if TYPE_CHECKING:
    import torch

LARGE = 8

Row = list[tuple[int, float]]
"""(token, weight) of each place."""


@dataclass(frozen=True)
class Marks:
    """What a row is made of besides words: tokens of its start, its end and what fills it up."""

    start: int
    end: int
    pad: int
    length: int

    @property
    def empty(self) -> list[int]:
        """The row of a prompt without words."""
        return [self.start, self.end, *[self.pad] * (self.length - 2)]


def rows(
    parts: Iterable[Segment], tokenize: Callable[[str], Sequence[int]], marks: Marks
) -> list[Row]:
    """At least one row, each `marks.length` long. `tokenize`: a text's tokens without marks."""
    room = marks.length - 1
    found: list[Row] = []
    row: Row = [(marks.start, PLAIN)]
    for text, weight in parts:
        group = [(token, weight) for token in tokenize(text)]
        large = len(group) >= LARGE
        while len(row) + len(group) > room:
            fitting = room - len(row) if large else 0
            found.append(_full([*row, *group[:fitting]], marks))
            group = group[fitting:]
            row = [(marks.start, PLAIN)]
        row += group
    return [*found, _full(row, marks)]


def _full(row: Row, marks: Marks) -> Row:
    row = [*row, (marks.end, PLAIN)]
    return [*row, *[(marks.pad, PLAIN)] * (marks.length - len(row))]


def weighed(found: Sequence[Row]) -> bool:
    """Whether some token has a weight."""
    return any(weight != PLAIN for row in found for _, weight in row)


def moved(states: torch.Tensor, empty: torch.Tensor, found: Sequence[Row]) -> torch.Tensor:
    """The states of rows (rows x length x width), moved away from the empty prompt's.

    ComfyUI's formula (ClipTokenWeightEncoder), in float32: (state - empty) x weight + empty, where
    `empty` (length x width) is what the encoder makes of `Marks.empty`.
    """
    import torch

    weights = torch.tensor([[weight for _, weight in row] for row in found], device=states.device)
    weights = weights.unsqueeze(-1)
    apart = (states.float() - empty.float()) * weights + empty.float()
    return torch.where(weights != PLAIN, apart, states.float()).to(states.dtype)
