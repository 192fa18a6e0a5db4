"""Pictures in and out: opened with limits, saved as PNG with their Plan inside.

A PNG of Kizy has two text chunks: `kizy`, the Plan as JSON, and `parameters`, the same facts in
the form that AUTOMATIC1111's web UI writes and Civitai reads.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from pydantic import ValidationError

from .errors import PictureError, UnknownNameError
from .plan import PLAN_VERSION, Plan

MAX_PIXELS = 64_000_000
MAX_BYTES = 256_000_000
MASK_WHITE = 128
"""From this grey on, a mask counts as white."""

FORMATS = ("PNG", "JPEG", "WEBP")
PLAN_KEY = "kizy"
PARAMETERS_KEY = "parameters"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_OURS = (PLAN_KEY.encode(), PARAMETERS_KEY.encode())


def open_picture(path: Path) -> Image.Image:
    """The picture, decoded and turned as its EXIF says; mode RGB, RGBA or L.

    Size limits (64 megapixels, 256 MB) hold before anything is decoded. Raises PictureError
    `picture_unreadable` or `picture_too_large`, UnknownNameError `file_missing`.
    """
    with _open(path) as picture:
        try:
            picture.load()
            turned = ImageOps.exif_transpose(picture)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise _unreadable(path) from error
    if turned.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        # 16-bit greys: keep the upper 8 bits, which Pillow's own conversion would clip away.
        turned = turned.convert("I").point(lambda value: value / 256).convert("L")
    if turned.mode in ("LA", "PA", "La", "RGBa") or "transparency" in turned.info:
        return turned.convert("RGBA")
    return turned if turned.mode in ("RGB", "RGBA", "L") else turned.convert("RGB")


def as_mask(picture: Image.Image) -> Image.Image:
    """A mask as grey (mode L): white marks, black and what is transparent does not."""
    if picture.mode == "RGBA":
        ground = Image.new("RGBA", picture.size, "black")
        ground.alpha_composite(picture)
        picture = ground
    return picture.convert("L")


def read_plan(path: Path) -> Plan:
    """The Plan inside a PNG.

    Raises PictureError: `plan_missing`, `plan_invalid` or, for a file that is no picture,
    `picture_unreadable`; UnknownNameError `file_missing`.
    """
    with _open(path) as picture:
        text = picture.info.get(PLAN_KEY)
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
    kept = [chunk for chunk in _chunks(data) if chunk[0] not in _TEXTS or _key(chunk) not in _OURS]
    texts = (
        (PLAN_KEY, plan.model_dump_json()),
        (PARAMETERS_KEY, parameters_text(plan, png_size(data), version)),
    )
    added = [(b"iTXt", key.encode() + bytes(5) + text.encode()) for key, text in texts]
    return _SIGNATURE + b"".join(_packed(*chunk) for chunk in (kept[0], *added, *kept[1:]))


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG file. Raises PictureError `picture_unreadable`."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise PictureError("picture_unreadable", "What came back is no PNG picture.")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a PNG file, checksums checked, up to its end."""
    png_size(data)
    position = len(_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        end = position + 8 + length
        chunk = data[position + 4 : end]
        if len(chunk) != length + 4 or _checksum(chunk) != data[end : end + 4]:
            break
        yield chunk[:4], chunk[4:]
        if chunk[:4] == b"IEND":
            return
        position += 12 + length
    raise PictureError("picture_unreadable", "What came back is a damaged PNG picture.")


def _key(chunk: tuple[bytes, bytes]) -> bytes:
    return chunk[1].partition(b"\0")[0]


def _packed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + _checksum(kind + content)


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def parameters_text(plan: Plan, size: tuple[int, int], version: str) -> str:
    """The generation parameters as AUTOMATIC1111's web UI writes them."""
    tags = [f"<lora:{lora.file.name}:{lora.model_weight:g}>" for lora in plan.loras]
    lines = [" ".join([plan.prompt, *tags])]
    if plan.negative:
        lines.append(f"Negative prompt: {plan.negative}")
    facts = {
        "Steps": plan.steps,
        "Sampler": plan.sampler,
        "Schedule type": plan.scheduler,
        "CFG scale": f"{plan.guidance:g}",
        "Seed": plan.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": plan.model.name,
    }
    if plan.model.sha256:
        # "AutoV2" of Civitai: the first ten digits of the file's sha256.
        facts["Model hash"] = plan.model.sha256[:10]
    if plan.start is not None:
        facts["Denoising strength"] = f"{plan.start.strength:g}"
    facts["Version"] = f"Kizy {version}"
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in facts.items()))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ',:\n"') else value


def _open(path: Path) -> Image.Image:
    if not _is_file(path):
        raise UnknownNameError("file_missing", f"There is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise PictureError("picture_too_large", f"{path.name} is over {MAX_BYTES // 10**6} MB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path) from error
    if picture.width * picture.height > MAX_PIXELS:
        size = (picture.width, picture.height)
        picture.close()
        raise _too_large(path, size)
    return picture


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A name that is too long for the system, or that holds a null byte.
        return False


def _unreadable(path: Path) -> PictureError:
    return PictureError("picture_unreadable", f"{path.name} is no picture, or it is damaged.")


def _too_large(path: Path, size: tuple[int, int] | None = None) -> PictureError:
    shown = f" ({size[0]} x {size[1]} pixels)" if size else ""
    limit = MAX_PIXELS // 10**6
    message = f"{path.name}{shown} has more than {limit} million pixels."
    return PictureError("picture_too_large", message)
