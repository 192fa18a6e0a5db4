"""Pictures four times as large, or any factor up to eight, by a small network.

The network runs on tiles with as much around them as it can see, so that memory stays bounded
and no seam shows. torch is imported inside the functions.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..core.errors import InputError, ModelFileError, UnknownNameError
from ..core.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from .srvgg import SRVGGNetCompact

TILE = 256
"""Side of a tile in pixels of the input; about 100 MB of memory at 32 features in float32."""

MAX_FACTOR = 8.0


def load_enlarger(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> SRVGGNetCompact:
    """The network of a safetensors file with Real-ESRGAN's key names, ready for `enlarge`.

    `dtype`: None for float32. The number of features and of convolutions is read from the shapes;
    the scale is 4. Raises UnknownNameError `file_missing`, ModelFileError `model_file_damaged`.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from .srvgg import SRVGGNetCompact

    if not path.is_file():
        raise UnknownNameError("file_missing", f"There is no file {path}.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise _damaged(path, "it cannot be read") from error
    first = tensors.get("body.0.weight")
    convolutions = sum(key.endswith(".bias") for key in tensors) - 2
    if first is None or first.dim() != 4 or convolutions < 0:
        raise _damaged(path, "it holds no network for enlarging")
    with torch.device("meta"):
        model = SRVGGNetCompact(first.shape[0], convolutions)
    for key, tensor in model.state_dict().items():
        if key not in tensors or tensors[key].shape != tensor.shape:
            raise _damaged(path, f"{key} is missing or of another shape")
    if extra := tensors.keys() - model.state_dict().keys():
        raise _damaged(path, f"{min(extra)} belongs to no network for enlarging")
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False)
    model = model.to(device=device, dtype=dtype or torch.float32)
    moved = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return moved.eval()


def enlarge(picture: Image.Image, model: SRVGGNetCompact, *, tile: int = TILE) -> Image.Image:
    """The picture as RGB, four times as wide and high, on the device and in the dtype of `model`.

    `tile`: side of the pieces in pixels of the input. Their size changes the result by no more
    than rounding.
    """
    import torch

    from .srvgg import SCALE

    pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    around = model.radius
    # Beyond its edge a picture goes on as it ends there: the convolutions would see black.
    padded = np.pad(pixels, ((around, around), (around, around), (0, 0)), mode="edge")
    enlarged = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
    weights = next(model.parameters())
    inner = slice(around * SCALE, -around * SCALE)
    with torch.inference_mode():
        for top, left in product(range(0, height, tile), range(0, width, tile)):
            bottom, right = min(height, top + tile), min(width, left + tile)
            seen = padded[top : bottom + 2 * around, left : right + 2 * around].copy()
            x = torch.from_numpy(seen).to(weights.device).permute(2, 0, 1)[None]
            y = model(x.to(weights.dtype) / 255)[0, :, inner, inner].permute(1, 2, 0)
            y = y.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
            enlarged[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = y
    return Image.fromarray(enlarged)


def enlarge_to(
    picture: Image.Image, model: SRVGGNetCompact, factor: float, *, tile: int = TILE
) -> Image.Image:
    """The picture as RGB at `factor` (1 < factor <= 8) times its size, rounded to whole pixels.

    Up to 4 the network runs once and LANCZOS shrinks what is too much; above, it runs a second
    time on a quarter of the final size, so that nothing larger than that is ever held.
    Raises InputError `request_invalid`.
    """
    from .srvgg import SCALE

    if not 1 < factor <= MAX_FACTOR:
        raise InputError(
            "request_invalid",
            f"A picture cannot be enlarged {factor:g} times.",
            fix=f"Choose a factor above 1 and up to {MAX_FACTOR:g}.",
        )
    target = (round(picture.width * factor), round(picture.height * factor))
    enlarged = enlarge(picture, model, tile=tile)
    if factor > SCALE:
        quarter = (math.ceil(target[0] / SCALE), math.ceil(target[1] / SCALE))
        enlarged = enlarge(_resized(enlarged, quarter), model, tile=tile)
    return _resized(enlarged, target)


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError("model_file_damaged", f"{path.name} is no enlarger: {why}.")
