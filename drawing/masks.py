"""Start pictures and masks as the sampler takes them, and putting the result back in place."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter

from ..core.picture_files import MASK_WHITE, as_mask

RAMP_STEPS = 12
"""A soft border is worked out in about this many steps; a wider one on a smaller copy."""


def to_pixels(picture: Image.Image, width: int, height: int) -> torch.Tensor:
    """Any picture as float32 pixels in -1 to 1, 1 x 3 x height x width; alpha on white."""
    flat = on_white(picture).resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(flat, dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_picture(pixels: torch.Tensor) -> Image.Image:
    """float32 pixels in -1 to 1 (1 x 3 x height x width) as an RGB picture, rounded."""
    array = ((pixels[0].permute(1, 2, 0).cpu().numpy() + 1.0) * 127.5).round()
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


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


def latent_mask(mask: Image.Image, width: int, height: int, factor: int) -> torch.Tensor:
    """The mask at the latents' size, 1 x 1 x height/factor x width/factor, 0 to 1."""
    small = mask.resize((width // factor, height // factor), Image.Resampling.BOX)
    array = np.asarray(small, dtype=np.float32) / 255.0
    return torch.from_numpy(array)[None, None]


def put_back(drawn: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """`drawn` inside the mask, `original` outside: there bit for bit. All of one size."""
    new = np.asarray(drawn.convert("RGB"), dtype=np.float32)
    old = np.asarray(on_white(original))
    share = np.asarray(mask, dtype=np.float32)[..., None] / 255.0
    mixed = (new * share + old.astype(np.float32) * (1 - share)).round().astype(np.uint8)
    return Image.fromarray(np.where(share > 0, mixed, old))
