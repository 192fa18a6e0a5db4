"""A small network that finds drawn faces, which detectors for photographs do not see.

Trained by tools/starter/train_faces.py. Like CenterFace (Xu et al., 2019) it tells for each point,
8 pixels apart, how likely a face's middle is there, where within the 8 pixels, and its size.
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
)

WEIGHTS_FILE = Path(__file__).with_name("weights") / "drawn-faces.safetensors"

STEM = 16
"""Features of the first layer, which halves the picture."""

BLOCKS = (
    (32, 2),
    (32, 1),
    (64, 2),
    (64, 1),
    (64, 1),
    (96, 2),
    (96, 1),
    (96, 1),
    (128, 2),
    (128, 1),
    (128, 1),
    (128, 1),
)
"""Features and stride of each: a 3 x 3 convolution of every channel by itself, then a 1 x 1."""

TAKEN = (4, 7, 11)
"""Behind these blocks the pyramid takes what it sees, 8, 16 and 32 pixels to a point."""

PYRAMID = 64
"""Features of the pyramid."""

MULTIPLE = 32
"""Pixels: the input's sides must be multiples of it."""

STEP = 8
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
    return boxes(heat, sizes, offsets, threshold)


def boxes(heat: np.ndarray, sizes: np.ndarray, offsets: np.ndarray, threshold: float) -> np.ndarray:
    """What the maps mean, as `find` returns it."""
    rows, columns = peaks(heat, threshold)
    high, wide = np.exp(np.clip(sizes[:, rows, columns], -3, 6)) * STEP
    down, right = offsets[:, rows, columns]
    y, x = (rows + down) * STEP, (columns + right) * STEP
    found = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2, heat[rows, columns])
    return np.stack(found, axis=1).astype(np.float32)


def network(x: np.ndarray, w: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likelihood (h x w), logarithms of height and width in steps, offsets (2 x h x w each).

    `x`: float32, 3 x height x width, 0 to 255; h and w are an eighth of that.
    """
    x = relu(convolution(x / 127.5 - 1, *layer(w, "stem"), stride=2))
    taken = []
    for index, (features, stride) in enumerate(BLOCKS):
        inner = relu(depthwise(x, *layer(w, f"blocks.{index}.depth"), stride=stride))
        inner = relu(pointwise(inner, *layer(w, f"blocks.{index}.project")))
        x = inner + x if stride == 1 and features == len(x) else inner
        if index in TAKEN:
            taken.append(x)
    x = pointwise(taken[2], *layer(w, "pyramid.2"))
    for level in (1, 0):
        x = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
        x = relu(x + pointwise(taken[level], *layer(w, f"pyramid.{level}")))
    x = relu(depthwise(x, *layer(w, "head.depth")))
    x = relu(pointwise(x, *layer(w, "head.project")))
    return head(x, w)
