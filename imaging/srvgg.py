"""SRVGGNetCompact, Real-ESRGAN's small network for enlarging four times.

Written after the description in Wang et al., 2021, "Real-ESRGAN: Training Real-World Blind
Super-Resolution with Pure Synthetic Data", and its realesr-general models. The key names of the
weights are theirs, so that ComfyUI's UpscaleModelLoader knows the file.

Imports torch: import this module inside functions only.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SCALE = 4
"""How many times longer each side becomes."""


class SRVGGNetCompact(nn.Module):
    """N x 3 x H x W in 0 to 1 to N x 3 x 4H x 4W, about 0 to 1 (not clamped).

    Convolutions with PReLUs at the size of the input, and one pixel shuffle at the end; what they
    make is added to the input enlarged by repeating its pixels.
    """

    def __init__(self, num_feat: int = 32, num_conv: int = 16) -> None:
        super().__init__()
        self.num_conv = num_conv
        layers: list[nn.Module] = [nn.Conv2d(3, num_feat, 3, padding=1), nn.PReLU(num_feat)]
        for _ in range(num_conv):
            layers += [nn.Conv2d(num_feat, num_feat, 3, padding=1), nn.PReLU(num_feat)]
        layers.append(nn.Conv2d(num_feat, 3 * SCALE**2, 3, padding=1))
        self.body = nn.ModuleList(layers)

    @property
    def radius(self) -> int:
        """How many pixels away an input pixel can still change an output pixel."""
        return self.num_conv + 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x
        for layer in self.body:
            features = layer(features)
        repeated = functional.interpolate(x, scale_factor=SCALE, mode="nearest")
        return functional.pixel_shuffle(features, SCALE) + repeated
