"""Put a finished LoRA where Kizy finds it: into the LoRA folder, never over another file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from ..core.files import replacing, sha256_of, write_new
from ..core.home import loras_folder
from .plan import TrainingPlan

RESULT = "result.safetensors"
NOTE = "published.json"


def publish(folder: Path, plan: TrainingPlan) -> Path:
    """Copy the run's result to KIZY_HOME/loras/<slug>.safetensors; returns where it lies.

    Where another file has that name, -2, -3, ... is added. What this run published before is
    replaced, if nobody has changed it since. Raises StorageError.
    """
    source = folder / RESULT
    data, digest = source.read_bytes(), sha256_of(source)
    before = _published(folder)
    if before is not None:
        path, known = before
        if known == digest:
            return path
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    else:
        # Killed between the file and the note, it is there already.
        same = next((x for x in _taken(plan.slug) if sha256_of(x) == digest), None)
        path = same or write_new(loras_folder(), _names(plan.slug), data)
    with replacing(folder / NOTE) as temporary:
        temporary.write_text(json.dumps({"path": str(path), "sha256": digest}), encoding="utf-8")
    return path


def _names(slug: str) -> Iterator[str]:
    yield f"{slug}.safetensors"
    for number in range(2, 10_000):
        yield f"{slug}-{number}.safetensors"


def _taken(slug: str) -> Iterator[Path]:
    """The files under those names, up to the first that is free."""
    paths = (loras_folder() / name for name in _names(slug))
    return itertools.takewhile(Path.is_file, paths)


def _published(folder: Path) -> tuple[Path, str] | None:
    """Where this run published, and the file's hash, if the file is still the one it wrote."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        path, digest = Path(note["path"]), str(note["sha256"])
        return (path, digest) if sha256_of(path) == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
