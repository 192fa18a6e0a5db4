"""Looking through folders of LoRAs: which files are there, and what each is.

Nothing in a folder is fatal: what cannot be used is found with its health and plain words.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...core.errors import KizyError
from ..card import Card
from ..formats.lora_reader import Reader, Reading
from ..formats.published_facts import Facts
from ..formats.recognize import Verdict, made_for
from ..formats.safetensors_header import PICKLE_SUFFIXES
from ..formats.sidecars import read_sidecars, sidecar_names
from .folder_mtimes import Folders, reliable
from .folders import LoraFolder
from .loras import SUFFIX, what_it_is
from .passed_over import MAX_DEPTH, PassedOver, identity
from .records import broken_card, card_of_file, with_facts

Health = Literal[
    "ok", "damaged", "growing", "empty", "pickled", "no_lora", "unreadable", "dangling"
]  # fmt: skip

TRY_AGAIN: frozenset[Health] = frozenset(("damaged", "growing", "empty", "unreadable", "dangling"))
"""Healths that may change while size and time of change stay as they are."""

STILL_COPIED = 60.0
"""Seconds since its last change in which a file that is cut short may still be growing."""

WORKERS = 4
"""Threads that open files. Reading is quick and parsing holds the interpreter: more are slower."""
CHUNK = 32

_SUFFIXES = (SUFFIX, ".sft", *PICKLE_SUFFIXES)


@dataclass(frozen=True)
class Found:
    """A file and what tells whether it has changed. `sidecars`: names, sizes and times of theirs.

    `trouble`: why not even its size is known; then `size` and `mtime_ns` are 0.
    """

    path: Path
    root: Path
    size: int = 0
    mtime_ns: int = 0
    sidecars: tuple[str, ...] = ()
    stamp: str = ""
    trouble: Health | None = None


@dataclass(frozen=True)
class Looked:
    """A file that was opened. `card`: from the file alone; `said`: what its sidecars say."""

    found: Found
    health: Health
    card: Card
    reading: Reading | None = None
    said: Facts | None = None


@dataclass(frozen=True)
class ScanProgress:
    """`total` None: the files are still being counted."""

    done: int
    total: int | None
    folder: str = ""


@dataclass(frozen=True)
class ScanReport:
    """What a scan did. `found`: files there are; `read`: of these, opened now; `removed`: gone.

    `broken`: files that cannot be used; `growing`: of these, copied at this moment. `cancelled`: it
    was stopped; what was read is kept. `notes`: what the person should know, in plain words.
    `folders`: all that were looked through.
    """

    found: int = 0
    read: int = 0
    removed: int = 0
    broken: int = 0
    growing: int = 0
    cancelled: bool = False
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    folders: Folders = field(default_factory=Folders)


@dataclass
class Walk:
    """Finds the files below the folders; each file and each folder once, whatever links lead there.

    `notes` and `times` (folder -> when it changed last, see `watching`) fill while it walks; what
    was passed over is told at its end.
    """

    folders: Sequence[LoraFolder]
    notes: list[str] = field(default_factory=list)
    times: dict[Path, int | None] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Found]:
        self._seen: set[tuple[int, int]] = set()
        self._passed = PassedOver()
        for folder in self.folders:
            yield from self._below(folder.path, folder.path, 0)
        self.notes += self._passed.notes

    def _below(self, folder: Path, root: Path, depth: int) -> Iterator[Found]:
        entries = self._entries(folder, depth)
        names = {entry.name for entry in entries}
        inner: list[os.DirEntry[str]] = []
        # Real files before links to them.
        for entry in sorted(entries, key=lambda e: (_is_link(e), e.name)):
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(_SUFFIXES):
                found = self._file(entry, root, names)
                if found is not None:
                    yield found
                    continue
            if _is_folder(entry):
                inner.append(entry)
            elif _is_link(entry):
                self._passed.see_link(Path(entry.path))
        for entry in inner:
            if depth + 1 < MAX_DEPTH:
                yield from self._below(Path(entry.path), root, depth + 1)
            elif self._is_unseen(entry):
                self._passed.deep.append(Path(entry.path))

    def _entries(self, folder: Path, depth: int) -> list[os.DirEntry[str]]:
        try:
            about = folder.stat()
            if not self._is_new(about):
                return []
            self.times[folder] = reliable(about.st_mtime_ns)
            with os.scandir(folder) as entries:
                return list(entries)
        except FileNotFoundError:
            self.times[folder] = None
            return []
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self.notes.append(f"The folder {folder} cannot be read: {reason}.")
            return []

    def _file(self, entry: os.DirEntry[str], root: Path, names: set[str]) -> Found | None:
        """None if it is no file, or one that was found before."""
        path = Path(entry.path)
        try:
            about = entry.stat()
        except FileNotFoundError:
            return Found(path, root, trouble="dangling")
        except OSError:
            # A link that leads to itself, or no right to look behind it.
            return Found(path, root, trouble="dangling" if _is_link(entry) else "unreadable")
        if not stat.S_ISREG(about.st_mode) or not self._is_new(_with_id(entry, about)):
            return None
        sidecars = tuple(name for name in sidecar_names(entry.name) if name in names)
        stamp = _stamp(path.parent, sidecars) if sidecars else ""
        return Found(path, root, about.st_size, about.st_mtime_ns, sidecars, stamp)

    def _is_unseen(self, entry: os.DirEntry[str]) -> bool:
        try:
            return identity(Path(entry.path).stat()) not in self._seen
        except OSError:
            return True

    def _is_new(self, about: os.stat_result) -> bool:
        known = identity(about)
        if known is None:
            return True
        if known in self._seen:
            return False
        self._seen.add(known)
        return True


def look_at(files: Iterable[Found], cancelled: Callable[[], bool]) -> Iterator[Looked]:
    """Open the files, several at once, in any order. Ends early when `cancelled` says so."""
    reader = Reader()
    stop = threading.Event()

    def several(chunk: Sequence[Found]) -> list[Looked]:
        return [] if stop.is_set() else [look(file, reader) for file in chunk]

    waiting = list(files)
    chunks = [waiting[at : at + CHUNK] for at in range(0, len(waiting), CHUNK)]
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="kizy-scan") as pool:
        try:
            for looked in pool.map(several, chunks):
                yield from looked
                if cancelled():
                    return
        finally:
            stop.set()


def look(file: Found, reader: Reader) -> Looked:
    """What one file is. Never raises for what is wrong with it."""
    if file.trouble is not None:
        return _broken(file, file.trouble, _TROUBLES[file.trouble])
    if file.size == 0:
        return _broken(file, "empty", "It is empty: its download or copy never began.")
    try:
        reading = reader.read(file.path)
    except KizyError as error:
        return _broken(file, *_health(file, error))
    except (OSError, ValueError, MemoryError) as error:
        return _broken(file, "unreadable", f"It cannot be read ({type(error).__name__}).")
    if reading.what != "lora":
        words = what_it_is(reading)
        return _broken(file, "no_lora", f"It holds no LoRA: {words}", reading)
    said = None
    if file.sidecars:
        said = read_sidecars(file.path.parent, file.path.name, file.sidecars)
    return Looked(file, "ok", card_of_file(file.path, file.root, reading), reading, said)


@dataclass(frozen=True)
class Tensors:
    """What a LoRA's tensors leave open; see `Reading`."""

    refuted: frozenset[str] = frozenset()
    made_for: str | None = None
    doubts: frozenset[str] = frozenset()


def finished(
    card: Card, said: Facts | None, told: Facts | None, tensors: Tensors
) -> tuple[Card, str | None]:
    """The card with what the sidecars say, and over it what Civitai told Kizy; and the model that
    it was made for, in plain words, if Kizy has no such family.
    """
    card = with_facts(card, said, "sidecar", tensors.refuted)
    card = with_facts(card, told, "civitai", tensors.refuted)
    bases = [facts.base_model for facts in (told, said) if facts is not None and facts.base_model]
    verdict = Verdict(None, other=tensors.made_for, doubts=tensors.doubts)
    other = made_for(verdict, bases[:1])
    if other is not None and card.family is not None:
        card = card.model_copy(update={"family": None, "variant": None})
    return card, other


_TROUBLES: Mapping[Health, str] = {
    "dangling": "It is a link to a file that is not there.",
    "unreadable": "Nobody but its owner may read it: change its permissions.",
}


def _broken(file: Found, health: Health, problem: str, reading: Reading | None = None) -> Looked:
    return Looked(file, health, broken_card(file.path, file.root, problem, file.size), reading)


def _health(file: Found, error: KizyError) -> tuple[Health, str]:
    if error.code == "file_missing":
        return "dangling", "It is gone."
    if error.code == "model_file_pickled":
        return "pickled", f"{error.message} {error.fix}"
    try:
        with file.path.open("rb") as opened:
            start = opened.read(512)
    except PermissionError:
        return "unreadable", _TROUBLES["unreadable"]
    except OSError as trouble:
        return "unreadable", f"It cannot be read: {trouble.strerror or 'the disk has a fault'}."
    if "web page" in error.message:
        return "damaged", "It is a web page, not a model: download it again, signed in."
    incomplete = "cut short" in error.message or not start.strip(b"\0")
    if incomplete and time.time() - file.mtime_ns / 1e9 < STILL_COPIED:
        return "growing", "It is not whole yet: it seems to be still on its way."
    return "damaged", f"{error.message} {error.fix}"


def _with_id(entry: os.DirEntry[str], about: os.stat_result) -> os.stat_result:
    """On Windows a folder's entry does not know which file it is."""
    return about if about.st_ino or os.name != "nt" else Path(entry.path).stat()


def _stamp(folder: Path, names: Iterable[str]) -> str:
    parts = []
    for name in names:
        try:
            about = (folder / name).stat()
            parts.append(f"{name}:{about.st_size}:{about.st_mtime_ns}")
        except OSError:
            continue
    return "|".join(parts).encode("utf-8", "backslashreplace").decode()


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
