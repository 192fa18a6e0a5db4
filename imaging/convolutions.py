"""The few layers that the face detectors are made of, in numpy: nothing has to be installed.

Arrays are float32, channels x height x width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.errors import ModelFileError, UnknownNameError
from ..core.out_of_memory import is_out_of_memory

Weights = dict[str, np.ndarray]

CACHED = 32_768
"""Numbers of a few channels that fit into a processor's cache with what is made of them."""


def load_weights(path: Path) -> Weights:
    """float32 arrays of a safetensors file.

    Raises UnknownNameError `file_missing`, ModelFileError `model_file_damaged`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise UnknownNameError("file_missing", f"There is no file {path}.")
    try:
        return {name: array.astype(np.float32) for name, array in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelFileError("model_file_damaged", f"{path.name} cannot be read.") from error


def layer(w: Weights, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a layer."""
    return w[f"{name}.weight"], w[f"{name}.bias"]


def head(x: np.ndarray, w: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a face's middle: likelihood (h x w, 0 to 1), `size` and `offset` (2 x h x w each)."""
    heat = pointwise(x, *layer(w, "heat"))[0]
    return (
        1 / (1 + np.exp(-heat)),
        pointwise(x, *layer(w, "size")),
        pointwise(x, *layer(w, "offset")),
    )


def relu(x: np.ndarray) -> np.ndarray:
    """In place."""
    return np.maximum(x, 0, out=x)


def pointwise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """1 x 1 convolution; `weight`: out x in."""
    channels, height, width = x.shape
    y = weight @ x.reshape(channels, -1)
    y += bias[:, None]
    return y.reshape(-1, height, width)


def depthwise(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, stride: int = 1
) -> np.ndarray:
    """3 x 3 convolution of each channel by itself, padded by 1; `weight`: channels x 3 x 3."""
    channels, height, width = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    y = np.empty((channels, rows, columns), np.float32)
    # A few channels at a time: what is added nine times stays in the processor's cache.
    group = max(1, CACHED // (height * width))
    term = np.empty((group, rows, columns), np.float32)
    padded = np.zeros((group, height + 2, width + 2), np.float32)
    for first in range(0, channels, group):
        part = slice(first, min(first + group, channels))
        count = part.stop - first
        padded[:count, 1:-1, 1:-1] = x[part]
        total = y[part]
        total[...] = bias[part, None, None]
        for down in range(3):
            for right in range(3):
                seen = padded[:count, down::stride, right::stride][:, :rows, :columns]
                factor = weight[part, down, right][:, None, None]
                np.multiply(seen, factor, out=term[:count])
                total += term[:count]
    return y


def convolution(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, stride: int = 1
) -> np.ndarray:
    """3 x 3 convolution, padded by 1; `weight`: out x in x 3 x 3."""
    channels, height, width = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    seen = np.empty((channels, 3, 3, rows, columns), np.float32)
    for down in range(3):
        for right in range(3):
            part = padded[:, down::stride, right::stride]
            seen[:, down, right] = part[:, :rows, :columns]
    y = weight.reshape(len(weight), -1) @ seen.reshape(channels * 9, -1)
    y += bias[:, None]
    return y.reshape(-1, rows, columns)


def twice_as_large(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Transposed convolution, 2 x 2 with stride 2; `weight`: in x out x 2 x 2."""
    channels, height, width = x.shape
    out = weight.shape[1]
    y = weight.reshape(channels, -1).T @ x.reshape(channels, -1)
    y = y.reshape(out, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return y.reshape(out, 2 * height, 2 * width) + bias[:, None, None]


def peaks(heat: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns where `heat` (height x width) is the largest of its 3 x 3 neighbours."""
    padded = np.pad(heat, 1, constant_values=-1)
    height, width = heat.shape
    largest = np.full_like(heat, -1)
    for down in range(3):
        for right in range(3):
            np.maximum(largest, padded[down : down + height, right : right + width], out=largest)
    rows, columns = np.nonzero((heat >= threshold) & (heat == largest))
    return rows, columns
