"""Find faces: photographed ones with CenterFace, drawn ones with Kizy's own small network.

A picture is looked at as a whole, and if it is large once more in tiles, where small faces show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from . import centerface, drawn_faces

FaceKind = Literal["photo", "drawn"]

OVERLAP = 128
"""Pixels that neighbouring tiles share."""

SAME = 0.5
"""Two boxes that share this much of the smaller one are one face."""

SURE, SURE_DRAWN = 0.7, 0.6
"""How sure a face of a photograph is, and how sure a drawn one must be beside it."""

MULTIPLE = 32
GROUND = 114
"""Grey that a picture is filled up with to whole multiples."""


@dataclass(frozen=True)
class Face:
    """A box in pixels of the picture, how sure it is (0 to 1), and which detector found it."""

    left: float
    top: float
    right: float
    bottom: float
    score: float
    kind: FaceKind

    @property
    def size(self) -> float:
        """The shorter side in pixels."""
        return min(self.right - self.left, self.bottom - self.top)


@dataclass(frozen=True)
class Detector:
    """`sides`: long sides in pixels at which a picture is looked at, `tile`: of the last one."""

    kind: FaceKind
    find: Callable[[np.ndarray, float], np.ndarray]
    threshold: float
    sides: tuple[int, int]
    tile: int


PHOTOS = Detector("photo", centerface.find, 0.45, (640, 2560), 1024)
DRAWN = Detector("drawn", drawn_faces.find, 0.45, (256, 1024), 1024)
DETECTORS = (PHOTOS, DRAWN)


def find_faces(
    picture: Image.Image, detectors: tuple[Detector, ...] = DETECTORS
) -> tuple[Face, ...]:
    """All faces from left to right, each once. `picture`: RGB, of any size.

    Raises ModelFileError `model_file_damaged` or UnknownNameError `file_missing` if a detector's
    weights are not whole.
    """
    found: list[Face] = []
    for detector in detectors:
        for side in _sides(detector, max(picture.size)):
            found += _at(detector, picture, side)
    return tuple(
        sorted(_each_once(_of_its_kind(found)), key=lambda face: (face.left + face.right, face.top))
    )


def _sides(detector: Detector, longest: int) -> list[int]:
    """A tiny picture is looked at in twice its size; a small one not a second time."""
    whole, close = detector.sides
    first = min(whole, 2 * longest)
    return [first] if longest <= 1.3 * first else [first, min(close, longest)]


def _at(detector: Detector, picture: Image.Image, side: int) -> list[Face]:
    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    scaled = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = np.asarray(scaled.convert("RGB"))
    across, down = picture.width / width, picture.height / height
    faces: list[Face] = []
    for top in _starts(height, detector.tile):
        for left in _starts(width, detector.tile):
            tile = pixels[top : top + detector.tile, left : left + detector.tile]
            for box in detector.find(_filled_up(tile), detector.threshold):
                x1, y1, x2, y2 = (float(value) for value in box[:4])
                if _cut((x1, y1, x2, y2), tile, (left, top), (width, height)):
                    continue
                x1, x2 = max(0.0, x1 + left) * across, min(width, x2 + left) * across
                y1, y2 = max(0.0, y1 + top) * down, min(height, y2 + top) * down
                if x2 - x1 >= 2 and y2 - y1 >= 2:
                    faces.append(Face(x1, y1, x2, y2, float(box[4]), detector.kind))
    return faces


def _starts(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    count = math.ceil((length - OVERLAP) / (tile - OVERLAP))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def _filled_up(tile: np.ndarray) -> np.ndarray:
    height, width = tile.shape[:2]
    more = ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0))
    return np.pad(tile, more, constant_values=GROUND)


def _cut(
    box: tuple[float, float, float, float],
    tile: np.ndarray,
    place: tuple[int, int],
    size: tuple[int, int],
) -> bool:
    """Whether a tile's border inside the picture cuts the box: a neighbour has it whole."""
    height, width = tile.shape[:2]
    return (
        (box[0] < 0 and place[0] > 0)
        or (box[1] < 0 and place[1] > 0)
        or (box[2] > width and place[0] + width < size[0])
        or (box[3] > height and place[1] + height < size[1])
    )


def _of_its_kind(faces: list[Face]) -> list[Face]:
    """Beside a face that surely is photographed, a drawn one has to be surer than elsewhere."""
    photographed = any(face.kind == "photo" and face.score >= SURE for face in faces)
    return [
        face
        for face in faces
        if face.kind == "photo" or not photographed or face.score >= SURE_DRAWN
    ]


def _each_once(faces: list[Face]) -> list[Face]:
    """The surest of those that are the same face."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_shared(face, other) < SAME for other in kept):
            kept.append(face)
    return kept


def _shared(a: Face, b: Face) -> float:
    """Common area as a share of the smaller box."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((a.right - a.left) * (a.bottom - a.top), (b.right - b.left) * (b.bottom - b.top))
    return width * height / smaller
