"""ComfyUI's pictures and masks to Pillow's, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image


def as_picture(image: torch.Tensor) -> Image.Image:
    """(height, width, 1, 3 or 4), 0 to 1, to mode L, RGB or RGBA."""
    from PIL import Image

    array = _bytes(image)
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    return picture.convert("RGB") if picture.mode == "L" else picture


def as_tensor(picture: Image.Image) -> torch.Tensor:
    """A picture of mode RGB or RGBA to (height, width, 3 or 4), float32, 0 to 1."""
    import numpy as np
    import torch

    values = np.array(picture, dtype=np.float32)
    values /= 255.0
    return torch.from_numpy(values)


def mask_picture(mask: torch.Tensor, index: int) -> Image.Image:
    """Mask `index` of a batch (n, height, width), the last one if there are fewer, to mode L."""
    from PIL import Image

    masks = mask if mask.dim() == 3 else mask.reshape(-1, mask.shape[-2], mask.shape[-1])
    return Image.fromarray(_bytes(masks[min(index, len(masks) - 1)]))


def mask_tensor(mask: Image.Image) -> torch.Tensor:
    """Mode L to (height, width), float32, 0 to 1."""
    return as_tensor(mask.convert("L"))


def _bytes(values: torch.Tensor) -> np.ndarray:
    """0 to 1 as 0 to 255; what is no number is 0. One copy of the numbers is made, not several."""
    import numpy as np

    numbers = np.nan_to_num(values.detach().float().cpu().numpy())
    numbers *= 255.0
    np.rint(numbers, out=numbers)
    return np.clip(numbers, 0, 255, out=numbers).astype(np.uint8)
