"""The files that a Plan inside a picture tells of.

The picture may come from a stranger. So a path in it counts only where what was drawn with lies,
and never makes another machine be asked.
"""

from __future__ import annotations

from pathlib import Path

from ...catalog.formats.safetensors_header import is_file
from ...catalog.index.hashes import file_sha256
from ...catalog.index.models import is_model
from ...core.plan import ModelFile


def told_lora(file: ModelFile) -> Path | None:
    """Where a LoRA lay when it was drawn with, if the same content lies there now."""
    path = _told(file.path)
    return path if path is not None and is_same(path, file.sha256) else None


def told_model(file: ModelFile) -> Path | None:
    """Where a model lay when it was drawn with, if one lies there now."""
    path = _told(file.path)
    return path if path is not None and is_model(path) else None


def is_same(path: Path, sha256: str | None) -> bool:
    """Whether a file is there and has that content."""
    return sha256 is not None and is_file(path) and file_sha256(path) == sha256


def _told(text: str | None) -> Path | None:
    """A path, if looking there asks no other machine: Windows tells who somebody is to whoever
    owns `\\\\HOST\\SHARE`.
    """
    if not text or text.startswith(("\\\\", "//")):
        return None
    return Path(text)
