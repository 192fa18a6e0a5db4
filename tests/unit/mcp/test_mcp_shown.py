"""Pictures as they go into messages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from kizy.orchestrator.server.mcp.shown import MAX_MESSAGE, MAX_SHOWN, MAX_SIDE, for_message
from PIL import Image, PngImagePlugin


def noise(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    """A picture that compresses as badly as any."""
    shape = (size[1], size[0], len(mode))
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(values.squeeze(), mode).save(path)
    return path


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("most", [MAX_MESSAGE, MAX_MESSAGE // MAX_SHOWN])
def test_every_picture_is_made_to_fit(tmp_path: Path, mode: str, most: int) -> None:
    data, kind = for_message(noise(tmp_path / "noise.png", (1100, 500), mode), most)
    assert len(data) <= most
    picture = opened(data)
    assert max(picture.size) <= MAX_SIDE
    assert abs(picture.width / picture.height - 1100 / 500) < 0.05
    assert kind == f"image/{(picture.format or '').lower()}"
    assert picture.mode == mode


def test_a_small_picture_keeps_its_pixels(tmp_path: Path) -> None:
    path = noise(tmp_path / "small.png", (100, 60))
    data, kind = for_message(path)
    assert kind == "image/png"
    assert opened(data).tobytes() == Image.open(path).tobytes()


def test_what_is_written_inside_a_picture_is_left_out(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("kizy", "/home/somebody/model.safetensors")
    path = tmp_path / "told.png"
    Image.new("RGB", (64, 64)).save(path, pnginfo=info)
    data, _ = for_message(path)
    assert b"somebody" in path.read_bytes()
    assert b"somebody" not in data


def test_a_grey_picture_stays_grey(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (2000, 2000), 100).save(path)
    data, kind = for_message(path)
    assert (kind, opened(data).mode) == ("image/jpeg", "L")
