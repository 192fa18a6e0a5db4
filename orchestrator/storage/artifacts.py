"""A server's finished files: written once, named by content, below one folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from ...core.files import replacing, require_writable, sha256_of, storage_errors
from ...core.job import Artifact
from ...core.picture_files import png_bytes, png_with_plan
from ...core.plan import Plan
from ...core.png_chunks import png_size

FRESH_SECONDS = 3600.0
"""A file that no job knows is left alone for so long: it may be about to be recorded."""


_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"\.?[0-9a-f]{64}\..{1,80}")


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
        if not path.exists():
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, path)
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

    def unknown(self, known: Callable[[str], bool], *, older: float = FRESH_SECONDS) -> list[Path]:
        """Files that were never recorded, such as those of a process that died just then.

        `known`: sha256 -> whether some job has it. `older`: in seconds.
        """
        limit = time.time() - older
        found: list[Path] = []
        for path in self._files():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime <= limit and not known(path.name.split(".")[0]):
                    found.append(path)
        return found

    def _files(self) -> Iterator[Path]:
        """Only what this store names so: the folder may hold other things as well."""
        with contextlib.suppress(OSError):
            for folder in self.folder.iterdir():
                if _FOLDER.fullmatch(folder.name) and folder.is_dir():
                    yield from (path for path in folder.iterdir() if _FILE.fullmatch(path.name))

    def _picture(self, plan: Plan, data: bytes, size: tuple[int, int]) -> Artifact:
        digest = hashlib.sha256(data).hexdigest()
        path = self.path_of(digest, ".png")
        if path.exists():
            # It may be older than what counts as fresh, and not be recorded yet.
            with contextlib.suppress(OSError):
                os.utime(path)
        else:
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
