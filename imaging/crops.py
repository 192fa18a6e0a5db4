"""Which piece of a picture is drawn again for an area, and at which size.

A crop has exactly the shape that it is drawn at, in whole multiples of what the model can draw, so
nothing is stretched on the way there and back; it is as large as the model draws best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .areas import Area
from .blend import on_white

AROUND = 1.4
"""Sides of the crop against those of a face: enough to see how the light falls and where hair is,
and the face still gets seven tenths of what the model draws, where the Impact Pack's 3.0 leaves it
a third."""

ELLIPSE = 1.3
"""What of that the area itself takes: an ellipse is that much larger than its face."""

MAX_GROWTH = 8.0
"""A tiny area is enlarged by no more than this: of less, the model cannot tell what it is."""

MAX_RATIO = 2.0
"""Longer side of a crop against its shorter one."""


@dataclass(frozen=True)
class Capacity:
    """What a model draws best: about `width` x `height` pixels, sides in multiples of `multiple`.

    `reach`: how many times larger an enlarger makes what was drawn, where there is one.
    """

    width: int
    height: int
    multiple: int
    reach: float = 1.0


@dataclass(frozen=True)
class Crop:
    """A piece of the picture: box in its pixels, which may reach beyond it, and size to draw at.

    `width` / `height` is exactly the shape of the box.
    """

    area: Area
    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    @property
    def growth(self) -> float:
        """How many times larger it is drawn than it is in the picture."""
        return self.width / (self.right - self.left)


def plan_crop(area: Area, size: tuple[int, int], capacity: Capacity) -> Crop:
    """The crop for an area of a picture of `size` (width, height)."""
    around = AROUND / ELLIPSE
    least = math.sqrt(capacity.width * capacity.height) / MAX_GROWTH
    wide = max(area.width * around, min(least, size[0]))
    high = max(area.height * around, min(least, size[1]))
    best: tuple[float, int, int, int] | None = None
    for width, height in shapes(capacity):
        common = math.gcd(width, height)
        across, down = width // common, height // common
        parts = math.ceil(max(wide / across, high / down))
        # Rather a little less around it than something from beyond the picture's edge.
        fitting = min(size[0] // across, size[1] // down)
        needed = math.ceil(max(area.width / across, area.height / down))
        parts = max(needed, min(parts, fitting))
        outside = max(0, parts * across - size[0]) + max(0, parts * down - size[1])
        cost = parts**2 * across * down * (1 + outside) / (width * height)
        if best is None or cost < best[0]:
            best = cost, width, height, parts
    assert best is not None
    _, width, height, parts = best
    common = math.gcd(width, height)
    wide, high = parts * (width // common), parts * (height // common)
    left = _placed(area.left + area.width / 2, wide, size[0])
    top = _placed(area.top + area.height / 2, high, size[1])
    return Crop(area, left, top, left + wide, top + high, width, height)


def shapes(capacity: Capacity) -> list[tuple[int, int]]:
    """Sizes in whole multiples with about the native number of pixels, square ones first."""
    step = capacity.multiple
    pixels = capacity.width * capacity.height
    longest = int(math.sqrt(pixels * MAX_RATIO)) // step
    found = []
    for columns in range(1, max(1, longest) + 1):
        rows = max(1, int(pixels / (columns * step * step)))
        width, height = columns * step, rows * step
        if max(width, height) <= MAX_RATIO * min(width, height):
            found.append((width, height))
    square = max(1, int(math.sqrt(pixels)) // step) * step
    return sorted({*found, (square, square)}, key=lambda size: (abs(size[0] - size[1]), size))


def cut_out(picture: Image.Image, crop: Crop) -> Image.Image:
    """The crop of a picture as RGB, on white, at the size that it is drawn at."""
    piece = _piece(picture, crop)
    return _resized(piece, (crop.width, crop.height))


def noise_mask(crop: Crop) -> Image.Image:
    """Mode L at the size that is drawn at: white wherever the area may change, black elsewhere."""
    whole = np.where(mask_in(crop) > 0, 255, 0).astype(np.uint8)
    grown = Image.fromarray(whole).resize((crop.width, crop.height), Image.Resampling.BILINEAR)
    return grown.point(lambda value: 255 if value else 0)


def mask_in(crop: Crop) -> np.ndarray:
    """The area's mask in the crop's own pixels, uint8."""
    area = crop.area
    mask = np.zeros((crop.bottom - crop.top, crop.right - crop.left), np.uint8)
    top, left = area.top - crop.top, area.left - crop.left
    mask[top : top + area.height, left : left + area.width] = area.mask
    return mask


def back_to_size(drawn: Image.Image, crop: Crop) -> np.ndarray:
    """What was drawn (at any size of the crop's shape) in the crop's own pixels, uint8 RGB."""
    return np.asarray(
        _resized(drawn.convert("RGB"), (crop.right - crop.left, crop.bottom - crop.top))
    )


def pixels_in(picture: Image.Image, crop: Crop) -> np.ndarray:
    """The crop's own pixels, uint8 RGB; beyond the picture's edge it goes on as it ends there."""
    return np.asarray(_piece(picture, crop))


def _piece(picture: Image.Image, crop: Crop) -> Image.Image:
    box = (
        max(0, crop.left),
        max(0, crop.top),
        min(picture.width, crop.right),
        min(picture.height, crop.bottom),
    )
    piece = on_white(picture.crop(box))
    if box == (crop.left, crop.top, crop.right, crop.bottom):
        return piece
    beyond = (
        (box[1] - crop.top, crop.bottom - box[3]),
        (box[0] - crop.left, crop.right - box[2]),
        (0, 0),
    )
    return Image.fromarray(np.pad(np.asarray(piece), beyond, mode="edge"))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _placed(middle: float, length: int, whole: int) -> int:
    """Where it begins: around the middle, but inside if it fits there."""
    if length >= whole:
        return -((length - whole) // 2)
    return min(max(0, round(middle - length / 2)), whole - length)
