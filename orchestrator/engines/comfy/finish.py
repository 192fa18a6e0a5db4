"""Pictures on their way to a server and back."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from ....core.picture_files import FORMATS, open_picture, png_size
from ....core.plan import Plan
from ....imaging.blend import keep_outside, soft_mask

MAX_PREVIEW_PIXELS = 4_000_000
_PNG = b"\x89PNG"


@contextlib.contextmanager
def plain_picture(path: Path) -> Iterator[Path]:
    """The file, or a PNG copy of it where ComfyUI would read it otherwise than Kizy does.

    It takes an animation for several pictures, and 16 bits and palettes in ways of its own. Raises
    PictureError, UnknownNameError `file_missing`.
    """
    if _is_plain(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="kizy-") as folder:
        copy = Path(folder) / "picture.png"
        open_picture(path).save(copy)
        yield copy


def _is_plain(path: Path) -> bool:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
            plain = picture.mode in ("RGB", "RGBA", "L") and "transparency" not in picture.info
            return plain and not turned and getattr(picture, "n_frames", 1) == 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Whoever opens it says what is wrong with it.
        return False


def is_as_planned(data: bytes, plan: Plan) -> bool:
    """Whether a file is a PNG that can be saved as it is."""
    if plan.mask is not None or not data.startswith(_PNG):
        return False
    return png_size(data) == (plan.output_width, plan.output_height)


def finished(path: Path, plan: Plan) -> bytes:
    """The downloaded picture as the PNG to save: of the planned size, unchanged outside a mask.

    Raises PictureError `picture_unreadable` or `picture_too_large`.
    """
    size = (plan.output_width, plan.output_height)
    data = path.read_bytes()
    if is_as_planned(data, plan):
        return data
    picture = open_picture(path)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if plan.mask is not None and plan.start is not None:
        original = open_picture(Path(plan.start.picture.path))
        mask = soft_mask(
            open_picture(Path(plan.mask.picture.path)), original.size, plan.mask.feather
        )
        if original.size != size:
            original = original.resize(size, Image.Resampling.LANCZOS)
            mask = mask.resize(size, Image.Resampling.BILINEAR)
        picture = keep_outside(picture, original, mask)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def as_png(data: bytes) -> bytes | None:
    """A preview as PNG; None if it is no picture that can be shown."""
    if data.startswith(_PNG):
        return data
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP", "PNG")) as picture:
            if picture.width * picture.height > MAX_PREVIEW_PIXELS:
                return None
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "PNG", compress_level=1)
            return buffer.getvalue()
    except (UnidentifiedImageError, OSError, ValueError):
        return None
