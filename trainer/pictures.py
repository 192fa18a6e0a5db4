"""One picture as training needs it: RGB, or RGBA where a part is transparent, not too large."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.picture_reader import Bounds, Refused, read
from .archives import Unreadable
from .limits import Limits
from .signatures import in_short

_INVISIBLE = 8
"""Alpha, 0 to 255, up to which nothing can be seen."""


@dataclass(frozen=True)
class Prepared:
    """`picture`: mode RGB, or RGBA where a part of it is transparent. `note`: what was done."""

    picture: Image.Image
    note: str | None = None


def prepare(path: Path, limits: Limits) -> Prepared:
    """Open, check and bring it into the one form. Raises Unreadable, in words behind a name."""
    bounds = Bounds(
        limits.picture_pixels, limits.jpeg_pixels, limits.longest_side, limits.smallest_side
    )
    try:
        found = read(path, bounds)
    except Refused as error:
        raise Unreadable(f"{error}: {in_short(error.fix)}") from error
    if min(found.size) < limits.smallest_side:
        raise too_small(*found.size, limits)
    return Prepared(without_needless_alpha(found.picture), found.note)


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
