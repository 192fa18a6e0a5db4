"""What a look through folders leaves out, so that it can be told: folders too deep, dead links."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

MAX_DEPTH = 16
"""Folders within folders that are looked through: a link may lead to the root of a disk."""


@dataclass
class PassedOver:
    """`deep`: folders below the last level; `dead`: links that lead nowhere."""

    deep: list[Path] = field(default_factory=list)
    dead: list[Path] = field(default_factory=list)

    def see_link(self, path: Path) -> None:
        """Remember a link if nothing is where it leads."""
        try:
            if stat.S_ISLNK(path.lstat().st_mode) and not path.exists():
                self.dead.append(path)
        except OSError:
            # A loop of links: nobody gets to its end.
            self.dead.append(path)

    @property
    def notes(self) -> tuple[str, ...]:
        """In plain words, with how many and the first of them."""
        told = []
        if self.deep:
            which = _how_many(self.deep, f"folder deeper than {MAX_DEPTH} levels was",
                              f"folders deeper than {MAX_DEPTH} levels were")  # fmt: skip
            told.append(f"{which} not looked through ({_first(self.deep)}).")
        if self.dead:
            which = _how_many(self.dead, "link leads", "links lead")
            told.append(f"{which} to nothing that is there ({_first(self.dead)}).")
        return tuple(told)


def identity(about: os.stat_result) -> tuple[int, int] | None:
    """What tells a file or folder from all others; None where the system has nothing."""
    return (about.st_dev, about.st_ino) if about.st_ino else None


def _how_many(paths: list[Path], one: str, many: str) -> str:
    return f"{len(paths):,} {one if len(paths) == 1 else many}"


def _first(paths: list[Path]) -> str:
    shown = os.fsencode(min(paths)).decode("utf-8", "replace")
    return shown if len(paths) == 1 else f"the first: {shown}"
