"""ComfyUI's pictures and masks to Pillow's, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from PIL import Image


def as_picture(image: torch.Tensor) -> Image.Image:
    """(height, width, 1, 3 or 4), 0 to 1, to mode L, RGB or RGBA."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(image.detach().float().cpu().numpy())
    array = np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8)
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    return picture.convert("RGB") if picture.mode == "L" else picture


def as_tensor(picture: Image.Image) -> torch.Tensor:
    """A picture of mode RGB or RGBA to (height, width, 3 or 4), float32, 0 to 1."""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)


def mask_picture(mask: torch.Tensor, index: int) -> Image.Image:
    """Mask `index` of a batch (n, height, width), the last one if there are fewer, to mode L."""
    import numpy as np
    from PIL import Image

    masks = mask if mask.dim() == 3 else mask.reshape(-1, mask.shape[-2], mask.shape[-1])
    values = masks[min(index, len(masks) - 1)].detach().float().cpu().numpy()
    return Image.fromarray(np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8))


def mask_tensor(mask: Image.Image) -> torch.Tensor:
    """Mode L to (height, width), float32, 0 to 1."""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255.0)
