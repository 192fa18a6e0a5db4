"""Finished files of jobs: pictures, LoRAs, samples."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.files import replacing, write_new
from ...core.job import JobArtifact
from ...core.once import once_property
from ...core.picture_files import open_picture, read_plan
from ...core.plan import Plan
from ..service import ArtifactFile
from ..storage.pictures import file_names
from .remote.saving import save_file

if TYPE_CHECKING:
    from PIL import Image

Fetch = Callable[[str], ArtifactFile]


class File:
    """A finished file. It is fetched when its content is asked for, once.

    `id`: sha256 of its content. `size`: in bytes. `gone`: the server removed it by its rules; its
    content then raises UnknownNameError `artifact_gone`.
    """

    def __init__(self, artifact: JobArtifact, fetch: Fetch) -> None:
        self.artifact, self._fetch = artifact, fetch

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.id[:12]}>"

    @property
    def id(self) -> str:
        return self.artifact.id

    @property
    def name(self) -> str:
        return self.artifact.name

    @property
    def media_type(self) -> str:
        return self.artifact.media_type

    @property
    def size(self) -> int:
        return self.artifact.bytes

    @property
    def gone(self) -> bool:
        return self.artifact.gone

    @property
    def bytes(self) -> bytes:
        """The content. Raises KizyError."""
        return self._file.path.read_bytes()

    def save(self, path: str | Path = ".") -> Path:
        """Write it to a file, or into a folder under its own name; where it is then.

        In a folder nothing is overwritten. Raises StorageError.
        """
        target = Path(path).expanduser()
        if _is_folder(path, target):
            return save_file(self._file, self.artifact, target)
        with replacing(target) as temporary:
            shutil.copyfile(self._file.path, temporary)
        return target

    @property
    def _file(self) -> ArtifactFile:
        return self._fetch(self.id)


class Picture(File):
    """A finished picture: a PNG with its Plan inside. In notebooks it shows itself."""

    def __init__(self, artifact: JobArtifact, fetch: Fetch, plan: Plan | None) -> None:
        super().__init__(artifact, fetch)
        self._told = plan

    @property
    def seed(self) -> int:
        """The seed that draws it alone."""
        return self.artifact.seed if self.artifact.seed is not None else self.plan.seed

    @property
    def width(self) -> int:
        """In pixels."""
        return self.artifact.width or self.plan.output_width

    @property
    def height(self) -> int:
        """In pixels."""
        return self.artifact.height or self.plan.output_height

    @once_property
    def plan(self) -> Plan:
        """Everything decided about it, with reasons. Raises PictureError."""
        return self._told if self._told is not None else read_plan(self._file.path)

    @property
    def image(self) -> Image.Image:
        """As a Pillow image. Raises KizyError."""
        return open_picture(self._file.path)

    def save(self, path: str | Path = ".") -> Path:
        """Write it to a file, or into a folder under a name made from time, prompt and seed.

        "fox.png" keeps the Plan inside; with another ending ("fox.jpg") Pillow writes that format,
        without the Plan. In a folder nothing is overwritten. Raises StorageError, and PictureError
        for an ending that no picture has.
        """
        target = Path(path).expanduser()
        if _is_folder(path, target):
            return write_new(target, file_names(self.plan, datetime.now()), self.bytes)
        if target.suffix.lower() in ("", ".png"):
            return super().save(target)
        with replacing(target) as temporary:
            temporary.write_bytes(self._as(target.suffix.lower()))
        return target

    def _as(self, suffix: str) -> bytes:
        from PIL import Image

        from ...core.errors import PictureError

        format_ = Image.registered_extensions().get(suffix)
        if format_ is None or format_ not in Image.SAVE:
            message = f'Pillow writes no pictures that end in "{suffix}".'
            raise PictureError("picture_unreadable", message, fix='Give ".png", ".jpg" or ".webp".')
        buffer = io.BytesIO()
        image = self.image
        if format_ == "JPEG":
            image = image.convert("RGB")
        image.save(buffer, format_, quality=95)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.bytes


def _is_folder(given: str | Path, target: Path) -> bool:
    return str(given).endswith(("/", "\\")) or target.is_dir()
