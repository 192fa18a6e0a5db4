"""How much a data set may hold: every loop over what a person hands in ends at one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import CancelledError
from ..core.picture_reader import MAX_BYTES, MAX_PIXELS

Progress = Callable[[float, str], None]
"""Told how far it is, 0 to 1 and never backwards, and what is being done."""


@dataclass(frozen=True)
class Limits:
    """Sizes in pixels and bytes, times in seconds.

    `longest_side`: larger pictures are scaled down to it. `smallest_side`: smaller pictures are
    left out. `jpeg_pixels`: JPEGs may have more pixels, as they are scaled down while they are
    decoded. `entries`: of one folder or archive. `archive_bytes`: of all entries of an archive,
    unpacked. `archive_ratio`: unpacked to packed, for archives over `archive_ratio_from`.
    `video_work`: time spent on one video; `frames_decoded`: between two places that are shown.
    """

    longest_side: int = 2048
    smallest_side: int = 64
    pictures: int = 4000
    picture_bytes: int = MAX_BYTES
    picture_pixels: int = MAX_PIXELS
    jpeg_pixels: int = 178_000_000
    entries: int = 20_000
    archive_bytes: int = 64_000_000_000
    archive_ratio: int = 200
    archive_ratio_from: int = 1_000_000_000
    video_bytes: int = 8_000_000_000
    video_seconds: float = 4 * 3600.0
    video_work: float = 300.0
    video_frames: int = 40
    frames_decoded: int = 600
    caption_bytes: int = 64_000
    caption_letters: int = 2000


DEFAULT = Limits()


def no_progress(fraction: float, doing: str) -> None:
    """For those who do not listen."""


def never() -> bool:
    """For those who cannot cancel."""
    return False


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raises CancelledError `cancelled` if somebody said so."""
    if cancelled():
        raise CancelledError("cancelled", "Stopped while the pictures were prepared.")
