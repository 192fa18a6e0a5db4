"""What was sent to ComfyUI's input folder for Kizy, and when it goes.

Below `input/kizy` lie folders with pictures to train on (the button of Kizy Train LoRA; named by 8
to 32 hex digits) and start pictures, masks and control maps of jobs (named by their sha256). Each
goes 30 days after it was last used; it is looked at once a day at most, when somebody uses the
pack's routes or trains. Whatever else lies there stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.picture_reader import ENDINGS

FOLDER = "kizy"
"""Below ComfyUI's input folder."""
KEPT = 30 * 86_400.0
"""Seconds from the last use on."""
PAUSE = 86_400.0
"""Seconds between two looks."""

PICTURES = (".zip", *ENDINGS)
SET = re.compile(r"[0-9a-f]{8,32}")
"""Names what is uploaded together."""
_CONTENT = re.compile(r"[0-9a-f]{64}(?:-mask)?\.\w{2,5}")
_HALF = re.compile(r"\.kizy\.\w+\.part")
"""What was arriving when ComfyUI ended."""

_looked: dict[Path, float] = {}
_lock = threading.Lock()


def used(paths: Iterable[Path], inputs: Path) -> None:
    """Uploads that are needed now are kept for another while. `inputs`: ComfyUI's folder."""
    ours = (inputs / FOLDER).resolve()
    for path in paths:
        place = path.resolve()
        if ours not in place.parents:
            continue
        # A set goes as one.
        top = ours / place.relative_to(ours).parts[0]
        with contextlib.suppress(OSError):
            os.utime(top)


def tidy_now_and_then(inputs: Path) -> None:
    """`tidy`, unless that was done today."""
    now = time.time()
    with _lock:
        if now - _looked.get(inputs, 0.0) < PAUSE:
            return
        _looked[inputs] = now
    tidy(inputs, now)


def tidy(inputs: Path, now: float) -> None:
    """Remove what nobody has used for long. What cannot be removed stays; nothing is raised."""
    for place in _listed(inputs / FOLDER):
        if place.is_symlink():
            continue
        with contextlib.suppress(OSError):
            if SET.fullmatch(place.name) and place.is_dir():
                _tidy_set(place, now)
            elif _CONTENT.fullmatch(place.name) and now - place.stat().st_mtime > KEPT:
                place.unlink()


def _tidy_set(folder: Path, now: float) -> None:
    files = list(_listed(folder))
    ours = [file for file in files if file.is_file() and _is_upload(file)]
    times = [folder.stat().st_mtime, *(file.stat().st_mtime for file in ours)]
    if now - max(times) <= KEPT:
        return
    for file in ours:
        file.unlink()
    if len(ours) == len(files):
        folder.rmdir()


def _is_upload(file: Path) -> bool:
    return file.suffix.lower() in PICTURES or _HALF.fullmatch(file.name) is not None


def _listed(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(folder.iterdir())
