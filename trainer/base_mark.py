"""Whether the base of a training is still the one that it began with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import InputError
from ..core.files import replacing, storage_errors
from .plan import TrainingPlan
from .run_folder import RunFolder

MARKS = "base.json"

END = 1 << 20
"""Bytes of a file's beginning and end that are compared: a header names all tensors, and what is
trained or merged anew differs in the last ones, too. Reading all of it would take a minute."""


def require_same_base(run: RunFolder) -> None:
    """Note the base's files at a training's first start, and compare them at later ones.

    Not the starter's, which come with Kizy: an upgrade loses no training.
    Raises InputError `training_base_changed`, StorageError.
    """
    plan, file = run.plan(), run.path / MARKS
    now = {name: _mark(path) for name, path in _files(plan)}
    try:
        then = json.loads(file.read_bytes())
    except (OSError, ValueError):
        with storage_errors(file), replacing(file) as temporary:
            temporary.write_text(json.dumps(now), encoding="utf-8")
        return
    # A file that is gone is the engine's to tell.
    changed = [name for name, mark in now.items() if then.get(name) != mark]
    if changed:
        message = (
            f"{changed[0]} of {plan.base.name} is another file than when this training began: "
            "a LoRA of both would fit neither."
        )
        raise InputError("training_base_changed", message)


def _files(plan: TrainingPlan) -> Iterator[tuple[str, Path]]:
    """(what it is called, where it is) of all files that are there."""
    path = Path(plan.base.path) if plan.base.path is not None else None
    if path is not None and path.is_dir():
        for file in sorted((*path.rglob("*.safetensors"), *path.rglob("*.json"))):
            yield file.relative_to(path).as_posix(), file
    elif path is not None and path.is_file():
        yield path.name, path
    for name, part in sorted(plan.parts.items()):
        if part.path is not None and Path(part.path).is_file():
            yield name, Path(part.path)


def _mark(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(END))
        file.seek(max(0, size - END))
        digest.update(file.read(END))
    return digest.hexdigest()
