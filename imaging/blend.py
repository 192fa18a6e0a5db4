"""Masks with soft borders, and putting what was drawn back in its place."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from ..core.picture_files import MASK_WHITE, as_mask

RAMP_STEPS = 12
"""A soft border is worked out in about this many steps; a wider one on a smaller copy."""


def on_white(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB")


def soft_mask(mask: Image.Image, size: tuple[int, int], feather: int) -> Image.Image:
    """Mode L at `size`: white is drawn anew; its border is softened inwards by `feather` pixels.

    Inwards, so that nothing outside the painted area ever changes.
    """
    grey = np.asarray(as_mask(mask).resize(size, Image.Resampling.BILINEAR))
    hard = grey >= MASK_WHITE
    if feather <= 0:
        return Image.fromarray(np.where(hard, 255, 0).astype(np.uint8))
    scale = max(1, round(feather / RAMP_STEPS))
    small = Image.fromarray(np.where(hard, 255, 0).astype(np.uint8)).reduce(scale)
    ramp = _ramp(np.asarray(small) > 0, max(1, round(feather / scale)))
    soft = Image.fromarray((ramp * 255).round().astype(np.uint8)).resize(
        size, Image.Resampling.BILINEAR
    )
    return Image.fromarray(np.where(hard, np.asarray(soft), 0).astype(np.uint8))


def _ramp(area: np.ndarray, width: int) -> np.ndarray:
    """0 to 1: distance to the area's border in parts of `width`, 1 from there on.

    Where the area is narrower, its middle still reaches 1: nothing that was painted is lost.
    """
    shape = Image.fromarray(area)
    depth = np.zeros(area.shape, np.uint8)
    for _ in range(width):
        depth += np.asarray(shape)
        shape = shape.convert("L").filter(ImageFilter.MinFilter(3)).convert("1")
    deepest = Image.fromarray(depth)
    for _ in range(width):
        deepest = deepest.filter(ImageFilter.MaxFilter(3))
    # The last fifth is full, so that scaling the ramp up again does not wear its top away.
    return np.minimum(1, depth / np.maximum(0.8 * np.asarray(deepest), 1))


def put_back(drawn: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """`drawn` inside the mask, `original` outside: there bit for bit. All of one size.

    Transparency outside the mask stays, too; what is drawn is opaque.
    """
    new = np.asarray(drawn.convert("RGB"), dtype=np.float32)
    old = np.asarray(on_white(original)).astype(np.float32)
    share = _share(mask)
    return _kept(new * share + old * (1 - share), original, share)


def keep_outside(drawn: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """As `put_back`, of what was mixed by the mask already."""
    return _kept(np.asarray(drawn.convert("RGB")), original, _share(mask))


def _share(mask: Image.Image) -> np.ndarray:
    return np.asarray(mask, dtype=np.float32)[..., None] / 255.0


def _kept(inside: np.ndarray, original: Image.Image, share: np.ndarray) -> Image.Image:
    old = np.asarray(original if original.mode == "RGBA" else original.convert("RGB"))
    if original.mode == "RGBA":
        opacity = old[..., 3:] * (1 - share) + 255 * share
        inside = np.concatenate([inside, opacity], axis=2)
    return Image.fromarray(np.where(share > 0, np.rint(inside).astype(np.uint8), old))
