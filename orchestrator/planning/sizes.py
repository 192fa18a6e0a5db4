"""Which size to draw at, and which size to save."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from ...catalog.families.family import Family
from ...core.errors import InputError, nearest
from ...core.request import MAX_SIDE, Enlarge

MAX_OUTPUT_SIDE = 8192
MIN_OUTPUT_SIDE = 16
MAX_AREA_FACTOR = 4.0
"""Pixels drawn at once, as a multiple of the family's native ones: above it shapes double."""

MIN_GIVEN_SIDE = 8
"""Least pixels along each side of a picture that is worked on as large as it is."""

MAX_RATIO = 8
"""Longest side against the shortest."""

SMALL = 0.4
"""Share of the family's native pixels below which pictures come out poorly."""

MAX_GROWTH = 8.0
"""The enlarger's largest factor."""

MAX_ALL_GROWTH = MAX_GROWTH**2
"""... where it works on its own result once more."""

MAX_DISTORTION = 0.03
"""Largest change of a picture's shape that goes unnoticed."""


@dataclass(frozen=True)
class Size:
    """Pixels of the draw stage, factor of all enlarging, pixels of the saved picture."""

    width: int
    height: int
    enlarge: float
    output_width: int
    output_height: int
    why: str


def plan_size(
    asked: str,
    family: Family,
    *,
    raw: bool,
    enlarge: Enlarge | Literal["auto"] | None,
    start_size: tuple[int, int] | None,
    exact: bool,
) -> Size:
    """Decide the sizes. `asked` is "auto", a word, or WIDTHxHEIGHT.

    `asked` is what is saved, unless `enlarge` makes it that many times larger; the same is drawn.
    `raw`, and None for `enlarge`: the family's own enlarging is left out. `exact`: the saved
    picture is as large as the start picture, to the pixel. Raises InputError `size_invalid`, also
    for a start picture that is too large or too narrow.
    """
    factor = 1.0 if raw or enlarge is None else family.enlarge or 1.0
    size = _plain_size(asked, family, factor, start_size, exact=exact, raw=raw)
    if not isinstance(enlarge, Enlarge):
        return size
    grown = larger(size, enlarge.factor)
    if exact and not raw and grown != size:
        grown = replace(grown, why=f"{grown.why}; what is outside it is scaled")
    return grown


def larger(size: Size, factor: float) -> Size:
    """The same drawn, and saved `factor` times as large. Raises InputError `size_invalid`."""
    if factor == 1:
        return size
    before = (size.output_width, size.output_height)
    output = (round(before[0] * factor), round(before[1] * factor))
    if max(output) > MAX_OUTPUT_SIDE:
        message = f"{output[0]}x{output[1]} is too large: {MAX_OUTPUT_SIDE} pixels is the limit."
        most = math.floor(10 * MAX_OUTPUT_SIDE / max(before)) / 10
        fix = f"{before[0]}x{before[1]} can be enlarged {most:g} times."
        raise InputError("size_invalid", message, fix=fix if most > 1 else None)
    growth = min(MAX_ALL_GROWTH, max(output[0] / size.width, output[1] / size.height))
    why = f"{factor:g} times {before[0]}x{before[1]}: {size.why}"
    return Size(size.width, size.height, max(growth, 1.0), *output, why)


def _plain_size(
    asked: str,
    family: Family,
    factor: float,
    start_size: tuple[int, int] | None,
    *,
    exact: bool,
    raw: bool,
) -> Size:
    """The sizes where what is drawn is enlarged `factor` times, if at all."""
    if start_size is not None and exact:
        _check_given(start_size)
    if start_size is not None:
        _check_ratio(*start_size)
    words = {str(word): size for word, size in family.sizes.items()}
    word = "square" if asked == "auto" else asked.lower()
    if asked == "auto" and start_size is not None:
        why = "the shape of the start picture"
        area = factor**2 * family.native_width * family.native_height
        wish = start_size if exact else _to_area(start_size, area)
        width, height = _draw_size(wish, family, enlarged=factor > 1, shrink=True, grow=exact)
    elif word in words:
        width, height = words[word]
        wish = (round(width * factor), round(height * factor))
        why = _native_why(family, factor) if asked == "auto" else f'you asked for "{asked}"'
    else:
        wish, why = parse_size(asked, family), "you asked for it"
        width, height = _draw_size(wish, family, enlarged=factor > 1, shrink=exact)
        if width * height < SMALL * family.native_width * family.native_height:
            best = f"{family.native_width}x{family.native_height}"
            why += f"; {family.name} draws best at about {best}"
    output = _output_size(wish, (width, height), factor, stretched=start_size is not None)
    if exact and start_size is not None and not raw:
        output, why = start_size, "as large as the picture under the mask"
        if asked != "auto":
            why += f", which is drawn at {width}x{height} as you asked for {asked}"
    elif output != wish:
        why = f"nearest to {wish[0]}x{wish[1]}: multiples of {family.multiple} are drawn"
    if start_size is not None and not exact:
        why += _told_of_start(start_size, (width, height), output, stretched=asked != "auto")
    growth = min(MAX_GROWTH, max(output[0] / width, output[1] / height))
    return Size(width, height, growth if factor > 1 and growth > 1 else 1.0, *output, why)


def _told_of_start(
    start: tuple[int, int], drawn: tuple[int, int], output: tuple[int, int], *, stretched: bool
) -> str:
    """What becomes of a start picture of another size or shape; empty if nothing does."""
    given = f"{start[0]}x{start[1]}"
    shape = start[0] * drawn[1] / (start[1] * drawn[0])
    if stretched and abs(math.log(shape)) > MAX_DISTORTION:
        return f"; the start picture, {given}, is stretched to that shape"
    if start[0] * start[1] > output[0] * output[1] * (1 + MAX_DISTORTION):
        return f"; the start picture, {given}, was larger"
    return ""


def kept_size(given: tuple[int, int], enlarge: Enlarge | Literal["auto"] | None) -> Size:
    """Of a picture that is worked on as it is: its own, larger only if that was asked for.

    Raises InputError `size_invalid`.
    """
    _check_given(given)
    size = Size(*given, 1.0, *given, "as large as the picture")
    return larger(size, enlarge.factor) if isinstance(enlarge, Enlarge) else size


def parse_size(text: str, family: Family) -> tuple[int, int]:
    """(width, height) of WIDTHxHEIGHT. Raises InputError `size_invalid`."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*[xX×*]\s*(\d{1,9})\s*", text)
    if found is None:
        known = nearest(text, family.sizes)
        raise InputError("size_invalid", f'"{text[:60]}" is no size. {known}'.strip())
    width, height = int(found[1]), int(found[2])
    for side in (width, height):
        if not MIN_OUTPUT_SIDE <= side <= MAX_OUTPUT_SIDE:
            message = (
                f"{width}x{height} is out of range: "
                f"each side must be {MIN_OUTPUT_SIDE} to {MAX_OUTPUT_SIDE} pixels."
            )
            raise InputError("size_invalid", message)
    _check_ratio(width, height)
    return width, height


def native_shape(size: tuple[int, int], family: Family) -> tuple[int, int]:
    """The size of that shape with about as many pixels as the family was trained on."""
    return _snapped(_to_area(size, family.native_width * family.native_height), family.multiple)


def _check_ratio(width: int, height: int) -> None:
    if max(width, height) > MAX_RATIO * min(width, height):
        message = (
            f"{width}x{height} is too narrow: a side may be {MAX_RATIO} times the other at most."
        )
        raise InputError("size_invalid", message)


def _check_given(size: tuple[int, int]) -> None:
    if MIN_GIVEN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        return
    message = (
        f"A picture of {size[0]}x{size[1]} cannot be worked on: "
        f"each side must be {MIN_GIVEN_SIDE} to {MAX_SIDE} pixels."
    )
    raise InputError("size_invalid", message, fix="Bring it into that range first.")


def _native_why(family: Family, factor: float) -> str:
    if factor == 1:
        return f"what {family.name} draws best"
    return f"{family.name} draws at {family.native_width}, enlarged {factor:g} times"


def _to_area(size: tuple[int, int], area: float) -> tuple[int, int]:
    """The same shape with about that many pixels."""
    scale = (area / (size[0] * size[1])) ** 0.5
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _draw_size(
    wish: tuple[int, int],
    family: Family,
    *,
    enlarged: bool,
    shrink: bool,
    grow: bool = False,
) -> tuple[int, int]:
    """What to draw for a wished saved size: that size, or its shape near the native size.

    An enlarged picture is drawn larger than native only when 8 times native would not suffice.
    `shrink`: what is too large is drawn smaller; otherwise it is refused. `grow`: what is smaller
    than native is drawn at the native area.
    """
    native = family.native_width * family.native_height
    if enlarged:
        wish = _to_area(wish, max(native, wish[0] * wish[1] / MAX_GROWTH**2))
    elif grow and wish[0] * wish[1] < native:
        wish = _to_area(wish, native)
    if shrink and wish[0] * wish[1] > MAX_AREA_FACTOR * native:
        wish = _to_area(wish, 0.9 * MAX_AREA_FACTOR * native)
    width, height = _snapped(wish, family.multiple)
    if width * height > MAX_AREA_FACTOR * native:
        side = int((MAX_AREA_FACTOR * native) ** 0.5 * (MAX_GROWTH if enlarged else 1))
        message = f"That is too large for {family.name}: at most about {side}x{side} pixels."
        raise InputError("size_invalid", message, fix=_smaller(wish, side))
    return width, height


def _smaller(wish: tuple[int, int], side: int) -> str | None:
    """How to come by a picture that is too large to be drawn: smaller, and enlarged."""
    for factor in (2, 4, 8):
        width, height = round(wish[0] / factor), round(wish[1] / factor)
        if width * height <= side**2:
            return f"Draw it smaller and enlarge that: --size {width}x{height} --enlarge {factor}"
    return None


def _output_size(
    wish: tuple[int, int], drawn: tuple[int, int], factor: float, *, stretched: bool
) -> tuple[int, int]:
    """The wish, if enlarging what is drawn to it keeps shapes within 3%; else the nearest.

    `stretched`: a start picture is brought to the drawn size, so bringing the result back to the
    wish gives things their own shapes again.
    """
    if factor == 1:
        return drawn
    across, down = wish[0] / drawn[0], wish[1] / drawn[1]
    if stretched or abs(across / down - 1) <= MAX_DISTORTION:
        return wish
    scale = (across * down) ** 0.5
    return round(drawn[0] * scale), round(drawn[1] * scale)


def _snapped(wish: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The sides in whole multiples whose shape is nearest to the wish's, then whose area is.

    A shape that is off by a tenth is as bad as an area that is off by two thirds.
    """
    area = wish[0] * wish[1]
    best, least = (multiple, multiple), math.inf
    for columns in range(1, int(2 * area**0.5 * MAX_RATIO**0.5 / multiple) + 2):
        width = columns * multiple
        exact = width * wish[1] / wish[0] / multiple
        for rows in {max(1, math.floor(exact)), max(1, math.ceil(exact))}:
            height = rows * multiple
            shape = abs(math.log(width * wish[1] / (height * wish[0])))
            cost = shape + 0.15 * abs(math.log(width * height / area))
            if cost < least:
                best, least = (width, height), cost
    return best
