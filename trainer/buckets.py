"""Buckets: the few sizes that pictures of all shapes are brought to, so that batches can be made.

Each is as large as training at `resolution` allows: both sides are multiples of `multiple`
and the area is at most `resolution` squared.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import isqrt, log

MOST_STRETCHED = 2
"""No side is longer than so many times the resolution, or shorter than that part of it."""


@lru_cache(maxsize=64)
def bucket_sizes(resolution: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """All (width, height) in pixels, from tall to wide.

    Raises ValueError if `resolution` is smaller than `multiple`.
    """
    if not 0 < multiple <= resolution:
        raise ValueError(f"no bucket of {resolution} in multiples of {multiple}")
    area = resolution * resolution
    least = max(multiple, -(-resolution // MOST_STRETCHED) // multiple * multiple)
    square = resolution // multiple * multiple
    found = {(square, square)}
    for side in range(least, resolution * MOST_STRETCHED + 1, multiple):
        other = min(area // side, resolution * MOST_STRETCHED) // multiple * multiple
        if other >= least:
            found |= {(side, other), (other, side)}
    return tuple(sorted(found, key=lambda size: (size[0] / size[1], size)))


def assign(
    width: int, height: int, resolution: int, multiple: int, *, enlarge: bool = False
) -> tuple[int, int]:
    """The bucket of a picture: (width, height) in pixels.

    The one whose shape is nearest; of equally near ones the largest. A picture that would have
    to be enlarged to fill it gets a smaller one, unless `enlarge` is set; only a side below
    `multiple` is always enlarged. Whoever fills a bucket scales the picture to cover it and
    cuts off what hangs over.
    """
    best = _nearest(bucket_sizes(resolution, multiple), width / height)
    if enlarge or (best[0] <= width and best[1] <= height):
        return best
    for smaller in range(min(resolution, isqrt(width * height)), multiple - 1, -multiple):
        covered = [s for s in bucket_sizes(smaller, multiple) if s[0] <= width and s[1] <= height]
        if covered:
            return _nearest(covered, width / height)
    return _floor(width, multiple), _floor(height, multiple)


def _nearest(sizes: Iterable[tuple[int, int]], shape: float) -> tuple[int, int]:
    def distance(size: tuple[int, int]) -> tuple[float, int]:
        return round(abs(log(size[0] / size[1]) - log(shape)), 9), -size[0] * size[1]

    return min(sizes, key=distance)


def _floor(side: int, multiple: int) -> int:
    return max(multiple, side // multiple * multiple)
