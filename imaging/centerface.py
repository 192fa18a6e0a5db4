"""CenterFace, which finds photographed faces (Xu et al., 2019, "CenterFace: Joint Face Detection
and Alignment Using Face as Point").

MobileNetV2 with a small pyramid on top; each point of the map, 4 pixels apart, says how likely a
face's middle is there, where within the 4 pixels, and how high and wide the face is.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from .convolutions import (
    Weights,
    convolution,
    depthwise,
    head,
    layer,
    load_weights,
    peaks,
    pointwise,
    relu,
    twice_as_large,
)

WEIGHTS_FILE = Path(__file__).with_name("weights") / "centerface.safetensors"

STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
"""Of MobileNetV2's blocks."""

TAKEN = (2, 5, 12, 16)
"""Behind these blocks the pyramid takes what it sees, 4, 8, 16 and 32 pixels to a point."""

MULTIPLE = 32
"""Pixels: the input's sides must be multiples of it."""

STEP = 4
"""Pixels between two points of the map."""


@lru_cache(maxsize=1)
def weights() -> Weights:
    """The weights, read once. Raises what `load_weights` does."""
    return load_weights(WEIGHTS_FILE)


def find(pixels: np.ndarray, threshold: float) -> np.ndarray:
    """Boxes (N x 5: left, top, right, bottom, likelihood 0 to 1), before any overlap is removed.

    `pixels`: uint8, height x width x 3, both sides multiples of 32.
    """
    heat, sizes, offsets = network(pixels.transpose(2, 0, 1).astype(np.float32), weights())
    rows, columns = peaks(heat, threshold)
    high, wide = np.exp(sizes[:, rows, columns]) * STEP
    down, right = offsets[:, rows, columns]
    y = (rows + down + 0.5) * STEP
    x = (columns + right + 0.5) * STEP
    boxes = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2, heat[rows, columns])
    return np.stack(boxes, axis=1).astype(np.float32)


def network(x: np.ndarray, w: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likelihood (h x w), logarithms of height and width (2 x h x w), offsets (2 x h x w).

    `x`: float32, 3 x height x width, 0 to 255; h and w are a fourth of that.
    """
    x = relu(convolution(x, w["stem.weight"], w["stem.bias"], stride=2))
    taken = []
    for index, stride in enumerate(STRIDES):
        name = f"blocks.{index}"
        inner = x
        if f"{name}.expand.weight" in w:
            inner = relu(pointwise(x, *layer(w, f"{name}.expand")))
        inner = relu(depthwise(inner, *layer(w, f"{name}.depth"), stride=stride))
        inner = pointwise(inner, *layer(w, f"{name}.project"))
        x = inner + x if stride == 1 and inner.shape == x.shape else inner
        if index in TAKEN:
            taken.append(x)
    x = relu(pointwise(taken[3], *layer(w, "pyramid.3")))
    for level in (2, 1, 0):
        x = relu(twice_as_large(x, *layer(w, f"up.{level}")))
        x = x + relu(pointwise(taken[level], *layer(w, f"pyramid.{level}")))
    x = relu(convolution(x, *layer(w, "head")))
    return head(x, w)
