"""Pictures four times as large, or any factor up to eight, by a small network.

The network runs on tiles with as much around them as it can see, so that memory stays bounded
and no seam shows. torch is imported inside the functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..core.errors import InputError, ModelFileError, UnknownNameError

if TYPE_CHECKING:
    import torch

    from .srvgg import SRVGGNetCompact

TILE = 256
"""Side of a tile in pixels of the input; about 150 MB of memory at 32 features in float32."""

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
    return model.to(device=device, dtype=dtype or torch.float32).eval()


def enlarge(picture: Image.Image, model: SRVGGNetCompact, *, tile: int = TILE) -> Image.Image:
    """The picture as RGB, four times as wide and high, on the device and in the dtype of `model`.

    `tile`: side of the pieces in pixels of the input. Their size changes the result by no more
    than rounding.
    """
    import torch

    from .srvgg import SCALE

    pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    enlarged = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
    weights = next(model.parameters())
    with torch.inference_mode():
        for piece in _pieces(height, width, tile, model.radius):
            seen = torch.from_numpy(pixels[piece.seen].copy())
            x = seen.to(weights.device).permute(2, 0, 1)[None]
            y = model(x.to(weights.dtype) / 255)[0].permute(1, 2, 0)[_times(piece.inner, SCALE)]
            y = y.float().clamp(0, 1).mul(255).round().to(torch.uint8)
            enlarged[_times(piece.target, SCALE)] = y.cpu().numpy()
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


_Area = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class _Piece:
    """`target` is the tile, `seen` the tile with its surroundings, `inner` the tile in `seen`."""

    target: _Area
    seen: _Area
    inner: _Area


def _pieces(height: int, width: int, tile: int, overlap: int) -> Iterator[_Piece]:
    for rows in _spans(height, tile, overlap):
        for columns in _spans(width, tile, overlap):
            yield _Piece(*zip(rows, columns, strict=True))


def _spans(length: int, tile: int, overlap: int) -> Iterator[tuple[slice, slice, slice]]:
    """Target, seen and inner along one side; nothing is seen beyond the picture's edge."""
    for start in range(0, length, tile):
        stop = min(length, start + tile)
        low, high = max(0, start - overlap), min(length, stop + overlap)
        yield slice(start, stop), slice(low, high), slice(start - low, stop - low)


def _times(area: _Area, scale: int) -> _Area:
    rows, columns = (slice(side.start * scale, side.stop * scale) for side in area)
    return rows, columns


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError("model_file_damaged", f"{path.name} is no enlarger: {why}.")
