"""Builders: tiny safetensors files written by hand, and diffusers folders made of them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Shapes = dict[str, tuple[int, ...]]
Writer = Callable[..., Path]


def file_bytes(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with any header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def header_for(shapes: Shapes, metadata: dict[str, str] | None = None) -> tuple[Any, int]:
    """A right header of float16 tensors, and the bytes of data it needs."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    position = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        offsets = [position, position + size]
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": offsets}
        position += size
    return header, position


@pytest.fixture
def write_bytes() -> Writer:
    """write_bytes(path, header, data): any header, also a wrong one."""

    def write(path: Path, header: Any, data: bytes = b"") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(header, data))
        return path

    return write


@pytest.fixture
def write_tensors() -> Writer:
    """write_tensors(path, shapes, metadata): a right file; the data are a hole on the disk."""

    def write(path: Path, shapes: Shapes, metadata: dict[str, str] | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        header, size = header_for(shapes, metadata)
        start = file_bytes(header)
        with path.open("wb") as file:
            file.write(start)
            file.truncate(len(start) + size)
        return path

    return write


@pytest.fixture
def write_diffusers(write_tensors: Writer) -> Writer:
    """write_diffusers(path): a whole, tiny Stable Diffusion 1.5 folder."""

    def write(path: Path, width: int = 768) -> Path:
        index = {
            "_class_name": "StableDiffusionPipeline",
            "_name_or_path": "somebody/some-model",
            "requires_safety_checker": True,
            "safety_checker": [None, None],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "PNDMScheduler"],
        }
        for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            (path / name).mkdir(parents=True)
        (path / "model_index.json").write_text(json.dumps(index))
        config = {"cross_attention_dim": width, "in_channels": 4}
        (path / "unet" / "config.json").write_text(json.dumps(config))
        for name in ("vae", "text_encoder"):
            (path / name / "config.json").write_text("{}")
        write_tensors(path / "unet" / "diffusion_pytorch_model.safetensors", {"a": (2, 3)})
        write_tensors(path / "vae" / "diffusion_pytorch_model.safetensors", {"a": (2, 3)})
        write_tensors(path / "text_encoder" / "model.safetensors", {"a": (2, 3)})
        return path

    return write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KIZY_HOME."""
    monkeypatch.setenv("KIZY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
