"""Pictures in and out: opened with limits, saved as PNG with their Plan inside.

A PNG of Kizy has two text chunks: `kizy`, the Plan as JSON, and `parameters`, the same facts in
the form that AUTOMATIC1111's web UI writes and Civitai reads.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, PngImagePlugin
from pydantic import ValidationError

from .errors import PictureError, UnknownNameError
from .parameters import parameters_text
from .picture_reader import MAX_BYTES, MAX_PIXELS, Bounds, Read, Refused, opened, read
from .plan import PLAN_VERSION, Plan
from .png_chunks import SIGNATURE, TEXTS, chunks, packed, png_size

MASK_WHITE = 128
"""From this grey on, a mask counts as white."""

_NEARLY_BLACK = 32
_PHOTO_SHARE = 0.25
"""A picture has more than this part of its pixels between black and white, a mask less."""

PLAN_KEY = "kizy"
PARAMETERS_KEY = "parameters"

_OURS = (PLAN_KEY.encode(), PARAMETERS_KEY.encode())


def open_picture(path: Path, name: str | None = None) -> Image.Image:
    """The picture, decoded, upright and in sRGB; mode RGB, RGBA or L, 8 bits.

    `name`: what the person calls it, if not by its file's name. Size limits (64 megapixels, 256 MB)
    hold before anything is decoded. Raises PictureError `picture_unreadable` or
    `picture_too_large`, UnknownNameError `file_missing`.
    """
    return read_picture(path, name).picture


def read_picture(path: Path, name: str | None = None) -> Read:
    """As `open_picture`, with what the reader has to say. Raises the same."""
    _require_file(path)
    try:
        return read(path, Bounds(MAX_PIXELS, MAX_PIXELS))
    except Refused as error:
        raise _error(error, name or path.name) from error


def as_mask(picture: Image.Image) -> Image.Image:
    """A mask as grey (mode L): white marks, black and what is transparent does not.

    Where a picture has a transparent part, and what is seen of it is neither white nor black but a
    picture, then the transparent part is what was marked, as mask editors and OpenAI have it.
    """
    if picture.mode == "RGBA":
        alpha = picture.getchannel("A")
        if is_see_through(picture) and _is_photo(picture, alpha):
            return ImageChops.invert(alpha)
        ground = Image.new("RGBA", picture.size, "black")
        ground.alpha_composite(picture)
        picture = ground
    return picture.convert("L")


def is_see_through(picture: Image.Image) -> bool:
    """Whether a picture of mode RGBA is transparent anywhere, and not only has an alpha channel."""
    return int(np.asarray(picture.getchannel("A")).min()) < 255


def _is_photo(picture: Image.Image, alpha: Image.Image) -> bool:
    """Whether a good part of what is seen has neither a mask's white nor its black."""
    grey = np.asarray(picture.convert("RGB").convert("L"))[np.asarray(alpha) >= 128]
    between = int(np.count_nonzero((grey > _NEARLY_BLACK) & (grey < 255 - _NEARLY_BLACK)))
    # One brush has one grey.
    return bool(between > grey.size * _PHOTO_SHARE and grey.std() > 8)


def read_plan(path: Path) -> Plan:
    """The Plan inside a PNG.

    Raises PictureError: `plan_missing`, `plan_invalid` or, for a file that is no picture,
    `picture_unreadable`; UnknownNameError `file_missing`.
    """
    _require_file(path)
    try:
        with opened(path, Bounds(MAX_PIXELS, MAX_PIXELS)) as found:
            text = found.picture.info.get(PLAN_KEY)
    except Refused as error:
        raise _error(error, path.name) from error
    if not isinstance(text, str):
        raise PictureError("plan_missing", f"{path.name} holds no Plan of Kizy.")
    try:
        values = json.loads(text)
        version = values.get("version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > PLAN_VERSION:
            raise PictureError("plan_invalid", f"{path.name} was drawn by a newer Kizy.")
        return Plan.model_validate(values)
    except (ValueError, ValidationError, RecursionError) as error:
        raise PictureError("plan_invalid", f"The Plan in {path.name} is damaged.") from error


def png_bytes(picture: Image.Image, plan: Plan, version: str) -> bytes:
    """The picture as PNG with its Plan; `version` is Kizy's, for the `parameters`."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(PLAN_KEY, plan.model_dump_json())
    info.add_itxt(PARAMETERS_KEY, parameters_text(plan, picture.size, version))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def png_with_plan(data: bytes, plan: Plan, version: str) -> bytes:
    """A PNG file with the Plan put in; its pixels are not encoded again.

    Text of other programs stays, but for older chunks of the same names. Raises PictureError
    `picture_unreadable` if the file is no whole PNG.
    """
    kept = [chunk for chunk in chunks(data) if chunk[0] not in TEXTS or _key(chunk) not in _OURS]
    texts = (
        (PLAN_KEY, plan.model_dump_json()),
        (PARAMETERS_KEY, parameters_text(plan, png_size(data), version)),
    )
    added = [(b"iTXt", key.encode() + bytes(5) + text.encode()) for key, text in texts]
    return SIGNATURE + b"".join(packed(*chunk) for chunk in (kept[0], *added, *kept[1:]))


def _key(chunk: tuple[bytes, bytes]) -> bytes:
    return chunk[1].partition(b"\0")[0]


def _require_file(path: Path) -> None:
    if not _is_file(path):
        raise UnknownNameError("file_missing", f"There is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise PictureError("picture_too_large", f"{path.name} is over {MAX_BYTES // 10**6} MB.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A name that is too long for the system, or that holds a null byte.
        return False


def _error(refused: Refused, name: str) -> PictureError:
    message = f"{name} {refused}."
    if refused.too_large:
        return PictureError("picture_too_large", message, fix=refused.fix)
    return PictureError("picture_unreadable", message, fix=refused.fix)
