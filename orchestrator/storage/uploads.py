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

from ...core.errors import InputError, PictureError
from ...core.files import sha256_of, storage_errors
from ...core.picture_files import open_picture

PICTURES = frozenset({"", ".png", ".jpg", ".jpeg", ".webp"})
"""What can be drawn from: opened when it comes, and named by what it is."""

VIDEOS = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi"})
OTHERS = frozenset({".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".zip", ".txt"})
"""What a training takes besides, and looks at itself; captions are text files."""

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
            fix = "Hand over PNG, JPEG or WebP; for trainings also zips, videos and captions."
            raise InputError("request_invalid", message, fix=fix)
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
    from PIL import Image

    try:
        picture = open_picture(file)
    except PictureError as error:
        if error.code != "picture_unreadable":
            raise
        raise PictureError("picture_unreadable", f'"{name}" is no picture, or damaged.') from error
    with Image.open(file) as opened:
        kind = opened.format or "PNG"
    suffix = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}[kind]
    return picture.width, picture.height, Image.MIME[kind], suffix


def _move(file: Path, path: Path) -> None:
    try:
        os.replace(file, path)  # noqa: PTH105
    except OSError:
        # Another disk: under a temporary name first, so that nothing half-copied is ever found.
        part = path.with_name(f".{path.name}.part")
        shutil.copyfile(file, part)
        part.replace(path)
        file.unlink(missing_ok=True)
