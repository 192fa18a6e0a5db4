"""Areas of a picture that are to be drawn again: a soft ellipse for a face, the parts of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..core.picture_files import MASK_WHITE, as_mask
from .blend import soft_mask
from .faces import Face

MARGIN = {"photo": (1.2, 1.3), "drawn": (1.08, 1.08)}
"""A face's ellipse against its box, across and down. A photographed one ends at forehead and chin;
around a drawn one, which is often all of the head, the background would be drawn again too."""

FULL = 0.7
"""Share of the ellipse's radius inside which all is new; from there on it fades."""

MAX_PARTS = 64
"""A mask in more pieces is taken together in larger ones."""

GRID = 256
"""Cells of the longer side on which the parts of a mask are told apart."""

FEATHER = 0.06
"""Soft border of a mask's part, as a share of its shorter side."""


@dataclass(frozen=True)
class Area:
    """`mask`: uint8, 0 to 255, height x width pixels at (left, top) in the picture.

    Nothing but what is above 0 there ever changes. `what` says in plain words what it is.
    """

    left: int
    top: int
    mask: np.ndarray
    what: str

    @property
    def width(self) -> int:
        return self.mask.shape[1]

    @property
    def height(self) -> int:
        return self.mask.shape[0]


def face_area(face: Face, size: tuple[int, int], what: str) -> Area:
    """The ellipse of a face in a picture of `size` (width, height)."""
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    wider, higher = MARGIN[face.kind]
    across = max(1.0, wider * (face.right - face.left) / 2)
    down = max(1.0, higher * (face.bottom - face.top) / 2)
    left, top = max(0, int(x - across)), max(0, int(y - down))
    right, bottom = min(size[0], int(x + across) + 1), min(size[1], int(y + down) + 1)
    columns = (np.arange(left, right, dtype=np.float32) + 0.5 - x) / across
    rows = (np.arange(top, bottom, dtype=np.float32) + 0.5 - y) / down
    radius = np.sqrt(columns[None, :] ** 2 + rows[:, None] ** 2)
    share = np.clip((1 - radius) / (1 - FULL), 0, 1)
    # Without a corner at either end (smoothstep): the eye sees those as lines.
    share = share * share * (3 - 2 * share)
    return Area(left, top, (255 * share).round().astype(np.uint8), what)


def mask_areas(mask: Image.Image, size: tuple[int, int]) -> tuple[Area, ...]:
    """The parts of a person's mask, each by itself, from left to right; none if it is black.

    It is brought to `size` (width, height). White marks; the soft border lies inside the marked.
    """
    marked = np.asarray(as_mask(mask).resize(size, Image.Resampling.BILINEAR)) >= MASK_WHITE
    areas: list[Area] = []
    for left, top, right, bottom, part in _parts(marked):
        feather = max(1, round(FEATHER * min(right - left, bottom - top)))
        shape = Image.fromarray(np.where(part, 255, 0).astype(np.uint8))
        # Beyond its box a part ends; at the picture's own edge it needs no border.
        framed = Image.new("L", (shape.width + 2, shape.height + 2))
        framed.paste(shape, (1, 1))
        soft = np.asarray(soft_mask(framed, framed.size, feather))[1:-1, 1:-1]
        areas.append(Area(left, top, soft, "a part of the mask"))
    return tuple(sorted(areas, key=lambda area: (2 * area.left + area.width, area.top)))


def _parts(marked: np.ndarray) -> list[tuple[int, int, int, int, np.ndarray]]:
    """(left, top, right, bottom, which pixels in that box) of each part."""
    if not marked.any():
        return []
    height, width = marked.shape
    cell = max(1, -(-max(height, width) // GRID))
    while True:
        labels, count = _labelled(_any_in_cells(marked, cell))
        if count <= MAX_PARTS:
            break
        cell *= 2
    fine = np.repeat(np.repeat(labels, cell, axis=0), cell, axis=1)[:height, :width]
    parts = []
    for label in range(1, count + 1):
        rows, columns = np.nonzero(labels == label)
        top, bottom = rows.min() * cell, min(height, (rows.max() + 1) * cell)
        left, right = columns.min() * cell, min(width, (columns.max() + 1) * cell)
        part = marked[top:bottom, left:right] & (fine[top:bottom, left:right] == label)
        inside = np.nonzero(part.any(1))[0], np.nonzero(part.any(0))[0]
        down, along = (slice(ends[0], ends[-1] + 1) for ends in inside)
        parts.append(
            (
                int(left + along.start),
                int(top + down.start),
                int(left + along.stop),
                int(top + down.stop),
                part[down, along],
            )
        )
    return parts


def _any_in_cells(marked: np.ndarray, cell: int) -> np.ndarray:
    height, width = marked.shape
    padded = np.pad(marked, ((0, -height % cell), (0, -width % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, -1, cell)
    return np.logical_or.reduce(cells, axis=(1, 3))


def _labelled(cells: np.ndarray) -> tuple[np.ndarray, int]:
    """Cells that touch, also at corners, get the same number from 1 on."""
    labels = np.zeros(cells.shape, np.int32)
    count = 0
    for start in zip(*np.nonzero(cells), strict=True):
        if labels[start]:
            continue
        count += 1
        labels[start] = count
        waiting = [start]
        while waiting:
            row, column = waiting.pop()
            for y in range(max(0, row - 1), min(cells.shape[0], row + 2)):
                for x in range(max(0, column - 1), min(cells.shape[1], column + 2)):
                    if cells[y, x] and not labels[y, x]:
                        labels[y, x] = count
                        waiting.append((y, x))
    return labels, count
