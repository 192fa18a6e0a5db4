"""Whether folders have changed since they were looked through, without looking through them again.

A folder's own time changes when a file comes into it, goes or is renamed; not when a file that
stays is written to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TOO_NEW = 2_000_000_000
"""Nanoseconds: a folder that changed so shortly before it was read may have changed once more
without its time telling. Some file systems count in seconds."""


@dataclass(frozen=True)
class Folders:
    """`times`: folder -> when it changed last in ns, as it was read; None: it was not there."""

    times: Mapping[Path, int | None] = field(default_factory=dict)

    def changed(self) -> bool:
        """Whether any has another time now, or one that could not be relied on."""
        return any(_time_of(path) != then for path, then in self.times.items())


def reliable(mtime_ns: int) -> int:
    """The time of a folder that is about to be read; -1, which none has, if it is too new."""
    return mtime_ns if abs(time.time_ns() - mtime_ns) > TOO_NEW else -1


def _time_of(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
