"""Start pictures and masks as the sampler takes them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ..imaging.blend import on_white

WHOLE = 1e-3
"""Of 255: what float32 loses of a whole number on the way there and back."""


def to_pixels(picture: Image.Image, width: int, height: int) -> torch.Tensor:
    """Any picture as float32 pixels in -1 to 1, 1 x 3 x height x width; alpha on white."""
    flat = on_white(picture).resize((width, height), Image.Resampling.LANCZOS)
    array = np.asarray(flat, dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_picture(pixels: torch.Tensor) -> Image.Image:
    """float32 pixels in -1 to 1 (1 x 3 x height x width) as an RGB picture.

    Fractions are cut, not rounded, as ComfyUI's SaveImage does, so that both engines save the same;
    but what is whole up to the precision of float32 stays whole.
    """
    array = (pixels[0].permute(1, 2, 0).cpu().numpy() + 1.0) * 127.5 + WHOLE
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def latent_mask(mask: Image.Image, width: int, height: int, factor: int) -> torch.Tensor:
    """The mask at the latents' size, 1 x 1 x height/factor x width/factor, 0 to 1."""
    small = mask.resize((width // factor, height // factor), Image.Resampling.BOX)
    array = np.asarray(small, dtype=np.float32) / 255.0
    return torch.from_numpy(array)[None, None]
