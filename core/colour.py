"""Pictures in sRGB with 8 bits a channel, whatever they were saved as."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")

_SAME = 2
"""Of 255: a profile that changes no colour by more counts as sRGB."""
_GRID = tuple(range(0, 256, 17))
"""Values of a channel at which a profile is compared with sRGB."""


def with_8_bits(picture: Image.Image) -> Image.Image:
    """Mode L, RGB, RGBA, CMYK or LAB, of any decoded picture."""
    if picture.mode in _DEEP:
        return _from_deep(np.asarray(picture), picture.info.get("transparency"))
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "La", "RGBa"):
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode in ("L", "RGB", "RGBA", "CMYK", "LAB"):
        return picture
    return picture.convert("RGB")


def to_srgb(picture: Image.Image, profile: object) -> Image.Image:
    """In sRGB, by its colour profile (bytes) where it has one that fits; mode L, RGB or RGBA.

    `picture`: as `with_8_bits` gives it.
    """
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colour = picture.convert("RGB") if alpha is not None else picture
    transform = transform_of(colour.mode, profile) or transform_of(colour.mode, None)
    if transform is None:
        return picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGB")
    converted = _applied(colour, transform)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def transform_of(mode: str, profile: object) -> Any:
    """What brings colours of that mode to sRGB: by their profile (bytes), or LAB by its definition.

    None where there is nothing to do: no profile, one that is damaged or for other modes, or one
    that means the same as sRGB.
    """
    try:
        from PIL import ImageCms
    except ImportError:
        return None
    try:
        if isinstance(profile, bytes) and profile:
            source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = str(source.profile.xcolor_space).strip()
            if space != {"L": "GRAY", "LAB": "Lab"}.get(mode, mode):
                return None
        elif mode == "LAB":
            source = ImageCms.createProfile("LAB")
        else:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode in ("L", "RGB") and _changes_nothing(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # A damaged profile: the numbers are taken for what most pictures are.
        return None


def _changes_nothing(transform: Any, mode: str) -> bool:
    if mode == "L":
        before = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)[None]
        sample = Image.fromarray(before[..., 0])
    else:
        before = np.stack(np.meshgrid(_GRID, _GRID, _GRID), axis=-1).astype(np.uint8)
        before = before.reshape(1, -1, 3)
        sample = Image.fromarray(before)
    after = np.asarray(_applied(sample, transform))
    return int(np.abs(after.astype(np.int16) - before).max()) <= _SAME


def _applied(picture: Image.Image, transform: Any) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(picture, transform)
    if converted is None:
        raise ValueError("Nothing was converted.")
    return converted


def _from_deep(values: np.ndarray, transparent: object) -> Image.Image:
    """Greys of 16 or 32 bits, or floats, as 8 bits.

    Whole numbers count from 0 to 65535, floats from 0 to 1; where one is higher, the next range
    that holds all: 255 (floats), 65535, or up to the highest value.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)
    highest = float(values.max(initial=0))
    ranges = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    whole = next((most for most in ranges if highest <= most), highest)
    grey = np.clip(values * (255.0 / whole) + 0.5, 0, 255).astype(np.uint8)
    if isinstance(transparent, int):
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([grey, grey, grey, alpha]))
    return Image.fromarray(grey)
