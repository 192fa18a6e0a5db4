"""Pictures as they go into a message: small enough for every client, without what is inside."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from ....core.picture_files import open_picture

MAX_SIDE = 1024
"""Pixels: what models look at is no larger."""

MAX_MESSAGE = 660_000
"""Bytes of all pictures of a message: in base64 with its text it stays below 1 MiB, which is what
the official client takes."""

MAX_SHOWN = 4
"""Pictures of a message; of more, the rest are named."""

_LOSSLESS = 512 * 512
"""Pixels up to which a PNG is tried: above, it is slow to make and too large anyway."""

_HOPELESS = 2.5
"""So many times too large, only fewer pixels help."""

_SMALLER = (768, 512, 256)
_QUALITIES = (90, 80, 65)


def for_message(path: Path, most: int = MAX_MESSAGE) -> tuple[bytes, str]:
    """(file, media type) of the picture at most MAX_SIDE pixels wide and high, within `most` bytes.

    `most` is at least 100,000, which 256 pixels always fit into. The Plan and other text inside
    are left out: they name paths. PNG if that is small, else JPEG, or WebP for a picture with
    transparency. Raises PictureError, UnknownNameError `file_missing`.
    """
    with open_picture(path) as picture:
        largest = min(MAX_SIDE, max(picture.size))
        smaller = picture.copy()
        for side in (largest, *(side for side in _SMALLER if side < largest)):
            # thumbnail() keeps the shape, and begins from what is there already.
            smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
            found = _encoded(smaller, most)
            if found is not None:
                return found
    return _file(smaller, "WEBP", quality=40), "image/webp"


def _encoded(picture: Image.Image, most: int) -> tuple[bytes, str] | None:
    """The best file of the picture as it is that is small enough."""
    if picture.width * picture.height <= _LOSSLESS:
        data = _file(picture, "PNG", optimize=True)
        if len(data) <= most:
            return data, "image/png"
    kind, media_type = ("WEBP", "image/webp") if picture.mode == "RGBA" else ("JPEG", "image/jpeg")
    for quality in _QUALITIES:
        data = _file(picture, kind, quality=quality)
        if len(data) <= most:
            return data, media_type
        if len(data) > _HOPELESS * most:
            break
    return None


def _file(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    # A bare copy: Pillow would write the text chunks and EXIF of the original again.
    bare = picture.copy()
    bare.info = {}
    bare.save(buffer, kind, **options)
    return buffer.getvalue()
