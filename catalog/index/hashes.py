"""sha256 of model files and folders: computed once for a content, kept in memory and on disk.

A file counts as the same while its size, its times of change (of content and of entry) and its
place on the disk are the same. What is large is read in the background: `known_sha256` never reads
a file, and says None until the hash is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ...core.errors import UnknownNameError
from ...core.files import sha256_of
from ...core.home import cache_folder

FILE = "hashes.jsonl"
KEPT_FROM = 1_000_000
"""Bytes of a file whose hash is written down: smaller ones are read again in a moment."""
MAX_LINES = 20_000
"""After so many the file is begun anew."""
MAX_FILES = 10_000
"""Files in a model's folder; the largest known have about a hundred."""

WHOLE, TENSORS = "", "#tensors"
"""What of a file is hashed, behind its path."""

Stamp = tuple[int, int, int, int]
"""Size, time of change, time of the entry's change (ns), number on the disk."""


def stamp_of(path: Path) -> Stamp:
    """What tells that a file is another than before. OSErrors pass through."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def folder_stamp(folder: Path) -> tuple[tuple[str, Stamp], ...]:
    """The stamps of all files of a model's folder, by their names below it.

    Hidden files and folders are none of the model. OSErrors pass through.
    """
    return tuple((path.relative_to(folder).as_posix(), stamp_of(path)) for path in _files(folder))


def file_sha256(path: Path) -> str:
    """sha256 of a file; read only if that is not known already.

    Raises UnknownNameError `file_missing`.
    """
    try:
        return _book().compute(path)
    except OSError as error:
        raise UnknownNameError("file_missing", f"{path.name} cannot be read.") from error


def known_sha256(path: Path) -> str | None:
    """sha256 of a file if it is known; reads nothing of it."""
    try:
        return _book().known(path)
    except OSError:
        return None


def tensors_sha256(path: Path) -> str | None:
    """sha256 of a safetensors file behind its header; None for what is none, or cannot be read.

    As A1111 computes it (modules/hashes.py there, addnet_hash_safetensors): by it Civitai knows a
    LoRA whose metadata somebody changed (AutoV3). Read only if it is not known already.
    """
    try:
        return _book().compute(path, TENSORS)
    except OSError:
        return None


def known_tensors_sha256(path: Path) -> str | None:
    """`tensors_sha256` of a file if it is known; reads nothing of it."""
    try:
        return _book().known(path, TENSORS)
    except OSError:
        return None


def model_sha256(path: Path) -> str:
    """Of a file as `file_sha256`; of a folder, over the names and hashes of all its files.

    Reads whatever is not known: gigabytes, perhaps. Raises UnknownNameError `file_missing`.
    """
    try:
        if not path.is_dir():
            return _book().compute(path)
        return _of_folder([(name, _book().compute(folder)) for name, folder in _named(path)])
    except OSError as error:
        raise UnknownNameError("file_missing", f"{path.name} cannot be read.") from error


def known_model_sha256(path: Path) -> str | None:
    """As `model_sha256` if all of it is known; else it is read in the background from now on."""
    try:
        files = list(_named(path)) if path.is_dir() else [("", path)]
        found = [(name, _book().known(file)) for name, file in files]
    except OSError:
        return None
    missing = [file for (_, file), (_, sha256) in zip(files, found, strict=True) if sha256 is None]
    if missing or not files:
        _background().add(missing)
        return None
    hashes = [(name, sha256) for name, sha256 in found if sha256 is not None]
    return _of_folder(hashes) if path.is_dir() else hashes[0][1]


def _of_folder(files: list[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, sha256 in sorted(files):
        digest.update(f"{sha256}  {name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in _files(folder):
        yield path.relative_to(folder).as_posix(), path


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > MAX_FILES:
            raise OSError(f"{folder} has too many files for a model")
    return found


def _header(path: Path) -> int:
    """Bytes of a safetensors file before its tensors. OSErrors pass through."""
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    if path.suffix.lower() != ".safetensors" or begin > path.stat().st_size:
        raise OSError(f"{path} is no safetensors file")
    return begin


class _Book:
    """Hashes by path and stamp. Any thread may call; files are read under no lock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        # Guards `_known` and what is appended to the file, for the moment that it takes.
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._read()

    def known(self, path: Path, part: str = WHOLE) -> str | None:
        """OSErrors pass through."""
        stamp = stamp_of(path)
        with self._lock:
            found = self._known.get(f"{path.absolute()}{part}")
        return found[1] if found is not None and found[0] == stamp else None

    def compute(self, path: Path, part: str = WHOLE) -> str:
        """OSErrors pass through."""
        known = self.known(path, part)
        if known is not None:
            return known
        stamp = stamp_of(path)
        sha256 = sha256_of(path, _header(path) if part == TENSORS else 0)
        if stamp_of(path) == stamp:
            # What is being written just now is hashed again when it is asked for again.
            self._keep(f"{path.absolute()}{part}", stamp, sha256)
        return sha256

    def _keep(self, path: str, stamp: Stamp, sha256: str) -> None:
        with self._lock:
            self._known[path] = stamp, sha256
        if stamp[0] < KEPT_FROM:
            return
        line = json.dumps([path, *stamp, sha256]) + "\n"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Short lines that are appended do not mix, whichever process writes them.
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError:
            return  # it is computed again next time

    def _read(self) -> None:
        try:
            lines = self._file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                path, size, changed, entry, number, sha256 = json.loads(line)
                stamp = int(size), int(changed), int(entry), int(number)
            except (ValueError, TypeError, RecursionError):
                continue  # one that was cut short
            if isinstance(sha256, str) and len(sha256) == 64:
                self._known[str(path)] = stamp, sha256
        if len(lines) > MAX_LINES:
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)


class _Background:
    """One thread that reads files whose hashes are asked for, as long as there are any."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
        # Guards the two below, from those who ask and the thread itself.
        self._lock = threading.Lock()
        self._listed: set[Path] = set()
        self._runs = False

    def add(self, paths: list[Path]) -> None:
        with self._lock:
            for path in paths:
                if path not in self._listed:
                    self._listed.add(path)
                    self._waiting.put(path)
            if self._runs or not self._listed:
                return
            self._runs = True
        threading.Thread(target=self._work, name="kizy-hashes", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._waiting.empty():
                    self._runs = False
                    return
                path = self._waiting.get()
            # One that is gone meanwhile is asked for again by whoever needs it.
            with contextlib.suppress(OSError):
                _book().compute(path)
            with self._lock:
                self._listed.discard(path)


@lru_cache(maxsize=8)
def _book_of(folder: Path) -> _Book:
    return _Book(folder / FILE)


def _book() -> _Book:
    return _book_of(cache_folder())


@lru_cache(maxsize=1)
def _background() -> _Background:
    return _Background()
