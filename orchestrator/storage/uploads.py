"""Files that were handed over to a server, kept by content until no job needs them."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InputError
from ...core.files import sha256_of, storage_errors
from ...core.picture_files import read_picture
from ...core.picture_reader import ENDINGS

PICTURES = frozenset({"", *ENDINGS})
"""What can be drawn from: opened when it comes, and named by what it is."""

VIDEOS = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi"})
OTHERS = frozenset({".zip", ".cbz", ".txt", ".caption", ".jsonl", ".csv", ".json", ".toml"})
"""What a training takes besides, and looks at itself: archives, captions, lists of captions."""

TAKEN = "Hand over a picture (PNG, JPEG, WebP, ...); for trainings also zips, videos and captions."
"""What to do instead of handing over something else."""

MAX_NAME = 120
"""Letters of a file's name that are kept."""

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Kept:
    """A file that is kept. `width` and `height` in pixels, of pictures."""

    id: str
    path: Path
    name: str
    media_type: str
    bytes: int
    width: int | None
    height: int | None


class UploadStore:
    """`<folder>/<sha256><suffix>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, file: Path, name: str) -> Kept:
        """Move a complete file in. Pictures are opened first; other kinds go by their name.

        Raises PictureError, InputError `request_invalid` for kinds that nothing here reads, and
        StorageError.
        """
        name = clean_name(name)
        suffix = Path(name).suffix.lower()
        width = height = None
        if suffix in VIDEOS | OTHERS:
            media_type = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
        elif suffix in PICTURES:
            width, height, media_type, suffix = _looked_at(file, name)
        else:
            message = f'"{name}" is neither a picture nor a video, zip or text file.'
            raise InputError("request_invalid", message, fix=TAKEN)
        digest, size = sha256_of(file), file.stat().st_size
        path = self.folder / f"{digest}{suffix}"
        with storage_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            if path.exists():
                file.unlink(missing_ok=True)
            else:
                _move(file, path)
        return Kept(digest, path, name, media_type, size, width, height)

    def find(self, upload_id: str) -> Path | None:
        """Where the file of that sha256 lies."""
        if not _ID.fullmatch(upload_id):
            return None
        return next(iter(sorted(self.folder.glob(f"{upload_id}.*"))), None)

    def files(self) -> Iterator[tuple[str, Path]]:
        """(id, path) of all."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                upload_id = path.name.partition(".")[0]
                if _ID.fullmatch(upload_id):
                    yield upload_id, path


def clean_name(name: str) -> str:
    """The last part of a path of any system, with letters that every file system takes."""
    last = re.split(r"[\\/]", name)[-1]
    plain = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", last).strip(" .")
    stem, dot, suffix = plain.rpartition(".")
    if dot and len(suffix) <= 8:
        return f"{stem[:MAX_NAME]}.{suffix}" if stem else f"file.{suffix}"
    return plain[:MAX_NAME] or "file"


def _looked_at(file: Path, name: str) -> tuple[int, int, str, str]:
    """(width, height, media type, suffix) of a picture, by what it is and not by its name."""
    found = read_picture(file, f'"{name}"')
    media_type, suffix = _TYPES[found.format]
    return found.picture.width, found.picture.height, media_type, suffix


_TYPES = {
    "PNG": ("image/png", ".png"),
    "JPEG": ("image/jpeg", ".jpg"),
    "MPO": ("image/jpeg", ".jpg"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "TIFF": ("image/tiff", ".tif"),
    "BMP": ("image/bmp", ".bmp"),
    "AVIF": ("image/avif", ".avif"),
    "JPEG2000": ("image/jp2", ".jp2"),
    "HEIF": ("image/heic", ".heic"),
}
"""Format -> (media type, suffix of the kept file)."""


def _move(file: Path, path: Path) -> None:
    try:
        os.replace(file, path)  # noqa: PTH105
    except OSError:
        # Another disk: under a temporary name first, so that nothing half-copied is ever found.
        part = path.with_name(f".{path.name}.part")
        shutil.copyfile(file, part)
        part.replace(path)
        file.unlink(missing_ok=True)
