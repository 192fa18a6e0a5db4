"""Frames of a video: from evenly spaced places, the sharpest of a few at each.

Read with PyAV (FFmpeg). Only plain video files are opened: playlists and the like, which can
name further files or addresses, are not among the formats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..core.picture_reader import scaled_down
from .archives import Unreadable
from .limits import Limits, stop_if
from .sharpness import SIDE, measure

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf"
"""FFmpeg's names of the formats that may be opened."""

EVERY = 1.0
"""Seconds between two places in a short video; in a longer one they are further apart."""

_FEWEST = 4
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
"""Degrees counterclockwise, as FFmpeg's display matrix tells them."""

_TRIES = 3
_STEP = 2
"""At each place `_TRIES` frames are compared, each `_STEP` after the one before."""


@dataclass(frozen=True)
class Frame:
    """`seconds` from the start of the video; `picture` upright, mode RGB."""

    seconds: float
    picture: Image.Image


def frames(
    path: Path, limits: Limits, cancelled: Callable[[], bool], tell: Callable[[str], None]
) -> Iterator[Frame]:
    """The frames, one by one. `tell`: told what was left out. Raises Unreadable, CancelledError."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise Unreadable("is a video, which needs the package av (pip install av)") from error
    damage = (FFmpegError, OSError, ValueError, EOFError, MemoryError)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    reader = _Reader(limits, cancelled, tell, damage)
    try:
        with av.open(str(path.resolve()), options=options, metadata_errors="replace") as container:
            yield from reader.read(container)
    except damage as error:
        raise Unreadable("is a video that is damaged or of an unknown kind") from error


def clock(seconds: float) -> str:
    """ "1:05" or "1:02:03"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(frozen=True)
class _Reader:
    """`damage`: what reading raises on damaged files."""

    limits: Limits
    cancelled: Callable[[], bool]
    tell: Callable[[str], None]
    damage: tuple[type[BaseException], ...]

    def read(self, container: Any) -> Iterator[Frame]:
        if not container.streams.video:
            raise Unreadable("holds no moving picture")
        stream = container.streams.video[0]
        pixels, most = stream.width * stream.height, self.limits.picture_pixels
        if not pixels:
            raise Unreadable("holds no moving picture")
        if pixels > most:
            raise Unreadable(f"has more than {most // 1_000_000} million pixels")
        # A stream may change its size on the way.
        stream.codec_context.options = {"max_pixels": str(most)}
        stream.thread_type = "AUTO"
        duration = _duration(container, stream)
        if duration is None:
            yield from self._in_turn(container, stream)
        elif duration > self.limits.video_seconds:
            raise Unreadable(f"is longer than {self.limits.video_seconds / 3600:.0f} hours")
        else:
            yield from self._at_places(container, stream, duration)

    def _at_places(self, container: Any, stream: Any, duration: float) -> Iterator[Frame]:
        count = min(self.limits.video_frames, max(_FEWEST, round(duration / EVERY)))
        deadline = time.monotonic() + self.limits.video_work
        damaged = 0
        for number in range(count):
            stop_if(self.cancelled)
            target = duration * (number + 0.5) / count
            if time.monotonic() > deadline:
                self._took_too_long(target)
                break
            try:
                frame = self._sharpest_at(container, stream, target)
            except self.damage:
                damaged += 1
                continue
            if frame is not None:
                yield frame
        if damaged:
            self.tell(f"is damaged in {damaged} of {count} places")

    def _sharpest_at(self, container: Any, stream: Any, target: float) -> Frame | None:
        start = stream.start_time or 0
        container.seek(start + int(target / stream.time_base), stream=stream, backward=True)
        best: tuple[float, float, Any] | None = None
        passed = 0
        for decoded, frame in enumerate(container.decode(stream)):
            if decoded % 30 == 0:
                stop_if(self.cancelled)
            seconds = _seconds(frame, stream)
            if seconds < target and decoded < self.limits.frames_decoded:
                continue
            if passed % _STEP == 0:
                sharpness = _sharpness(frame)
                if best is None or sharpness > best[0]:
                    best = (sharpness, seconds, frame)
            passed += 1
            if passed >= _TRIES * _STEP:
                break
        return Frame(best[1], self._picture(best[2], stream)) if best is not None else None

    def _in_turn(self, container: Any, stream: Any) -> Iterator[Frame]:
        """Without a duration there is nothing to divide: from the start on."""
        deadline = time.monotonic() + self.limits.video_work
        wanted, count = 0.0, 0
        for decoded, frame in enumerate(container.decode(stream)):
            if decoded % 30 == 0:
                stop_if(self.cancelled)
            seconds = _seconds(frame, stream)
            if time.monotonic() > deadline:
                self._took_too_long(seconds)
                return
            if seconds >= wanted:
                yield Frame(seconds, self._picture(frame, stream))
                wanted, count = seconds + EVERY, count + 1
            if count == self.limits.video_frames:
                return

    def _picture(self, frame: Any, stream: Any) -> Image.Image:
        """Square pixels, upright, scaled down."""
        picture = frame.to_image()
        ratio = float(stream.sample_aspect_ratio or 1)
        if 0.2 < ratio < 5 and ratio != 1:
            picture = picture.resize((round(picture.width * ratio), picture.height))
        turn = _TURNS.get(round(frame.rotation / 90) * 90 % 360)
        picture = scaled_down(picture, self.limits.longest_side, self.limits.smallest_side)
        return picture.transpose(turn) if turn is not None else picture

    def _took_too_long(self, seconds: float) -> None:
        self.tell(f"takes too long to read: only what comes before {clock(seconds)} is used")


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        found = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        found = container.duration / 1_000_000
    else:
        return None
    return found if found > 0 else None


def _seconds(frame: Any, stream: Any) -> float:
    return float(((frame.pts or 0) - (stream.start_time or 0)) * stream.time_base)


def _sharpness(frame: Any) -> float:
    scale = min(1.0, SIDE / max(frame.width, frame.height))
    width, height = (max(16, int(side * scale)) for side in (frame.width, frame.height))
    grey = frame.reformat(width=width, height=height, format="gray").to_ndarray()
    return measure(Image.fromarray(grey)).variance
