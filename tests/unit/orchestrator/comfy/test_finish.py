"""What comes back from a server becomes the picture that was planned."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.core.errors import InputError, PictureError
from kizy.core.plan import InputPicture, ModelFile, Plan, PlannedMask, PlannedStart
from kizy.orchestrator.backends.comfyui.run.transfers import as_png, finished, plain_picture
from PIL import Image


def plan_of(width: int, height: int, **changes: Any) -> Plan:
    return Plan(
        request_prompt="a fox",
        prompt="a fox",
        negative="",
        family="sd15",
        model=ModelFile(name="a"),
        width=64,
        height=64,
        output_width=width,
        output_height=height,
        count=1,
        seed=1,
        steps=1,
        guidance=1,
        sampler="euler",
        scheduler="normal",
        **changes,
    )


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def saved(picture: Image.Image, path: Path) -> Path:
    picture.save(path)
    return path


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def masked(tmp_path: Path, mask: Image.Image) -> dict[str, Any]:
    start = saved(noise(2), tmp_path / "start.png")
    painted = saved(mask, tmp_path / "mask.png")
    return {
        "start": PlannedStart(picture=InputPicture(path=str(start), sha256="a"), strength=1.0),
        "mask": PlannedMask(picture=InputPicture(path=str(painted), sha256="b"), feather=0),
    }


def test_a_png_of_the_planned_size_stays_byte_for_byte(tmp_path: Path) -> None:
    path = saved(noise(1), tmp_path / "a.png")
    assert finished(path, plan_of(40, 30)) == path.read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg"])
def test_every_format_becomes_a_png_of_the_planned_size(tmp_path: Path, name: str) -> None:
    data = finished(saved(noise(1), tmp_path / name), plan_of(37, 31))
    assert data.startswith(b"\x89PNG")
    assert pixels_of(data).shape == (31, 37, 3)


def test_outside_the_mask_the_start_picture_stays_bit_for_bit(tmp_path: Path) -> None:
    mask = Image.new("L", (40, 30), 0)
    mask.paste(255, (8, 8, 20, 20))
    path = saved(noise(1), tmp_path / "drawn.png")
    result = pixels_of(finished(path, plan_of(40, 30, **masked(tmp_path, mask))))
    inside = np.asarray(mask) > 0
    assert (result[~inside] == np.asarray(noise(2))[~inside]).all()
    assert (result[inside] == np.asarray(noise(1))[inside]).all()


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n and more"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        finished(path, plan_of(40, 30))
    assert caught.value.code == "picture_unreadable"


def test_a_jpeg_preview_becomes_png() -> None:
    buffer = io.BytesIO()
    noise(1).save(buffer, "JPEG")
    png = as_png(buffer.getvalue())
    assert png is not None and pixels_of(png).shape == (30, 40, 3)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\xff\xd8\xff"])
def test_a_preview_that_is_no_picture_is_left_out(content: bytes) -> None:
    assert as_png(content) is None


def test_an_ordinary_picture_is_sent_as_it_is(tmp_path: Path) -> None:
    path = saved(noise(1), tmp_path / "a.png")
    with plain_picture(path) as sent:
        assert sent == path


def test_of_an_animation_the_first_picture_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    noise(1).save(path, save_all=True, append_images=[noise(2)], lossless=True)
    with plain_picture(path) as sent, Image.open(sent) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(noise(1)))


@pytest.mark.parametrize("mode", ["P", "I;16", "1", "LA", "L"])
def test_what_is_read_in_several_ways_is_sent_in_one(tmp_path: Path, mode: str) -> None:
    path = saved(Image.new(mode, (8, 8)), tmp_path / "a.png")
    with plain_picture(path) as sent, Image.open(sent) as picture:
        assert sent != path and picture.mode in ("RGB", "RGBA")


def test_a_turned_picture_is_sent_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(1).save(tmp_path / "a.jpg", exif=exif)
    with plain_picture(tmp_path / "a.jpg") as sent, Image.open(sent) as picture:
        assert picture.size == (30, 40)


def test_a_picture_that_is_gone_or_none_is_told_in_plain_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for path, code in ((tmp_path / "gone.png", "file_missing"), (broken, "picture_unreadable")):
        with pytest.raises(InputError) as caught, plain_picture(path):
            pass
        assert caught.value.code == code


@pytest.mark.parametrize("name", ["a.gif", "a.bmp", "a.tif", "a.avif", "a.jp2", "a.jpg", "a.webp"])
def test_what_comfyui_may_not_read_is_sent_as_png(tmp_path: Path, name: str) -> None:
    path = saved(noise(1), tmp_path / name)
    with plain_picture(path) as sent, Image.open(sent) as picture:
        assert (picture.format, picture.size) == ("PNG", noise(1).size)


def test_a_mask_is_sent_as_the_grey_that_it_means(tmp_path: Path) -> None:
    holed = noise(1).convert("RGBA")
    alpha = Image.new("L", holed.size, 255)
    alpha.paste(0, (0, 0, 10, 10))
    holed.putalpha(alpha)
    path = saved(holed, tmp_path / "a.png")
    with plain_picture(path, mask=True) as sent, Image.open(sent) as picture:
        assert picture.mode == "RGB"
        assert (picture.getpixel((2, 2)), picture.getpixel((20, 20))) == ((255,) * 3, (0,) * 3)
