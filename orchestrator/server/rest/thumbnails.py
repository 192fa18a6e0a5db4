"""Small versions of finished pictures, made when they are first asked for."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal

from PIL import Image

from ....core.picture_files import open_picture

Side = Literal[64, 128, 256, 512]
"""Pixels of the longer side."""

MEDIA_TYPE = "image/webp"
QUALITY = 80
KEPT = 32_000_000
"""Bytes of thumbnails that are kept in memory; those that were not asked for longest go first."""

AT_ONCE = 2
"""Pictures that are decoded at one time: a large one takes hundreds of megabytes."""


class Thumbnails:
    """From any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self._size = 0
        self._made: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(AT_ONCE)

    def get(self, artifact_id: str, path: Path, side: Side) -> bytes:
        """A WebP of the picture at `path`. Raises PictureError, UnknownNameError `file_missing`."""
        key = (artifact_id, side)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        with self._turns:
            data = make(path, side)
        with self._lock:
            if key not in self._made:
                self._made[key] = data
                self._size += len(data)
            while self._size > self._most:
                _, gone = self._made.popitem(last=False)
                self._size -= len(gone)
        return data


def make(path: Path, side: int) -> bytes:
    """A WebP of at most `side` pixels a side; smaller pictures keep their size.

    Raises PictureError, UnknownNameError `file_missing`.
    """
    picture = open_picture(path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()
