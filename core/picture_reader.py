"""The one reader of pictures that come in: upright, sRGB, 8 bits, within limits.

Whatever takes a picture from outside (start pictures, masks, uploads, training) opens it here, so
that what is a picture in one place is a picture in all.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from .colour import to_srgb, transform_of, with_8_bits
from .picture_advice import why_unreadable
from .png_chunks import SIGNATURE, lightened

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000")
"""By Pillow's names; HEIC is read by libheif."""
HEIF = "HEIF"
ENDINGS = tuple(
    ".png .apng .jpg .jpeg .jfif .mpo .webp .gif .tif .tiff .bmp .avif .heic .heif .jp2".split()
)
"""How names of pictures end; what counts is their content."""

MAX_PIXELS = 64_000_000
MAX_BYTES = 256_000_000

BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError,
          AttributeError, AssertionError, MemoryError, RuntimeError, struct.error, zlib.error,
          Image.DecompressionBombError)  # fmt: skip
"""What decoders raise on files that are damaged, or made to look so."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what turns the picture upright (Exif 2.32, 4.6.4)."""


class Refused(Exception):  # noqa: N818 -- whoever calls makes an error of it
    """A file that is not opened. Its text follows the file's name; `fix`: a sentence of advice."""

    def __init__(self, why: str, fix: str, *, too_large: bool = False) -> None:
        super().__init__(why)
        self.fix, self.too_large = fix, too_large


@dataclass(frozen=True)
class Bounds:
    """What is decoded at most. `jpeg_pixels`: JPEGs may have more, if they are scaled down while
    they are decoded: to `longest_side`, but never below `smallest_side`, both in pixels.
    """

    pixels: int = MAX_PIXELS
    jpeg_pixels: int = MAX_PIXELS
    longest_side: int | None = None
    smallest_side: int = 1


@dataclass(frozen=True)
class Read:
    """`picture`: mode L, RGB or RGBA. `size`: as the header tells it, before it was turned or
    scaled. `format`: the file's, one of `FORMATS` or `HEIF`. `note`: what was left out, in words
    behind a name.
    """

    picture: Image.Image
    size: tuple[int, int]
    format: str
    note: str | None = None


@dataclass(frozen=True)
class Opened:
    """A picture whose header was read. `whole`: Pillow takes the file as it is; `profile`: its
    colours'.
    """

    picture: Image.Image
    whole: bool
    profile: object


def read(path: Path, bounds: Bounds) -> Read:
    """Open, check and decode. Raises Refused."""
    with opened(path, bounds) as found:
        picture = found.picture
        size, kind = picture.size, picture.format or HEIF
        try:
            note = _note(picture)
            decoded = _decoded(picture, bounds)
            # Only now: a PNG may tell its orientation behind its pixels.
            turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
            upright = to_srgb(decoded, found.profile)
        except BROKEN as error:
            raise _refused(path) from error
    if turn is not None:
        upright = upright.transpose(turn)
    elif upright is picture:
        # Not the file's own object, which is closed.
        upright = upright.copy()
    upright.info = {}
    return Read(upright, size, kind, note)


def is_plain(path: Path) -> bool:
    """Whether every program reads the file's pixels as Kizy does: 8 bits in sRGB, upright, a single
    picture, in PNG. Greys and JPEG are not: ComfyUI 0.33 reads them a shade apart (PyAV).
    """
    try:
        with opened(path, Bounds()) as found:
            picture = found.picture
            return (
                found.whole
                and picture.format == "PNG"
                and picture.mode in ("RGB", "RGBA")
                and "transparency" not in picture.info
                and picture.getexif().get(_ORIENTATION, 1) == 1
                and getattr(picture, "n_frames", 1) == 1
                and transform_of(picture.mode.removesuffix("A"), found.profile) is None
            )
    except (Refused, *BROKEN):
        # Whoever opens it says what is wrong with it.
        return False


@contextlib.contextmanager
def opened(path: Path, bounds: Bounds) -> Iterator[Opened]:
    """The picture with its header read and its size checked. Raises Refused."""
    profile: object = None
    whole = True
    try:
        with path.open("rb") as file:
            head = file.read(64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_heif(head):
                picture = _heif(path, bounds)
            else:
                light = lightened(path) if head.startswith(SIGNATURE) else None
                source = path if light is None else io.BytesIO(light.data)
                picture = Image.open(source, formats=_formats())
                if light is not None:
                    whole, profile = False, light.profile
    except Image.DecompressionBombError as error:
        raise too_many_pixels(bounds.jpeg_pixels) from error
    except BROKEN as error:
        raise _refused(path) from error
    with picture, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        most = bounds.jpeg_pixels if picture.format in ("JPEG", "MPO") else bounds.pixels
        if picture.width * picture.height > most:
            raise too_many_pixels(most, picture.size)
        yield Opened(picture, whole, profile or picture.info.get("icc_profile"))


def is_heif(head: bytes) -> bool:
    """Whether it is a photo as phones take them (HEIC), not AVIF; by its first 64 bytes."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head


def scaled_down(picture: Image.Image, longest_side: int, smallest_side: int = 1) -> Image.Image:
    """Not longer than `longest_side`; smaller pictures stay as they are.

    Very long ones stay longer, so that no side falls below `smallest_side`.
    """
    scale = max(longest_side / max(picture.size), smallest_side / min(picture.size))
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def too_many_pixels(most: int, size: tuple[int, int] | None = None) -> Refused:
    shown = f" ({size[0]} x {size[1]})" if size else ""
    limit = f"{most // 10**6} million pixels"
    fix = f"Make it smaller first: {limit} are the limit."
    return Refused(f"has more than {limit}{shown}", fix, too_large=True)


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _heif(path: Path, bounds: Bounds) -> Image.Image:
    """A HEIC photo; libheif turns it upright by itself."""
    try:
        import pi_heif
    except ImportError as error:
        fix = "Install it (python -m pip install pi-heif), or save the photo as JPEG or PNG."
        raise Refused("is a HEIC photo, which needs the package pi-heif", fix) from error
    found = pi_heif.open_heif(path, convert_hdr_to_8bit=True)
    if found.size[0] * found.size[1] > bounds.pixels:
        raise too_many_pixels(bounds.pixels, found.size)
    return found.to_pillow()


def _refused(path: Path) -> Refused:
    return Refused(*why_unreadable(path))


def _note(picture: Image.Image) -> str | None:
    if picture.format in ("MPO", HEIF) or not getattr(picture, "is_animated", False):
        return None
    if picture.format == "TIFF":
        return "has several pages: the first is used"
    return "is animated: its first frame is used"


def _decoded(picture: Image.Image, bounds: Bounds) -> Image.Image:
    """Scaled down; mode L, RGB, RGBA, CMYK or LAB, 8 bits each."""
    longest = bounds.longest_side
    if longest is not None and picture.format in ("JPEG", "MPO"):
        # Scaled by halves while it is decoded: of a large photo only what is needed is held.
        picture.draft(None, (longest, longest))
    picture.load()
    plain = with_8_bits(picture)
    return plain if longest is None else scaled_down(plain, longest, bounds.smallest_side)
