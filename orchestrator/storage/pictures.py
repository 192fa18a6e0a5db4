"""A folder of finished pictures: names that sort by time and are never taken twice."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from PIL import Image

from ...core.files import require_writable, write_new
from ...core.job import Artifact
from ...core.picture_files import png_bytes, png_with_plan
from ...core.plan import Plan
from ...core.png_chunks import png_size

MAX_WORDS = 40
"""Characters of the prompt in a file name."""


class Pictures(Protocol):
    """Where finished pictures go."""

    def check(self) -> None:
        """Raises StorageError if nothing can be written there."""
        ...

    def save(self, plan: Plan, picture: Image.Image) -> Artifact:
        """Write one picture; `plan` draws it alone. Raises StorageError."""
        ...

    def save_png(self, plan: Plan, data: bytes) -> Artifact:
        """Write one picture that is a PNG already; its pixels stay as they are.

        Raises StorageError, PictureError `picture_unreadable`.
        """
        ...


class PictureFolder:
    """Saves pictures as PNG with their Plan inside."""

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self._version = version

    def check(self) -> None:
        """Raises StorageError if nothing can be written here."""
        require_writable(self.folder)

    def save(self, plan: Plan, picture: Image.Image) -> Artifact:
        """Write one picture; `plan` draws it alone. Raises StorageError."""
        return self._write(plan, png_bytes(picture, plan, self._version), picture.size)

    def save_png(self, plan: Plan, data: bytes) -> Artifact:
        """Write one picture that is a PNG already; its pixels stay as they are.

        Raises StorageError, PictureError `picture_unreadable`.
        """
        return self._write(plan, png_with_plan(data, plan, self._version), png_size(data))

    def _write(self, plan: Plan, data: bytes, size: tuple[int, int]) -> Artifact:
        path = write_new(self.folder, file_names(plan, datetime.now()), data)
        return Artifact(
            id=hashlib.sha256(data).hexdigest(),
            path=str(path),
            media_type="image/png",
            width=size[0],
            height=size[1],
            seed=plan.seed,
            plan=plan,
        )


def file_names(plan: Plan, moment: datetime) -> Iterator[str]:
    """Names for a picture, best first: time, words of the prompt, seed, then a counter."""
    stem = f"{moment:%Y%m%d-%H%M%S}-{slug(plan.request_prompt)}-{plan.seed}"
    yield f"{stem}.png"
    for number in range(2, 10_000):
        yield f"{stem}-{number}.png"


def slug(text: str) -> str:
    """Lowercase letters, digits and hyphens of a text, for a file name; "picture" if none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) > MAX_WORDS:
        words = words[:MAX_WORDS].rpartition("-")[0] or words[:MAX_WORDS]
    return words or "picture"
