"""Pictures on their way to a server and back."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .....core.picture_files import as_mask, open_picture
from .....core.picture_reader import is_plain
from .....core.plan import Plan
from .....core.png_chunks import png_size
from .....imaging.blend import keep_outside, soft_mask

MAX_PREVIEW_PIXELS = 4_000_000
_PNG = b"\x89PNG"


@contextlib.contextmanager
def plain_picture(path: Path, *, mask: bool = False) -> Iterator[Path]:
    """The file, or a PNG copy of it where ComfyUI would read it otherwise than Kizy does.

    It takes an animation for several pictures, reads 16 bits, palettes and colour profiles in ways
    of its own, and some formats not at all. A mask is sent as the grey that Kizy sees. Raises
    PictureError, UnknownNameError `file_missing`.
    """
    if not mask and is_plain(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="kizy-") as folder:
        copy = Path(folder) / "picture.png"
        picture = open_picture(path)
        picture = as_mask(picture) if mask else picture
        (picture if picture.mode == "RGBA" else picture.convert("RGB")).save(copy)
        yield copy


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
