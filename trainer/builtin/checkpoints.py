"""The LoRA files of a run, `checkpoints/step-000250.safetensors`, each with a note beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ...core.files import replacing, storage_errors
from ..best import Check

FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d+)\.json")


def file_of(folder: Path, step: int) -> Path:
    """Where the LoRA of that step lies in a run's folder."""
    return folder / FOLDER / f"step-{step:06d}.safetensors"


def note(folder: Path, step: int, loss: float | None) -> None:
    """Say that the checkpoint is whole, with its validation loss. Raises StorageError."""
    with replacing(file_of(folder, step).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"step": step, "validation_loss": loss}))


def forget(folder: Path, steps: Iterable[int]) -> None:
    """Remove checkpoints. Raises StorageError."""
    for step in steps:
        path = file_of(folder, step)
        with storage_errors(path):
            # The note first: without it the file counts as one that was never finished.
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def noted(folder: Path, upto: int) -> dict[int, float | None]:
    """Step -> validation loss of the whole checkpoints up to a step, in order."""
    found: dict[int, float | None] = {}
    for path in sorted((folder / FOLDER).glob("step-*.json")):
        named = _NAME.fullmatch(path.name)
        if named is None or int(named[1]) > upto or not path.with_suffix(".safetensors").exists():
            continue
        try:
            loss = json.loads(path.read_text())["validation_loss"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found[int(named[1])] = loss if isinstance(loss, float) else None
    return found


def checks(folder: Path, upto: int) -> list[Check]:
    """The validation losses up to a step."""
    return [Check(step, loss) for step, loss in noted(folder, upto).items() if loss is not None]
