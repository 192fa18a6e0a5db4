"""What the UNet sees, worked out once: latents of the pictures, masks, what the captions mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from ...drawing.masks import latent_mask, to_pixels
from ..buckets import assign

if TYPE_CHECKING:
    from ...drawing.model import DrawModel
    from ..dataset import Example

Size = tuple[int, int]


@dataclass(frozen=True)
class Text:
    """What a caption means to the UNet, one row each; `extra` as in drawing's Conditioning."""

    states: torch.Tensor
    extra: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Picture:
    """A picture to learn: latents (c x h x w, float32, CPU), and where it counts (1 x h x w).

    `size`: width and height in pixels that it is seen at.
    """

    latents: torch.Tensor
    mask: torch.Tensor | None
    caption: str
    size: Size


def fitted(picture: Image.Image, size: Size) -> Image.Image:
    """Scaled to cover the size, what hangs over cut off on both sides alike."""
    width, height = size
    scale = max(width / picture.width, height / picture.height)
    near = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    left, top = (near[0] - width) // 2, (near[1] - height) // 2
    box = (left, top, left + width, top + height)
    return picture.resize(near, Image.Resampling.LANCZOS).crop(box)


def cache_pictures(
    model: DrawModel,
    folder: Path,
    examples: Iterable[Example],
    resolution: int,
    multiple: int,
    *,
    masked: bool,
    check: Callable[[], None] = lambda: None,
) -> list[Picture]:
    """Encode the pictures, each once, without randomness. `check` may raise to stop."""
    found = []
    for example in examples:
        check()
        with Image.open(folder / example.picture) as opened:
            opened.load()
            size = assign(opened.width, opened.height, resolution, multiple)
            picture = fitted(opened, size)
        with torch.inference_mode():
            latents = model.to_latents(to_pixels(picture, *size))[0]
        # A clone that knows nothing of inference mode, which autograd would refuse.
        latents = latents.float().cpu().clone()
        mask = _mask(picture, size, model.latent_factor) if masked else None
        found.append(Picture(latents, mask, example.caption, size))
    return found


def cache_texts(
    model: DrawModel, wanted: Iterable[tuple[str, Size]]
) -> dict[tuple[str, Size], Text]:
    """The texts at the sizes that they are asked for (SDXL is told the size), on the CPU."""
    found: dict[tuple[str, Size], Text] = {}
    for caption, size in wanted:
        if (caption, size) in found:
            continue
        known = model.encode_caption(caption, *size)
        extra = {name: value.cpu().clone() for name, value in known.extra.items()}
        found[caption, size] = Text(known.states.cpu().clone(), extra)
    return found


def together(texts: Sequence[Text], device: torch.device) -> Text:
    """Several texts as one batch on the device."""
    extra = {
        name: torch.cat([text.extra[name] for text in texts]).to(device) for name in texts[0].extra
    }
    return Text(torch.cat([text.states for text in texts]).to(device), extra)


def _mask(picture: Image.Image, size: Size, factor: int) -> torch.Tensor | None:
    """Where the picture is opaque; None if it is everywhere (or nowhere)."""
    if picture.mode not in ("RGBA", "LA", "PA"):
        return None
    alpha = picture.getchannel("A")
    low, high = np.asarray(alpha).min(), np.asarray(alpha).max()
    if low == 255 or high == 0:
        return None
    return latent_mask(alpha, *size, factor)[0]
