"""Pictures that show the same twice: one of them teaches as much as both.

Two pictures are near duplicates if their perceptual hashes (imagehash's `phash`, 64 bits) are
close and their colours, seen small, are close as well: the hash alone takes red and yellow
things of one shape, or two faces of one emoji set, for the same. The limits were set on 870
emoji, where distinct drawings stay apart, and on photographs saved again, scaled, and slightly
brightened, turned or cropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

BITS = 8
"""Hashes may differ in so many of their 64 bits."""

COLOURS = 14.0
"""Root mean square difference of the small pictures, 0 to 255."""

_SMALL = 16
_SAME_SIZE = 1.1
"""Areas within this factor count as one size: then the sharper picture stays."""


@dataclass(frozen=True)
class Fingerprint:
    """`hash`, `mirrored`: 64 bits, of the picture and of its mirror image. `colours`: RGB of the
    picture at 16 x 16, float32. `area` in pixels, `sharpness`: variance of the Laplacian."""

    hash: int
    mirrored: int
    colours: np.ndarray
    area: int
    sharpness: float

    def better_than(self, other: Fingerprint) -> bool:
        """Whether of the two this one stays: the larger, of one size the sharper."""
        if max(self.area, other.area) <= _SAME_SIZE * min(self.area, other.area):
            return self.sharpness > other.sharpness
        return self.area > other.area


def fingerprint(picture: Image.Image, sharpness: float) -> Fingerprint:
    """Of a picture of mode RGB."""
    import imagehash

    small = picture.resize((256, 256), Image.Resampling.BOX, reducing_gap=2.0)
    colours = np.asarray(small.resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float32)
    return Fingerprint(
        hash=_number(imagehash.phash(small).hash),
        mirrored=_number(imagehash.phash(ImageOps.mirror(small)).hash),
        colours=colours,
        area=picture.width * picture.height,
        sharpness=sharpness,
    )


class Seen:
    """The fingerprints of the pictures that stay so far, by a number that the caller gives."""

    def __init__(self) -> None:
        self._prints: dict[int, Fingerprint] = {}

    def __getitem__(self, number: int) -> Fingerprint:
        return self._prints[number]

    def add(self, number: int, found: Fingerprint) -> None:
        self._prints[number] = found

    def remove(self, number: int) -> None:
        del self._prints[number]

    def same_as(self, found: Fingerprint) -> int | None:
        """The nearest duplicate among them."""
        return self._nearest(found.hash, found.colours)

    def mirror_of(self, found: Fingerprint) -> int | None:
        """The one that is a mirrored copy, if there is one."""
        return self._nearest(found.mirrored, found.colours[:, ::-1])

    def _nearest(self, wanted: int, colours: np.ndarray) -> int | None:
        best: tuple[float, int] | None = None
        for number, other in self._prints.items():
            if (other.hash ^ wanted).bit_count() <= BITS:
                distance = float(np.sqrt(np.square(other.colours - colours).mean()))
                if distance <= COLOURS and (best is None or distance < best[0]):
                    best = (distance, number)
        return best[1] if best else None


def _number(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big")
