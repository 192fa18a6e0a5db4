from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.core.errors import PictureError
from kizy.core.picture_files import as_mask, open_picture, read_picture
from kizy.core.picture_reader import is_plain
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

DATA = Path(__file__).parents[2] / "data"
RED, BLUE = (220, 30, 30), (30, 30, 220)


def halves(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Red above, blue below."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (0, size[1] // 2, *size))
    return picture


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def colour(picture: Image.Image, x: int = 10, y: int = 10) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))[y, x].astype(int)


def is_near(picture: Image.Image, wanted: tuple[int, int, int], by: int = 12) -> bool:
    return bool(np.abs(colour(picture) - wanted).max() <= by)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(path: Path, *chunks: bytes, behind: bytes = b"") -> Path:
    """A whole PNG with more chunks before its pixels, and some behind them."""
    buffer = io.BytesIO()
    halves().save(buffer, "PNG")
    data = buffer.getvalue()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:-12] + behind + data[-12:])
    return path


def refused(path: Path) -> PictureError:
    with pytest.raises(PictureError) as caught:
        open_picture(path)
    return caught.value


def swapped_profile(size: int = 0) -> bytes:
    """An RGB profile in which red and blue are exchanged, filled up to a size."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">L", data, 128)[0]
    places = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    data[places[b"rXYZ"] : places[b"rXYZ"] + 4] = b"bXYZ"
    data[places[b"bXYZ"] : places[b"bXYZ"] + 4] = b"rXYZ"
    data += bytes(max(0, size - len(data)))
    data[:4] = struct.pack(">L", len(data))
    return bytes(data)


@pytest.mark.parametrize(
    "ending", ["png", "jpg", "webp", "bmp", "tif", "gif", "avif", "jp2", "jfif", "apng"]
)
def test_what_programs_save_as_pictures_is_opened(tmp_path: Path, ending: str) -> None:
    picture = open_picture(saved(tmp_path / f"a.{ending}", halves()))
    assert (picture.mode, picture.size) == ("RGB", (64, 48))
    assert is_near(picture, RED)


def test_a_photo_of_a_phone_is_opened() -> None:
    assert open_picture(DATA / "photo.heic").size == (96, 72)


def test_a_picture_counts_by_its_content_not_its_name(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.webp", lossless=True)
    (tmp_path / "a.webp").rename(tmp_path / "a.png")
    assert is_near(open_picture(tmp_path / "a.png"), RED, 2)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_opened_and_told(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (40, 40), name) for name in ("red", "lime")]
    path = saved(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:])
    found = read_picture(path)
    assert is_near(found.picture, (255, 0, 0))
    assert found.note == "is animated: its first frame is used"


def test_two_photos_in_one_file_count_as_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    halves().save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    found = read_picture(path)
    assert is_near(found.picture, RED)
    assert found.note is None


def test_cie_lab_is_opened_in_its_colours(tmp_path: Path) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(halves(), srgb, lab, outputMode="LAB")
    assert converted is not None
    assert is_near(open_picture(saved(tmp_path / "a.tif", converted)), RED, 8)


@pytest.mark.parametrize(("whole", "half"), [(1.0, 0.5), (255.0, 127.5), (65535.0, 32767.5)])
def test_floats_of_every_usual_range_become_greys(
    tmp_path: Path, whole: float, half: float
) -> None:
    values = np.full((8, 8), half, np.float32)
    values[0] = whole
    picture = open_picture(saved(tmp_path / "a.tif", Image.fromarray(values)))
    assert np.asarray(picture)[0, 0] == 255
    assert np.asarray(picture)[4, 4] in (127, 128)


def test_a_transparent_shade_of_16_bits_stays_transparent(tmp_path: Path) -> None:
    ihdr = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    row = zlib.compress(b"\x00" + struct.pack(">HH", 0, 65535))
    parts = [(b"IHDR", ihdr), (b"tRNS", struct.pack(">H", 0)), (b"IDAT", row), (b"IEND", b"")]
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert np.asarray(open_picture(path))[0, :, 3].tolist() == [0, 255]


def test_a_colour_profile_is_followed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", halves(), icc_profile=swapped_profile())
    assert is_near(open_picture(path), BLUE)
    assert not is_plain(path)


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    path = saved(tmp_path / "a.png", noise, icc_profile=profile)
    assert np.array_equal(np.asarray(open_picture(path)), np.asarray(noise))
    assert is_plain(path)


BIG = b"x" * 3_000_000
LATIN = b"Comment\0\0" + zlib.compress(BIG)
PACKED = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(BIG)
PLAIN = b"workflow\0\0\0\0\0" + BIG


@pytest.mark.parametrize(
    ("kind", "data"),
    [(b"zTXt", LATIN), (b"iTXt", PACKED), (b"iTXt", PLAIN), (b"tEXt", b"a\0" + BIG)],
    ids=["zTXt", "iTXt-packed", "iTXt-plain", "tEXt"],
)
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_long_texts_is_a_whole_picture(
    tmp_path: Path, kind: bytes, data: bytes, behind: bool
) -> None:
    text = chunk(kind, data)
    path = png_with(tmp_path / "a.png", *([] if behind else [text]), behind=text if behind else b"")
    assert np.array_equal(np.asarray(open_picture(path)), np.asarray(halves()))


def test_texts_of_more_than_pillow_reads_in_all_are_passed_over(tmp_path: Path) -> None:
    text = chunk(b"tEXt", b"a\0" + b"x" * 7_000_000)
    path = png_with(tmp_path / "a.png", *([text] * 10))
    assert open_picture(path).size == (64, 48)
    assert not is_plain(path)


def test_a_bomb_in_a_text_is_never_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 80_000_000, zip=True)
    path = saved(tmp_path / "a.png", halves(), pnginfo=info)
    unpacked: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self) -> None:
            self._real = real()

        def decompress(self, data: bytes, most: int = 0) -> bytes:
            found = self._real.decompress(data, most)
            unpacked.append(len(found))
            return found

        @property
        def unconsumed_tail(self) -> bytes:
            return self._real.unconsumed_tail

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    assert open_picture(path).size == (64, 48)
    assert max(unpacked) <= 1 << 20


def test_a_large_colour_profile_is_followed(tmp_path: Path) -> None:
    profile = zlib.compress(swapped_profile(3_000_000))
    path = png_with(tmp_path / "a.png", chunk(b"iCCP", b"big\0\0" + profile))
    assert is_near(open_picture(path), BLUE)


def test_a_profile_beyond_all_measure_is_passed_over(tmp_path: Path) -> None:
    profile = zlib.compress(swapped_profile(40_000_000))
    path = png_with(tmp_path / "a.png", chunk(b"iCCP", b"big\0\0" + profile))
    assert is_near(open_picture(path), RED, 0)


def test_a_damaged_picture_with_a_long_text_is_still_refused(tmp_path: Path) -> None:
    path = png_with(tmp_path / "a.png", chunk(b"zTXt", LATIN))
    path.write_bytes(path.read_bytes()[:-40])
    assert "cut short" in refused(path).message


def cut(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        path = saved(folder / f"a.{ending}", Image.fromarray(noise))
        path.write_bytes(path.read_bytes()[:-3000])
        return path

    return make


def holding(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "a.png"
        path.write_bytes(content)
        return path

    return make


def broken_inside(folder: Path) -> Path:
    path = saved(folder / "a.png", halves())
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "says", "advises"),
    [
        (cut("png"), "is cut short", "download it again"),
        (cut("jpg"), "is cut short", "download it again"),
        (cut("webp"), "is cut short", "download it again"),
        (cut("bmp"), "is cut short", "download it again"),
        (cut("avif"), "is cut short", "download it again"),
        (holding(b""), "is empty", "download it again"),
        (holding(bytes(5000)), "nothing but zeros", "download it again"),
        (broken_inside, "is damaged", "another copy"),
        (holding(b"<!DOCTYPE html><html><body>Sign in</body>"), "web page", "browser"),
        (holding(b'\n<html lang="en"><head>'), "web page", "browser"),
        (holding(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "SVG", "as PNG"),
        (holding(b"just words"), "is text", "PNG, JPEG"),
        (holding(b"\x80\x02}q\x00(X\x05" + bytes(50)), "pickle", "models folder"),
        (holding(b"PK\x03\x04" + bytes(50)), "zip archive", "Unpack"),
        (holding(b"8BPS" + bytes(50)), "Photoshop", "as PNG"),
        (holding(b"\0\0\0\x18ftypmp42" + bytes(50)), "video", "frame"),
        (holding(struct.pack("<Q", 40) + b'{"a":{"dtype":"F16"'), "safetensors", "models folder"),
        (holding(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS", "git lfs pull"),
    ],
)
def test_what_is_no_picture_is_told_with_what_helps(
    tmp_path: Path, make: Callable[[Path], Path], says: str, advises: str
) -> None:
    error = refused(make(tmp_path))
    assert error.code == "picture_unreadable"
    assert says in error.message
    assert advises in error.fix
    assert ("again" in error.fix) == (advises == "download it again")


def test_a_picture_that_is_too_large_is_told_with_its_limit(tmp_path: Path) -> None:
    ihdr = struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b""))
    error = refused(path)
    assert error.code == "picture_too_large"
    assert "9000 x 9000" in error.message
    assert "smaller" in error.fix


def with_hole(ground: Image.Image) -> Image.Image:
    """A picture with a transparent disc in its middle."""
    alpha = Image.new("L", ground.size, 255)
    ImageDraw.Draw(alpha).ellipse((20, 12, 44, 36), fill=0)
    picture = ground.convert("RGBA")
    picture.putalpha(alpha)
    return picture


def test_a_grey_mask_with_an_opaque_alpha_channel_counts_by_its_grey() -> None:
    mask = Image.new("RGBA", (64, 48), (0, 0, 0, 255))
    mask.paste((255, 255, 255, 255), (0, 0, 32, 48))
    marked = np.asarray(as_mask(mask))
    assert marked[10, 10] == 255
    assert marked[10, 50] == 0


def test_white_on_a_transparent_layer_marks_what_is_white() -> None:
    mask = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 32, 48))
    marked = np.asarray(as_mask(mask))
    assert marked[10, 10] == 255
    assert marked[10, 50] == 0


def test_a_transparent_hole_in_a_picture_is_what_is_marked() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    marked = np.asarray(as_mask(with_hole(Image.fromarray(noise))))
    assert marked[24, 32] == 255
    assert marked[2, 2] == 0
