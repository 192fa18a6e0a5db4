"""Weights as 8-bit integers with a float scale for every 64 of them: a quarter of float32.

In the file, a quantised tensor `name` is stored as `name` (int8, its own shape) and `name.scale`
(float16, rows x blocks, where a row is everything behind the first dimension and a block is 64 of
its elements, or the whole row where 64 does not divide it). All other tensors are float16.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SCALE_SUFFIX = ".scale"
BLOCK = 64


def quantize(
    tensors: dict[str, torch.Tensor], *, min_elements: int = 4096
) -> dict[str, torch.Tensor]:
    """8-bit form of every matrix or convolution of at least `min_elements`; float16 for the rest.

    Symmetric, rounded to nearest, scale = largest absolute value of the block / 127.
    """
    import torch

    packed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            packed[name] = tensor.contiguous()
        elif tensor.dim() < 2 or tensor.numel() < min_elements:
            packed[name] = tensor.to(torch.float16).contiguous()
        else:
            rows = tensor.float().flatten(1)
            width = BLOCK if rows.shape[1] % BLOCK == 0 else rows.shape[1]
            blocks = rows.reshape(rows.shape[0], -1, width)
            # Not below float16's smallest normal number, so that the scale survives its storage.
            scale = (blocks.abs().amax(2) / 127).clamp(min=6.2e-5).to(torch.float16)
            levels = (blocks / scale.float().unsqueeze(2)).round().clamp(-127, 127)
            packed[name] = levels.to(torch.int8).reshape(tensor.shape).contiguous()
            packed[name + SCALE_SUFFIX] = scale
    return packed


def dequantize(packed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """float32 tensors from what `quantize` made; integer tensors without a scale stay."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in packed:
            continue
        scale = packed.get(name + SCALE_SUFFIX)
        if scale is not None:
            blocks = tensor.float().reshape(*scale.shape, -1)
            tensors[name] = (blocks * scale.float().unsqueeze(2)).reshape(tensor.shape)
        else:
            tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors


def load_quantized(path: Path) -> dict[str, torch.Tensor]:
    """float32 tensors of a quantised safetensors file."""
    from safetensors.torch import load_file

    return dequantize(load_file(path))
