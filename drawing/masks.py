"""Start pictures and masks as the sampler takes them, and putting the result back in place."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter


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
    if mask.mode == "RGBA":
        # A mask that somebody painted on transparent ground: what is painted white counts.
        ground = Image.new("RGBA", mask.size, "black")
        ground.alpha_composite(mask)
        mask = ground
    grey = mask.convert("L").resize(size, Image.Resampling.BILINEAR)
    hard = grey.point(lambda value: 255 if value >= 128 else 0)
    if feather <= 0:
        return hard
    blurred = hard.filter(ImageFilter.GaussianBlur(feather / 2))
    # The blur is 0.5 at the border: everything below it would lie outside.
    inside = blurred.point(lambda value: max(0, min(255, round((value - 128) * 255 / 127))))
    return Image.composite(inside, Image.new("L", size, 0), hard)


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
