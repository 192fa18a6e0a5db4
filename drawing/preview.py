"""A small picture of what is being drawn, by a linear map from latents to colours."""

from __future__ import annotations

import torch
from PIL import Image

SIDE = 128
"""Longer side of a preview, in pixels."""


def preview_picture(latents: torch.Tensor, rows: list[list[float]]) -> Image.Image:
    """RGB picture of latents (1 x channels x h x w).

    `rows`: one row of RGB weights for each channel and one for the constant, giving 0 to 1.
    """
    table = torch.tensor(rows, dtype=torch.float32)
    values = latents[0].float().cpu().permute(1, 2, 0) @ table[:-1] + table[-1]
    array = (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(array)
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)
