"""What a person hands in, looked over: pictures and videos in files, folders and zips, in order.

Nothing is decoded here and nothing is held but names and sizes. Folders are walked without
following links; an archive inside a folder or archive is named, not opened.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from ..core.errors import InputError, UnknownNameError
from . import archives, caption_lists
from .archives import Entry, Unreadable
from .limits import Limits, never, stop_if
from .pairing import pair, unused
from .signatures import (
    CAPTION_ENDINGS,
    HEAD,
    ending,
    is_hidden,
    is_junk,
    kind_of,
    shown,
    why_not,
)

Cancelled = Callable[[], bool]

_NESTED = "is an archive inside another folder or archive: hand it in by itself"
_HIDDEN = "is hidden: its name begins with a dot"
_LOCKED = "is a folder that cannot be read"
_NOT_ZIP = "is an archive of another kind than zip: unpack it, or pack it as zip"


@dataclass(frozen=True)
class FileContent:
    """A file on this machine."""

    path: Path

    def head(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(HEAD)
        except OSError as error:
            raise Unreadable("cannot be read") from error

    def text(self, most: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise Unreadable("cannot be read") from error

    @contextlib.contextmanager
    def as_file(self, temporary: Path, most: int, cancelled: Cancelled = never) -> Iterator[Path]:
        """The file itself."""
        yield self.path


@dataclass(frozen=True)
class ZipContent:
    """A file in an archive, which stays open."""

    archive: zipfile.ZipFile
    entry: Entry

    def head(self) -> bytes:
        return archives.head(self.archive, self.entry, HEAD)

    def text(self, most: int) -> bytes:
        return archives.head(self.archive, self.entry, most)

    @contextlib.contextmanager
    def as_file(self, temporary: Path, most: int, cancelled: Cancelled = never) -> Iterator[Path]:
        """Unpacked to `temporary`, which is deleted afterwards. Raises Unreadable."""
        try:
            archives.extract(self.archive, self.entry, temporary, most, cancelled)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class ListedCaption:
    """A caption out of a list of captions."""

    data: bytes

    def text(self, most: int) -> bytes:
        return self.data[:most]


Content = FileContent | ZipContent
Caption = Content | ListedCaption


@dataclass(frozen=True)
class Item:
    """A picture or video that came in. `source`: its name as it is shown; `size`: in bytes."""

    source: str
    kind: Literal["picture", "video"]
    size: int
    content: Content
    caption: Caption | None = None


@dataclass
class Intake:
    """Use as a context: archives stay open within it. `dropped`: (name, why) of what is not used.

    `lone_captions`: caption files that no picture has. `left`: what systems leave in folders.
    `notes`: (name, what is to be said of it).
    """

    limits: Limits = field(default_factory=Limits)
    items: list[Item] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    lone_captions: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    _alone: bool = False
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, names: Iterable[str], cancelled: Cancelled = never) -> None:
        """Look over everything that was named.

        Raises UnknownNameError `file_missing`, InputError `archive_unusable` or
        `pictures_too_many`, CancelledError.
        """
        files: list[_Listed] = []
        distinct = list(dict.fromkeys(names))
        self._alone = len(distinct) == 1
        for name in distinct:
            path = Path(name).expanduser()
            mode = _mode(path, follow=True)
            if mode is None:
                raise UnknownNameError("file_missing", f"There is no file or folder {shown(name)}.")
            if stat.S_ISDIR(mode):
                self._sort_out(self._folder(path, cancelled), cancelled)
            elif not stat.S_ISREG(mode):
                self._drop(path.name, "is no ordinary file")
            elif _is_zip(path):
                self._sort_out(self._archive(path), cancelled)
            else:
                files.append(_Listed(path.name, str(path), FileContent(path), _size(path), True))
        self._sort_out(_with_captions(files), cancelled)

    def _folder(self, folder: Path, cancelled: Cancelled) -> list[_Listed]:
        found: list[_Listed] = []
        root = folder.name or folder.resolve().name
        seen = 0

        def locked(error: OSError) -> None:
            place = Path(error.filename or folder)
            name = place.relative_to(folder).as_posix() if place != folder else root
            self._drop(name if self._alone or place == folder else f"{root}/{name}", _LOCKED)

        for place, folders, files in os.walk(folder, onerror=locked, followlinks=False):
            stop_if(cancelled)
            below = Path(place).relative_to(folder)
            kept = []
            for name in [*folders, *files]:
                seen += 1
                if seen > self.limits.entries:
                    message = f"{shown(root)} holds over {self.limits.entries:,} files and folders."
                    raise InputError("pictures_too_many", message)
                relative = (below / name).as_posix()
                path = Path(place, name)
                mode = _mode(path, follow=False)
                source = relative if self._alone else f"{root}/{relative}"
                if is_junk(
                    f"{relative}/." if mode is not None and stat.S_ISDIR(mode) else relative
                ):
                    self.left.append(shown(source))
                elif mode is None:
                    self._drop(source, "cannot be read")
                elif stat.S_ISLNK(mode):
                    self._drop(source, "is a link")
                elif stat.S_ISDIR(mode):
                    kept.append(name)
                elif not stat.S_ISREG(mode):
                    self._drop(source, "is no ordinary file")
                elif is_hidden(relative):
                    self._drop(source, _HIDDEN)
                else:
                    found.append(_Listed(source, relative, FileContent(path), _size(path)))
            folders[:] = kept
        return sorted(found, key=_in_order)

    def _archive(self, path: Path) -> list[_Listed]:
        archive = self._stack.enter_context(archives.open_archive(path, self.limits))
        found: list[_Listed] = []

        def tell(note: str) -> None:
            self.notes.append((path.name, note))

        for entry in archives.entries(archive, path, self.limits, tell):
            source = entry.name if self._alone else f"{path.name}/{entry.name.lstrip('/')}"
            if is_junk(entry.name):
                self.left.append(shown(source))
            elif entry.why_not is not None:
                self._drop(source, entry.why_not)
            elif is_hidden(entry.name):
                self._drop(source, _HIDDEN)
            else:
                content = ZipContent(archive, entry)
                found.append(_Listed(source, entry.name, content, entry.info.file_size))
        return sorted(found, key=_in_order)

    def _sort_out(self, files: list[_Listed], cancelled: Cancelled) -> None:
        """Pictures and videos with their captions, by name."""
        texts = {file.place: file for file in files if ending(file.place) in CAPTION_ENDINGS}
        captions: dict[str, Caption] = {place: file.content for place, file in texts.items()}
        lists: dict[str, list[str]] = {}
        pictures: list[tuple[_Listed, Literal["picture", "video"]]] = []
        for file in files:
            stop_if(cancelled)
            if ending(file.place) in caption_lists.ENDINGS:
                lists[file.source] = self._list(file, captions)
            elif ending(file.place) not in CAPTION_ENDINGS:
                kind = self._picture_or_video(file)
                if kind is not None:
                    pictures.append((file, kind))
        pairs = pair([file.place for file, _ in pictures], list(captions))
        for file, kind in pictures:
            beside = pairs.get(file.place)
            caption = captions[beside] if beside is not None else None
            self.items.append(Item(shown(file.source), kind, file.size, file.content, caption))
        self.lone_captions += [shown(texts[place].source) for place in unused(texts, pairs)]
        for source, places in lists.items():
            left = len(unused(places, pairs))
            if left:
                self.notes.append((shown(source), f"has {left:,} captions that fit no picture"))

    def _list(self, file: _Listed, captions: dict[str, Caption]) -> list[str]:
        """The places of the captions in a list of them, which are added to `captions`."""
        try:
            data = file.content.text(caption_lists.MAX_BYTES + 1)
            found = dict(caption_lists.captions_in(file.place, data))
        except Unreadable as error:
            self._drop(file.source, str(error))
            return []
        for place, text in found.items():
            captions.setdefault(place, ListedCaption(text))
        return list(found)

    def _picture_or_video(self, file: _Listed) -> Literal["picture", "video"] | None:
        try:
            head = file.content.head()
        except Unreadable as error:
            self._drop(file.source, str(error))
            return None
        kind = kind_of(file.place, head)
        most = self.limits.video_bytes if kind == "video" else self.limits.picture_bytes
        if kind == "archive":
            self._drop(file.source, _NOT_ZIP if file.by_itself else _NESTED)
        elif kind == "other":
            self._drop(file.source, why_not(file.place, file.size, head))
        elif file.size > most:
            self._drop(file.source, f"is larger than {most // 1_000_000:,} MB")
        else:
            return kind
        return None

    def _drop(self, source: str, why: str) -> None:
        self.dropped.append((shown(source), why))


@dataclass(frozen=True)
class _Listed:
    """`place`: its path within the folder or archive, or on this machine; `by_itself`: named."""

    source: str
    place: str
    content: Content
    size: int
    by_itself: bool = False


def _with_captions(files: list[_Listed]) -> list[_Listed]:
    """Files that were named one by one, with the caption files that lie beside them."""
    named = {file.place for file in files}
    found = list(files)
    for file in files:
        path = Path(file.place)
        if ending(file.place) in CAPTION_ENDINGS:
            continue
        for end in CAPTION_ENDINGS:
            for text in (path.with_suffix(end), path.with_name(path.name + end)):
                if str(text) not in named and text.is_file():
                    named.add(str(text))
                    found.append(_Listed(text.name, str(text), FileContent(text), 0))
    return found


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return ending(path.name) in (".zip", ".cbz") or (
        head[:4] == b"PK\x03\x04" and ending(path.name) == ""
    )


def _mode(path: Path, *, follow: bool) -> int | None:
    try:
        return path.stat(follow_symlinks=follow).st_mode
    except (OSError, ValueError):
        # Not there, no permission, a name too long for the system, a loop of links.
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _in_order(file: _Listed) -> list[tuple[int, int, str]]:
    """As people number files: "2.png" before "10.png"."""
    parts = re.split(r"(\d+)", file.place.lower())
    # Numbers in names such as hashes can be too long to convert.
    return [
        (0, int(part), "") if part.isdecimal() and len(part) <= 18 else (1, 0, part)
        for part in parts
        if part
    ]
