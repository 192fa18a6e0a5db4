from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.trainer.archives import Unreadable
from kizy.trainer.limits import Limits
from kizy.trainer.pictures import prepare
from PIL import Image, ImageCms, PngImagePlugin

LIMITS = Limits()
DATA = Path(__file__).parents[2] / "data"


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def colour(picture: Image.Image, x: int = 10, y: int = 10) -> tuple[int, ...]:
    found = picture.getpixel((x, y))
    assert isinstance(found, tuple)
    return tuple(int(value) for value in found)


def near(found: tuple[int, ...], wanted: tuple[int, ...], by: int = 6) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def halves(size: tuple[int, int] = (100, 80)) -> Image.Image:
    """Red above, blue below."""
    picture = Image.new("RGB", size, (220, 30, 30))
    picture.paste((30, 30, 220), (0, size[1] // 2, *size))
    return picture


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b"")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff", "gif", "avif", "jp2"])
def test_all_usual_formats_come_out_as_rgb(tmp_path: Path, ending: str) -> None:
    found = prepare(saved(tmp_path / f"a.{ending}", halves()), LIMITS).picture
    assert (found.mode, found.size) == ("RGB", (100, 80))
    assert near(colour(found), (220, 30, 30), 12)


def test_a_heic_photo_is_read(tmp_path: Path) -> None:
    found = prepare(DATA / "photo.heic", LIMITS).picture
    assert found.size == (96, 72)
    assert near(colour(found), (200, 40, 40), 12)
    assert near(colour(found, 10, 60), (40, 40, 200), 12)


@pytest.mark.parametrize(
    ("orientation", "size", "place"),
    [(3, (100, 80), (10, 70)), (6, (80, 100), (70, 10)), (8, (80, 100), (10, 10))],
)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_pictures_are_turned_as_their_exif_says(
    tmp_path: Path, ending: str, orientation: int, size: tuple[int, int], place: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = prepare(saved(tmp_path / f"a.{ending}", halves(), exif=exif), LIMITS).picture
    assert found.size == size
    assert near(colour(found, *place), (220, 30, 30), 12)


def test_a_picture_of_16_bits_keeps_its_greys(tmp_path: Path) -> None:
    values = np.full((80, 100), 30_000, np.uint16)
    for name in ("a.png", "a.tiff"):
        found = prepare(saved(tmp_path / name, Image.fromarray(values)), LIMITS).picture
        assert near(colour(found), (117, 117, 117), 1)


def test_floats_from_0_to_1_become_greys(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.full((80, 100), 0.5, np.float32)))
    assert near(colour(prepare(path, LIMITS).picture), (128, 128, 128), 1)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (100, 80), (0, 255, 255, 0)), quality=95)
    red, green, blue = colour(prepare(path, LIMITS).picture)
    assert red > 200
    assert max(green, blue) < 60


def test_lab_becomes_rgb(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        halves(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    found = prepare(saved(tmp_path / "a.tiff", lab), LIMITS).picture
    assert near(colour(found), (220, 30, 30), 8)


def swapped_profile() -> bytes:
    """An RGB profile in which red and blue are exchanged: nobody can miss that it was used."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">L", data, 128)[0]
    places = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    data[places[b"rXYZ"] : places[b"rXYZ"] + 4] = b"bXYZ"
    data[places[b"bXYZ"] : places[b"bXYZ"] + 4] = b"rXYZ"
    return bytes(data)


def test_a_colour_profile_is_followed_to_srgb(tmp_path: Path) -> None:
    profile = swapped_profile()
    plain = prepare(saved(tmp_path / "a.png", halves(), icc_profile=profile), LIMITS).picture
    assert near(colour(plain), (30, 30, 220), 12)
    assert "icc_profile" not in plain.info
    see_through = halves().convert("RGBA")
    see_through.putalpha(128)
    found = prepare(saved(tmp_path / "b.png", see_through, icc_profile=profile), LIMITS).picture
    assert near(colour(found), (30, 30, 220, 128), 12)


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_a_damaged_colour_profile_is_passed_over(tmp_path: Path, profile: bytes) -> None:
    path = saved(tmp_path / "a.png", halves(), icc_profile=profile)
    assert colour(prepare(path, LIMITS).picture) == (220, 30, 30)


def test_a_palette_with_a_transparent_colour_keeps_it(tmp_path: Path) -> None:
    picture = halves().quantize(4)
    picture.info["transparency"] = picture.getpixel((10, 10))
    found = prepare(saved(tmp_path / "a.gif", picture), LIMITS).picture
    assert found.mode == "RGBA"
    assert colour(found)[3] == 0
    assert colour(found, 10, 70)[3] == 255


def test_alpha_is_kept_only_where_something_shows_through(tmp_path: Path) -> None:
    whole = halves().convert("RGBA")
    assert prepare(saved(tmp_path / "a.png", whole), LIMITS).picture.mode == "RGB"
    whole.putpixel((0, 0), (1, 2, 3, 0))
    assert prepare(saved(tmp_path / "b.png", whole), LIMITS).picture.mode == "RGBA"
    whole.putalpha(0)
    with pytest.raises(Unreadable, match="transparent"):
        prepare(saved(tmp_path / "c.png", whole), LIMITS)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_used_and_told(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (80, 80), colour) for colour in ("red", "lime", "blue")]
    path = saved(
        tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:], duration=50
    )
    found = prepare(path, LIMITS)
    assert near(colour(found.picture), (255, 0, 0), 12)
    assert found.note == "is animated: its first frame is used"


def test_of_several_pages_the_first_is_used_and_told(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (80, 80), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.tiff", pages[0], save_all=True, append_images=pages[1:])
    assert prepare(path, LIMITS).note == "has several pages: the first is used"
    assert prepare(saved(tmp_path / "b.tiff", pages[0]), LIMITS).note is None


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    path = saved(tmp_path / f"a.{ending}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(Unreadable, match=r"is cut short: copy or download it again|is damaged"):
        prepare(path, LIMITS)


def test_what_only_looks_like_a_picture_is_told(tmp_path: Path) -> None:
    for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"RIFF????WEBP"):
        path = tmp_path / "a"
        path.write_bytes(start + b"\xff" * 500)
        with pytest.raises(Unreadable):
            prepare(path, LIMITS)


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 1), (8001, 8000)])
def test_too_many_pixels_are_seen_in_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(Unreadable, match="million pixels"):
        prepare(path, LIMITS)


def test_a_bomb_in_a_text_chunk_is_passed_over(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 80_000_000, zip=True)
    buffer = io.BytesIO()
    halves().save(buffer, "PNG", pnginfo=info)
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 200_000
    assert near(colour(prepare(path, LIMITS).picture), (220, 30, 30))


def test_large_pictures_are_scaled_down_and_small_ones_never_up(tmp_path: Path) -> None:
    limits = Limits(longest_side=200)
    for name in ("a.jpg", "a.png"):
        path = saved(tmp_path / name, halves((900, 600)))
        assert prepare(path, limits).picture.size == (200, 133)
    assert prepare(saved(tmp_path / "b.png", halves()), limits).picture.size == (100, 80)


def test_a_very_long_picture_keeps_its_shorter_side(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (4000, 80)))
    limits = Limits(longest_side=200, smallest_side=64)
    assert prepare(path, limits).picture.size == (3200, 64)


def test_too_small_pictures_are_told_with_their_size(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="63 x 200; 64 is the least"):
        prepare(saved(tmp_path / "a.png", halves((63, 200))), LIMITS)
