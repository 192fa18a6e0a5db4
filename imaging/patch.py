"""Put what was drawn again into its picture: colours matched at the border, the rest untouched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .blend import on_white
from .crops import Crop, back_to_size, mask_in, pixels_in

FIELD = 48
"""Cells of the longer side on which differences of colour are evened out."""

REACH = 0.12
"""How far a difference at the border works inwards, as a share of the longer side."""

BORDER = 0.06
"""How far inwards a mask's border reaches, as a share of the longer side."""


def put_together(
    picture: Image.Image, crops: Sequence[Crop], drawn: Sequence[Image.Image]
) -> Image.Image:
    """The picture with each crop's area drawn anew, of the mode that it had.

    All crops were cut from `picture`: where areas overlap, both are mixed by their masks. Where
    every mask is 0, the result is `picture` bit for bit; so is its transparency.
    """
    rgb = on_white(picture)
    result = np.array(picture.convert("RGB"))
    seen = _opacity(picture)
    masks = [mask_in(crop).astype(np.float32) / 255 for crop in crops]
    for index, (crop, new) in enumerate(zip(crops, drawn, strict=True)):
        box = (slice(max(0, crop.top), crop.bottom), slice(max(0, crop.left), crop.right))
        old = pixels_in(rgb, crop)
        share = masks[index] / np.maximum(1, _together(crops, masks, index))
        change = matched(back_to_size(new, crop), old, masks[index]) - old
        change = _inside(change * share[..., None], crop, rgb.size)
        if seen is not None:
            change = change * seen[box][..., None]
        result[box] = np.clip(np.rint(result[box] + change), 0, 255).astype(np.uint8)
    return _in_mode(result, picture)


def matched(new: np.ndarray, old: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`new` with the colours that `old` has at the mask's border, float32.

    The difference between both there, inside the mask, is spread smoothly over the rest: like
    seamless cloning (Perez et al., 2003, "Poisson Image Editing"), by a blur instead of an
    equation. `new`, `old`: height x width x 3; `mask`: 0 to 1.
    """
    height, width = mask.shape
    rows, columns = _cells(height, width)
    down, across = _averages(height, rows), _averages(width, columns)
    inside = (mask > 0).astype(np.float32)
    # What lies deep inside is meant to be different.
    border = np.clip(1 - _blurred(down @ mask @ across.T, BORDER), 0, 1) ** 2
    around = _blurred(border * (down @ inside @ across.T), REACH)
    difference = (old.astype(np.float32) - new) * inside[..., None]
    field = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        apart = _blurred(border * (down @ difference[..., channel] @ across.T), REACH)
        grown = Image.fromarray((apart / np.maximum(around, 1e-9)).astype(np.float32))
        field[..., channel] = np.asarray(grown.resize((width, height), Image.Resampling.BICUBIC))
    return new + field


def _together(crops: Sequence[Crop], masks: Sequence[np.ndarray], index: int) -> np.ndarray:
    """The sum of all masks in the pixels of one crop."""
    crop = crops[index]
    total = masks[index].copy()
    for other, (place, mask) in enumerate(zip(crops, masks, strict=True)):
        left, right = max(crop.left, place.left), min(crop.right, place.right)
        top, bottom = max(crop.top, place.top), min(crop.bottom, place.bottom)
        if other == index or left >= right or top >= bottom:
            continue
        here = (
            slice(top - crop.top, bottom - crop.top),
            slice(left - crop.left, right - crop.left),
        )
        there = (
            slice(top - place.top, bottom - place.top),
            slice(left - place.left, right - place.left),
        )
        total[here] += mask[there]
    return total


def _inside(values: np.ndarray, crop: Crop, size: tuple[int, int]) -> np.ndarray:
    top, left = max(0, -crop.top), max(0, -crop.left)
    bottom = values.shape[0] - max(0, crop.bottom - size[1])
    right = values.shape[1] - max(0, crop.right - size[0])
    return values[top:bottom, left:right]


def _opacity(picture: Image.Image) -> np.ndarray | None:
    if picture.mode != "RGBA":
        return None
    return np.asarray(picture.getchannel("A"), dtype=np.float32) / 255


def _in_mode(result: np.ndarray, picture: Image.Image) -> Image.Image:
    new = Image.fromarray(result)
    if picture.mode == "L":
        return new.convert("L")
    if picture.mode == "RGBA":
        new.putalpha(picture.getchannel("A"))
    return new


def _cells(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, FIELD / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _averages(length: int, cells: int) -> np.ndarray:
    """cells x length: each row averages the pixels of its cell."""
    edges = np.linspace(0, length, cells + 1)
    pixels = np.arange(length)
    low, high = edges[:-1, None], edges[1:, None]
    shares = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, 1)
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def _blurred(values: np.ndarray, reach: float) -> np.ndarray:
    """By a Gaussian, whose `reach` is a share of the longer side, with a wide foot: so that every
    cell is reached. Values, not sums: what is 1 everywhere stays 1.
    """
    rows, columns = values.shape
    down, across = (_gaussian(cells, reach * max(rows, columns)) for cells in (rows, columns))
    return down @ values @ across.T


def _gaussian(cells: int, deviation: float) -> np.ndarray:
    apart = np.subtract.outer(np.arange(cells), np.arange(cells)) / deviation
    weights = np.exp(-0.5 * apart**2) + 1e-3 * np.exp(-0.5 * (apart / 6) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
