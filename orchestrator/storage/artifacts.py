"""A server's finished files: written once, named by content, below one folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...core.files import replacing, require_writable, sha256_of, storage_errors
from ...core.job import Artifact
from ...core.picture_files import png_bytes, png_with_plan
from ...core.plan import Plan
from ...core.png_chunks import png_size

_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"\.?[0-9a-f]{64}\..{1,80}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store as it was listed. `id`: the sha256 that its name tells."""

    id: str
    path: Path
    mtime_ns: int


class ArtifactStore:
    """`<folder>/<first two letters>/<sha256><suffix>`. The same content is one file.

    The Plan inside a picture names files of this machine by name and content, not by path: whoever
    fetches it may be far away.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self._version = version

    def check(self) -> None:
        """Raises StorageError if nothing can be written here."""
        require_writable(self.folder)

    def save(self, plan: Plan, picture: Image.Image) -> Artifact:
        """Write one picture; `plan` draws it alone. Raises StorageError."""
        return self._picture(
            plan, png_bytes(picture, plan.without_paths(), self._version), picture.size
        )

    def save_png(self, plan: Plan, data: bytes) -> Artifact:
        """Write one picture that is a PNG already; its pixels stay as they are.

        Raises StorageError, PictureError `picture_unreadable`.
        """
        return self._picture(
            plan, png_with_plan(data, plan.without_paths(), self._version), png_size(data)
        )

    def add(self, file: Path) -> tuple[str, Path]:
        """A copy of a file, or a link to it where the disk can; (its sha256, where it lies).

        Raises StorageError; OSErrors of reading pass through.
        """
        digest = sha256_of(file)
        path = self.path_of(digest, file.suffix.lower())
        if not _freshened(path):
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, path)
                # A link is as old as the file.
                _freshened(path)
            except FileExistsError:
                pass
            except OSError:
                with replacing(path) as temporary:
                    shutil.copyfile(file, temporary)
        return digest, path

    def path_of(self, digest: str, suffix: str) -> Path:
        """Where a file of that content lies, or would."""
        return self.folder / digest[:2] / f"{digest}{suffix}"

    def remove(self, path: Path) -> None:
        """Delete one file; one that is gone already is no error."""
        with contextlib.suppress(OSError):
            path.unlink()

    def files(self) -> list[StoredFile]:
        """All that lie here now, half-written ones too, and nothing that others put here."""
        found: list[StoredFile] = []
        with contextlib.suppress(OSError):
            for folder in self.folder.iterdir():
                if _FOLDER.fullmatch(folder.name) and folder.is_dir():
                    found += _stored_in(folder)
        return found

    def remove_unchanged(self, file: StoredFile) -> bool:
        """Delete a file unless it was saved once more since it was listed; whether it went."""
        with contextlib.suppress(OSError):
            if file.path.stat().st_mtime_ns == file.mtime_ns:
                file.path.unlink()
                return True
        return False

    def _picture(self, plan: Plan, data: bytes, size: tuple[int, int]) -> Artifact:
        digest = hashlib.sha256(data).hexdigest()
        path = self.path_of(digest, ".png")
        if not _freshened(path):
            with replacing(path) as temporary:
                temporary.write_bytes(data)
        return Artifact(
            id=digest,
            path=str(path),
            media_type="image/png",
            width=size[0],
            height=size[1],
            seed=plan.seed,
            plan=plan,
        )


def _stored_in(folder: Path) -> Iterator[StoredFile]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _FILE.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    digest = entry.name.strip(".").split(".")[0]
                    yield StoredFile(digest, Path(entry.path), entry.stat().st_mtime_ns)


def _freshened(path: Path) -> bool:
    """Whether it is there, and counts as new from now on: it may not be recorded for a while."""
    try:
        os.utime(path)
    except OSError:
        return path.exists()
    return True
