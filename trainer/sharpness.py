"""How sharp a picture is, so that blurred photos can be told from drawings with flat areas.

The variance of the Laplacian (Pech-Pacheco and others, 2000) alone finds every flat drawing
blurred. So a picture with little of it counts as blurred only if its edges are soft as well.
The limits were set on photographs and emoji, sharp and blurred by Gaussians: a radius of 0.4 %
of the longest side is found, one of 0.2 % is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE = 512
"""Longest side, in pixels, at which it is measured: the size of the picture plays no part."""

_LITTLE = 40.0
_NOTHING = 2.5
_SOFT = 0.52


@dataclass(frozen=True)
class Sharpness:
    """`variance`: of the Laplacian of the greys 0 to 255. `edges`: Laplacian to gradient on the
    strongest edges, about 1 and more where they are sharp."""

    variance: float
    edges: float

    @property
    def blurred(self) -> bool:
        return self.variance < _LITTLE and (self.edges < _SOFT or self.variance < _NOTHING)


def measure(picture: Image.Image) -> Sharpness:
    """Of a picture of mode L or RGB."""
    grey = picture.convert("L")
    scale = SIDE / max(grey.size)
    if scale < 1:
        size = (max(3, round(grey.width * scale)), max(3, round(grey.height * scale)))
        grey = grey.resize(size, Image.Resampling.BOX)
    values = np.asarray(grey, np.float32)
    middle = values[1:-1, 1:-1]
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    laplacian = around - 4 * middle
    if laplacian.size == 0:
        return Sharpness(0.0, 0.0)
    across = (values[1:-1, 2:] - values[1:-1, :-2]) / 2
    down = (values[2:, 1:-1] - values[:-2, 1:-1]) / 2
    gradient = np.hypot(across, down)
    strong = gradient >= max(float(np.percentile(gradient, 99)) / 2, 1.0)
    edges = 0.0
    if strong.any():
        bend = float(np.square(laplacian[strong]).mean())
        edges = (bend / float(np.square(gradient[strong]).mean())) ** 0.5
    return Sharpness(float(laplacian.var()), edges)
