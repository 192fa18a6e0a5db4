"""What a request names by a path of this machine, handed over to the server first."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ....core.errors import UnknownNameError
from ....core.files import storage_errors
from ....trainer.signatures import CAPTION_ENDINGS, HEAD, ending, is_junk, kind_of

_ID = re.compile(r"[0-9a-f]{64}")
_ZIPS = (".zip", ".cbz")
_BLOCK = 1 << 20
_MANY = 200
"""Files that a form holds at most; a server takes a thousand."""


def is_id(name: str) -> bool:
    """Whether it is the id (sha256 in hexadecimal) of an upload or artifact."""
    return _ID.fullmatch(name) is not None


def local_file(name: str) -> Path:
    """A file that was named. Raises UnknownNameError `file_missing`."""
    path = _expanded(name)
    if not _is(path.is_file):
        raise UnknownNameError("file_missing", f"There is no file {name}.")
    return path


def training_files(names: Sequence[str], scratch: Path) -> list[Path]:
    """The files to hand over for a training, in the order of `names`.

    A folder becomes one zip file in `scratch`, and so do files that are many or have captions
    beside them: a caption belongs to the picture of its name, and names stay together in a zip
    alone. Raises UnknownNameError `file_missing`, StorageError.
    """
    found: list[Path] = []
    loose: list[Path] = []
    for name in dict.fromkeys(names):
        path = _expanded(name)
        if _is(path.is_dir):
            folder = path.resolve()
            files = [(file, file.relative_to(folder).as_posix()) for file in _below(folder)]
            found.append(_packed(scratch, folder.name or "pictures", files))
        elif not _is(path.is_file):
            raise UnknownNameError("file_missing", f"There is no file or folder {name}.")
        elif ending(path.name) in _ZIPS:
            found.append(path)
        else:
            loose.append(path)
    captions = [text for path in loose for text in _captions(path)]
    if not captions and len(loose) <= _MANY:
        return found + loose
    packed = [*loose, *(text for text in captions if text not in loose)]
    return [*found, _packed(scratch, "pictures", _apart(packed))]


def sent_name(path: Path) -> str:
    """What a file is called on its way: a comic book's archive is a zip file, and says so."""
    return f"{path.stem}.zip" if ending(path.name) in _ZIPS else path.name


def _captions(path: Path) -> Iterator[Path]:
    """The caption files of a picture: "a.txt" or "a.png.txt" for "a.png"; itself, if it is one."""
    if ending(path.name) in CAPTION_ENDINGS:
        yield path
        return
    for end in CAPTION_ENDINGS:
        for text in (path.with_suffix(end), path.with_name(path.name + end)):
            if text.is_file():
                yield text


def _below(folder: Path) -> Iterator[Path]:
    """All ordinary files below a folder, but for what no training reads; links are not followed."""
    for place, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            ours = not is_junk(path.relative_to(folder).as_posix())
            if ours and path.is_file() and not path.is_symlink() and _teaches(path):
                yield path


def _teaches(path: Path) -> bool:
    """Whether a training may read it: a folder of pictures may hold models, too."""
    if ending(path.name) in CAPTION_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            return kind_of(path.name, file.read(HEAD)) in ("picture", "video")
    except OSError:
        return False


def _apart(files: Sequence[Path]) -> list[tuple[Path, str]]:
    """Names in a zip: those of one folder stay together."""
    folders = list(dict.fromkeys(file.parent for file in files))
    if len(folders) == 1:
        return [(file, file.name) for file in files]
    return [(file, f"{folders.index(file.parent) + 1}/{file.name}") for file in files]


def _packed(scratch: Path, name: str, files: Sequence[tuple[Path, str]]) -> Path:
    """A zip of files, as they are: pictures do not get smaller."""
    target = scratch / f"{len(list(scratch.iterdir()))}" / f"{name}.zip"
    with storage_errors(target):
        target.parent.mkdir(parents=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for file, inside in files:
                _add(archive, file, inside.encode("utf-8", "replace").decode())
    return target


def _add(archive: zipfile.ZipFile, file: Path, inside: str) -> None:
    try:
        source = file.open("rb")
    except OSError as error:
        raise UnknownNameError("file_missing", f"{file} cannot be read.") from error
    with source:
        info = zipfile.ZipInfo.from_file(file, inside, strict_timestamps=False)
        with archive.open(info, "w") as target:
            shutil.copyfileobj(source, target, _BLOCK)


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def _is(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except (OSError, ValueError):
        # A name that is too long for the system, or that holds a null byte.
        return False
