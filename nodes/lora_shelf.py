"""The LoRAs that this ComfyUI lists, read once and kept: what the choice is made from."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import launch
from ..core.home import cache_folder, home

if TYPE_CHECKING:
    from ..catalog.index.lora_index import FileRecord, Index
    from ..catalog.index.scan import ScanProgress
    from ..catalog.search.search_index import Library

INDEX_FILE = "comfyui-catalog.sqlite"
"""Beside the command line's own: the two look through different folders."""
LEARNER = "nodes.learn"
FEW_TEXTS = 64
"""Texts whose meaning is worked out while somebody waits: one to three seconds."""


def silent(_progress: ScanProgress) -> None:
    """Who does not want to hear of the progress."""


@dataclass(frozen=True)
class Looked:
    """The library as it is now. `state` changes whenever a file does; `notices`: to be told."""

    library: Library
    state: str
    notices: tuple[str, ...] = ()


class LoraShelf:
    """From any thread. `folders`: where ComfyUI's LoRAs lie, asked for each time."""

    def __init__(
        self, folders: Callable[[], Sequence[Path]], *, index: Index | None = None
    ) -> None:
        self._folders, self._index = folders, index
        self._lock = threading.RLock()
        self._kept: Looked | None = None
        self._learner: subprocess.Popen[bytes] | None = None

    def look(self, progress: Callable[[ScanProgress], None] = silent) -> Looked:
        """Make the index agree with the folders, and read it where something changed.

        Raises StorageError `folder_not_writable` or `disk_full`.
        """
        from ..catalog.search.search_index import Library

        with self._lock:
            state = self._scan(progress)
            unknown, notices = self._learn()
            # Of the same files, what is unknown only becomes less: then there are more meanings.
            marked = f"{state}-{unknown}"
            if self._kept is None or self._kept.state != marked:
                index = self._opened()
                self._kept = Looked(Library.of(index.cards(), index.meanings()), marked)
            return replace(self._kept, state=state, notices=notices)

    def state(self) -> str:
        """A text that changes whenever a file is new, changed or gone."""
        with self._lock:
            return self._scan(silent)

    def files(self) -> Sequence[FileRecord]:
        """Every file, by path, also broken ones."""
        with self._lock:
            self._scan(silent)
            return self._opened().files()

    def folders(self) -> tuple[Path, ...]:
        """ComfyUI's folders of LoRAs; the first is where new ones go."""
        return tuple(self._folders())

    def _opened(self) -> Index:
        if self._index is None:
            from ..catalog.index.lora_index import Index

            home().mkdir(parents=True, exist_ok=True)
            self._index = Index(home() / INDEX_FILE)
        return self._index

    def _scan(self, progress: Callable[[ScanProgress], None]) -> str:
        from ..catalog.index.folders import LoraFolder

        index = self._opened()
        index.scan([LoraFolder(path, "comfyui") for path in self._folders()], progress=progress)
        digest = hashlib.sha256()
        for record in index.files():
            digest.update(f"{record.path!s}\0{record.size}\0{record.mtime_ns}\n".encode())
        return digest.hexdigest()[:16]

    def _learn(self) -> tuple[int, tuple[str, ...]]:
        """Few meanings at once, more in a process of their own.

        How many cards stay unknown by meaning, and what to say of them meanwhile.
        """
        from ..language import available

        index = self._opened()
        many = index.unfinished().meanings
        if not many or not available():
            return many, ()
        if many <= FEW_TEXTS:
            # A card has a few texts; what is left is learnt by the process.
            index.compute_meanings(limit=FEW_TEXTS)
            many = index.unfinished().meanings
        if not many:
            return 0, ()
        if self._learner is None or self._learner.poll() is not None:
            self._learner = _start(index.path)
        which = f"{many:,} of your LoRAs are" if many > 1 else "One of your LoRAs is"
        return many, (f"{which} known by words only so far; Kizy is learning what they mean.",)


def listed_name(path: Path, listed: Iterable[str]) -> str:
    """A file as ComfyUI's lists name it: by its path below one of the folders."""
    ends = (name for name in listed if path.as_posix().endswith("/" + name.replace("\\", "/")))
    return max(ends, key=len, default=path.name)


@lru_cache(maxsize=1)
def shelf() -> LoraShelf:
    """The LoRAs of this ComfyUI."""
    from . import _host

    return LoraShelf(lambda: _host.models_folders("loras"))


def _start(index: Path) -> subprocess.Popen[bytes]:
    """A process that works out what is missing in the index, and ends."""
    log = cache_folder() / "comfyui-learn.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return launch.start(
            LEARNER,
            [str(index)],
            interpreter=sys.executable,
            environment={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdout=file,
            stderr=file,
        )
