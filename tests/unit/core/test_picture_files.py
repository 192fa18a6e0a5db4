from __future__ import annotations

import json
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kizy.core import picture_files
from kizy.core.errors import KizyError, PictureError, UnknownNameError
from kizy.core.parameters import parameters_text
from kizy.core.picture_files import (
    open_picture,
    png_bytes,
    png_size,
    png_with_plan,
    read_plan,
)
from kizy.core.plan import InputPicture, ModelFile, Plan, PlannedLora, PlannedStart
from PIL import Image, PngImagePlugin

PlanBuilder = Callable[..., Plan]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """The beginning of an RGB PNG of any size, without its pixels."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b"")


def png_with_text(path: Path, key: str, text: str) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def code_of(action: Callable[[], object], kind: type[KizyError] = PictureError) -> str:
    with pytest.raises(kind) as caught:
        action()
    return caught.value.code


def test_a_plan_goes_into_a_png_and_comes_out_the_same(
    tmp_path: Path, make_plan: PlanBuilder
) -> None:
    plan = make_plan(prompt="ein Füchslein, 狐 🦊\nzweite Zeile")
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(Image.new("RGB", (16, 8), "red"), plan, "9.9"))
    assert read_plan(path) == plan


def test_the_pixels_are_kept_as_they_are(tmp_path: Path, make_plan: PlanBuilder) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(Image.fromarray(pixels), make_plan(), "9.9"))
    assert np.array_equal(np.asarray(open_picture(path)), pixels)


def test_the_same_picture_and_plan_give_the_same_bytes(make_plan: PlanBuilder) -> None:
    picture = Image.new("RGB", (16, 8), "red")
    assert png_bytes(picture, make_plan(), "1") == png_bytes(picture, make_plan(), "1")


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 1), (8001, 8000)])
def test_a_png_of_too_many_pixels_is_refused_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    assert code_of(lambda: open_picture(path)) == "picture_too_large"
    assert code_of(lambda: read_plan(path)) == "picture_too_large"


def test_a_picture_within_the_limit_raises_no_warning_of_pillow(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (8000, 8000)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(path).size == (8000, 8000)


def test_a_file_of_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_files, "MAX_BYTES", 10)
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    assert code_of(lambda: open_picture(path)) == "picture_too_large"


@pytest.mark.parametrize(
    "content",
    [
        b"I am no picture.",
        b"",
        b"\x89PNG\r\n\x1a\n",
        png_header(0, 0),
        b"GIF89a" + bytes(20),
        b"\xff\xd8\xff\xe0",
    ],
    ids=["text", "empty", "signature-only", "no-pixels", "gif", "jpeg-start"],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert code_of(lambda: open_picture(path)) == "picture_unreadable"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"a.{kind}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert code_of(lambda: open_picture(path)) == "picture_unreadable"


def test_a_damaged_chunk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(data)
    assert code_of(lambda: open_picture(path)) == "picture_unreadable"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (open_picture, read_plan):
        with pytest.raises(UnknownNameError, match=r"gone\.png") as caught:
            read(tmp_path / "gone.png")
        assert caught.value.code == "file_missing"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert code_of(lambda: open_picture(tmp_path), UnknownNameError) == "file_missing"


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    path = tmp_path / "a.jpg"
    picture.save(path, exif=exif, quality=95)
    turned = open_picture(path).convert("L")
    assert turned.size == (20, 40)
    values = np.asarray(turned)
    assert values[5].mean() > 250
    assert values[-5].mean() < 5


def test_16_bit_grey_keeps_its_upper_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16)).save(path)
    picture = open_picture(path)
    assert picture.mode == "L"
    assert np.asarray(picture).tolist() == [[0, 1, 128, 255]]


def test_16_bit_grey_with_a_transparent_shade_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    ihdr = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    row = zlib.compress(b"\x00" + struct.pack(">HH", 0, 65535))
    parts = [(b"IHDR", ihdr), (b"tRNS", struct.pack(">H", 0)), (b"IDAT", row), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    picture = open_picture(path)
    assert picture.size == (2, 1)
    assert np.asarray(picture.convert("L")).tolist() == [[0, 255]]


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    picture = open_picture(path)
    assert picture.mode == "RGB"
    red, green, blue = np.asarray(picture)[8, 8]
    assert red > 200
    assert max(green, blue) < 60


def test_a_palette_with_transparency_becomes_rgba(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    path = tmp_path / "a.png"
    picture.save(path, transparency=0)
    opened = open_picture(path)
    assert opened.mode == "RGBA"
    assert np.asarray(opened).tolist() == [[[255, 0, 0, 0], [0, 0, 255, 255]]]


def test_rgb_with_a_transparent_colour_becomes_rgba(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2), (1, 2, 3)).save(path, transparency=(1, 2, 3))
    opened = open_picture(path)
    assert opened.mode == "RGBA"
    assert opened.getpixel((0, 0)) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("mode", "opened"),
    [("1", "L"), ("L", "L"), ("LA", "RGBA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA")],
)
def test_every_mode_becomes_rgb_rgba_or_grey(tmp_path: Path, mode: str, opened: str) -> None:
    path = tmp_path / "a.png"
    Image.new(mode, (8, 8)).save(path)
    assert open_picture(path).mode == opened


def test_a_png_of_another_program_holds_no_plan(tmp_path: Path) -> None:
    path = png_with_text(tmp_path / "a.png", "parameters", "a fox\nSteps: 20")
    assert code_of(lambda: read_plan(path)) == "plan_missing"


def test_a_jpeg_holds_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path)
    assert code_of(lambda: read_plan(path)) == "plan_missing"


def test_a_plan_of_a_newer_kizy_is_refused_as_such(tmp_path: Path, make_plan: PlanBuilder) -> None:
    values = {**make_plan().model_dump(mode="json"), "version": 2, "new_field": 1}
    path = png_with_text(tmp_path / "a.png", "kizy", json.dumps(values))
    with pytest.raises(PictureError, match="newer Kizy") as caught:
        read_plan(path)
    assert caught.value.code == "plan_invalid"


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "prompt"',
        "null",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": true}',
        "[" * 100_000,
        "1" * 5000,
        "NaN",
    ],
    ids=["broken", "null", "list", "empty", "bare", "bool", "deep", "long-number", "nan"],
)
def test_a_damaged_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = png_with_text(tmp_path / "a.png", "kizy", text)
    assert code_of(lambda: read_plan(path)) == "plan_invalid"


def test_a_text_chunk_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("kizy", " " * 80_000_000, zip=True)
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    assert code_of(lambda: read_plan(path)) in ("picture_unreadable", "plan_missing")


# What AUTOMATIC1111's web UI reads: the last line of `Name: value` pairs, values in quotes if
# they hold a comma, a colon or a line break.
PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parse_parameters(text: str) -> tuple[str, str, dict[str, str]]:
    """(prompt, negative prompt, facts)."""
    *lines, last = text.split("\n")
    before = "\n".join(lines)
    prompt, _, negative = before.partition("\nNegative prompt: ")
    pairs = PAIR.findall(last)
    return prompt, negative, {k: json.loads(v) if v[:1] == '"' else v for k, v in pairs}


def test_the_parameters_are_read_as_the_web_ui_reads_them(make_plan: PlanBuilder) -> None:
    model = ModelFile(name="my, model: v2", sha256="0123456789abcdef" * 4)
    fox = PlannedLora(file=ModelFile(name="fox"), model_weight=0.75, clip_weight=1)
    plan = make_plan(negative="blurry, bad", model=model, loras=(fox,), guidance=7.0, seed=42)
    prompt, negative, facts = parse_parameters(parameters_text(plan, (512, 256), "9.9"))
    assert prompt == "a red fox, 3d render <lora:fox:te=1:unet=0.75>"
    assert negative == "blurry, bad"
    assert facts == {
        "Steps": "20",
        "Sampler": "euler",
        "Schedule type": "simple",
        "CFG scale": "7",
        "Seed": "42",
        "Size": "512x256",
        "Model": "my, model: v2",
        "Model hash": "0123456789",
        "Version": "Kizy 9.9",
        "Hashes": '{"model": "0123456789"}',
    }


def test_the_parameters_name_the_strength_of_a_start_picture(make_plan: PlanBuilder) -> None:
    start = PlannedStart(picture=InputPicture(path="/a", sha256="ab"), strength=0.6)
    text = parameters_text(make_plan(start=start), (8, 8), "1")
    assert parse_parameters(text)[2]["Denoising strength"] == "0.6"


def test_the_parameters_stand_in_the_png(tmp_path: Path, make_plan: PlanBuilder) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(Image.new("RGB", (16, 8)), make_plan(), "9.9"))
    with Image.open(path) as picture:
        assert "Size: 16x8" in picture.info["parameters"]


def noisy_png(path: Path, **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path.read_bytes()


def test_a_plan_is_put_into_a_png_whose_pixels_stay(tmp_path: Path, make_plan: PlanBuilder) -> None:
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    after.write_bytes(png_with_plan(noisy_png(before), make_plan(prompt="füchse"), "1.0"))
    assert read_plan(after) == make_plan(prompt="füchse")
    assert open_picture(after).tobytes() == open_picture(before).tobytes()
    with Image.open(after) as picture:
        assert "Seed: 1, Size: 12x9" in picture.info["parameters"]


def test_what_another_program_wrote_stays_but_not_an_older_plan(
    tmp_path: Path, make_plan: PlanBuilder
) -> None:
    data = noisy_png(tmp_path / "before.png", prompt="{}", kizy="old", parameters="old")
    after = tmp_path / "after.png"
    after.write_bytes(png_with_plan(data, make_plan(), "1.0"))
    with Image.open(after) as picture:
        assert picture.info["prompt"] == "{}"
    assert read_plan(after) == make_plan()
    assert b"old" not in after.read_bytes()


def test_a_png_tells_its_size(tmp_path: Path) -> None:
    assert png_size(noisy_png(tmp_path / "a.png")) == (12, 9)


@pytest.mark.parametrize("kept", [0, 20, 40, 100, -1])
def test_a_plan_goes_into_no_damaged_png(kept: int, tmp_path: Path, make_plan: PlanBuilder) -> None:
    data = noisy_png(tmp_path / "a.png")[:kept]
    assert code_of(lambda: png_with_plan(data, make_plan(), "1")) == "picture_unreadable"


def test_a_plan_goes_into_no_png_with_a_wrong_checksum(
    tmp_path: Path, make_plan: PlanBuilder
) -> None:
    data = bytearray(noisy_png(tmp_path / "a.png"))
    data[60] ^= 1
    assert code_of(lambda: png_with_plan(bytes(data), make_plan(), "1")) == "picture_unreadable"
