"""One picture as training needs it: checked by its header, upright, sRGB, 8 bit, not too large."""

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
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .archives import Unreadable
from .limits import Limits
from .signatures import HEAD, is_heif

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000")

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError,
           AttributeError, AssertionError, MemoryError, RuntimeError, struct.error, zlib.error,
           Image.DecompressionBombError)  # fmt: skip
"""What decoders raise on files that are damaged, or made to look so."""

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

_INVISIBLE = 8
"""Alpha, 0 to 255, up to which nothing can be seen."""


@dataclass(frozen=True)
class Prepared:
    """`picture`: mode RGB, or RGBA where a part of it is transparent. `note`: what was done."""

    picture: Image.Image
    note: str | None = None


def prepare(path: Path, limits: Limits) -> Prepared:
    """Open, check and bring it into the one form. Raises Unreadable, in words behind a name."""
    with _opened(path, limits) as picture:
        width, height = picture.size
        if min(width, height) < limits.smallest_side:
            raise too_small(width, height, limits)
        try:
            note = _note(picture)
            profile = picture.info.get("icc_profile")
            decoded = _decoded(picture, limits)
            # Only now: a PNG may tell its orientation behind its pixels.
            turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
            upright = _to_srgb(decoded, profile)
        except _BROKEN as error:
            raise Unreadable("is damaged or cut short") from error
    if turn is not None:
        upright = upright.transpose(turn)
    return Prepared(without_needless_alpha(upright), note)


def without_needless_alpha(picture: Image.Image) -> Image.Image:
    """RGBA only if something shows through. Raises Unreadable if nothing can be seen at all."""
    if picture.mode != "RGBA":
        return _bare(picture.convert("RGB"))
    alpha = np.asarray(picture.getchannel("A"))
    if int(alpha.max()) <= _INVISIBLE:
        raise Unreadable("is transparent all over")
    return _bare(picture if int(alpha.min()) < 255 else picture.convert("RGB"))


def too_small(width: int, height: int, limits: Limits) -> Unreadable:
    return Unreadable(f"is too small ({width} x {height}; {limits.smallest_side} is the least)")


def scaled_down(picture: Image.Image, longest_side: int, smallest_side: int = 1) -> Image.Image:
    """Not longer than `longest_side`; smaller pictures stay as they are.

    Very long ones stay longer, so that no side falls below `smallest_side`.
    """
    scale = max(longest_side / max(picture.size), smallest_side / min(picture.size))
    if scale >= 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


@contextlib.contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[Image.Image]:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = _heif(path, limits) if is_heif(head) else Image.open(path, formats=_formats())
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits.jpeg_pixels) from error
    except UnidentifiedImageError as error:
        raise Unreadable("is no picture, or is damaged") from error
    except _BROKEN as error:
        raise Unreadable("is damaged or cut short") from error
    with picture, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        most = limits.jpeg_pixels if picture.format in ("JPEG", "MPO") else limits.picture_pixels
        if picture.width * picture.height > most:
            raise _too_many_pixels(most)
        yield picture


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _too_many_pixels(most: int) -> Unreadable:
    return Unreadable(f"has more than {most // 1_000_000} million pixels")


def _heif(path: Path, limits: Limits) -> Image.Image:
    """A HEIC photo; libheif turns it upright by itself."""
    try:
        import pi_heif
    except ImportError as error:
        raise Unreadable("is a HEIC photo, which needs the extra `local`") from error
    found = pi_heif.open_heif(path, convert_hdr_to_8bit=True)
    width, height = found.size
    if width * height > limits.picture_pixels:
        raise _too_many_pixels(limits.picture_pixels)
    return found.to_pillow()


def _note(picture: Image.Image) -> str | None:
    if picture.format in ("MPO", "HEIF") or not getattr(picture, "is_animated", False):
        return None
    if picture.format == "TIFF":
        return "has several pages: the first is used"
    return "is animated: its first frame is used"


def _decoded(picture: Image.Image, limits: Limits) -> Image.Image:
    """Scaled down; mode L, RGB, RGBA, CMYK or LAB, 8 bits each."""
    if picture.format in ("JPEG", "MPO"):
        # Scaled by halves while it is decoded: of a large photo only what is needed is held.
        picture.draft(None, (limits.longest_side, limits.longest_side))
    picture.load()
    return scaled_down(_direct(picture), limits.longest_side, limits.smallest_side)


def _direct(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_deep(np.asarray(picture))
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "La", "RGBa"):
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode in ("L", "RGB", "RGBA", "CMYK", "LAB"):
        return picture
    return picture.convert("RGB")


def _from_deep(values: np.ndarray) -> Image.Image:
    """Greys of 16 or 32 bits, or floats from 0 to 1, as 8 bits; higher values are cut off."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0)
        scale = 255.0 if float(values.max(initial=0)) <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    return Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8), "L")


def _to_srgb(picture: Image.Image, profile: Any) -> Image.Image:
    """In sRGB, by its colour profile where it has one that fits; mode RGB or RGBA."""
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colour = picture.convert("RGB") if alpha is not None else picture
    converted = _by_profile(colour, profile) or _by_profile(colour, None)
    converted = converted or colour.convert("RGB")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _by_profile(picture: Image.Image, profile: Any) -> Image.Image | None:
    """By its own profile (bytes), or LAB by its definition; None where there is nothing to do."""
    try:
        from PIL import ImageCms
    except ImportError:
        return None
    try:
        if isinstance(profile, bytes) and profile:
            source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = str(source.profile.xcolor_space).strip()
            if space != {"L": "GRAY", "LAB": "Lab"}.get(picture.mode, picture.mode):
                return None
        elif picture.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        else:
            return None
        return ImageCms.profileToProfile(
            picture,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # A damaged profile: the numbers are taken for what most pictures are.
        return None


def _bare(picture: Image.Image) -> Image.Image:
    picture.info = {}
    return picture


def on_grey(picture: Image.Image) -> Image.Image:
    """Mode RGB; what is transparent becomes grey, on which black and white lines can be seen."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGBA", picture.size, (127, 127, 127, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB")
