"""What sd-scripts leaves in its output folder: LoRA files and states to go on from.

Names: library/train_util.py, STEP_FILE_NAME and STEP_STATE_NAME.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...catalog.formats.safetensors_header import read_header
from ...core.errors import KizyError


@dataclass(frozen=True)
class State:
    """A folder that `--resume` takes; the steps that were taken."""

    path: Path
    step: int


def newest_state(out: Path, name: str) -> State | None:
    """The newest state that is whole: a kill may have cut one short."""
    found = []
    for path in out.glob(f"{name}-*state"):
        if re.fullmatch(rf"{re.escape(name)}-(?:step\d+-)?state", path.name):
            step = _step_of(path)
            if step is not None:
                found.append(State(path, step))
    return max(found, key=lambda state: state.step, default=None)


def _step_of(path: Path) -> int | None:
    # accelerate writes the random states last (checkpointing.py, save_accelerator_state), as a zip.
    if not zipfile.is_zipfile(path / "random_states_0.pkl"):
        return None
    try:
        return int(json.loads((path / "train_state.json").read_text())["current_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished_files(out: Path, name: str, steps: int) -> Iterator[tuple[int, Path]]:
    """(step, file) of the LoRA files that are whole, in order; the last one has no step."""
    pattern = re.compile(rf"{re.escape(name)}(?:-step(\d+))?\.safetensors")
    found = []
    for path in out.glob(f"{name}*.safetensors"):
        named = pattern.fullmatch(path.name)
        if named is not None and _is_whole(path):
            found.append((int(named[1]) if named[1] else steps, path))
    yield from sorted(found)


def drawn_samples(out: Path) -> Iterator[tuple[int, int, Path]]:
    """(step, index of the prompt, file) of the pictures that sd-scripts drew.

    Names: library/train_util.py, sample_image_inference: NAME_000100_00_DATE_SEED.png.
    """
    for path in sorted((out / "sample").glob("*.png")):
        named = re.search(r"_(\d{6})_(\d{2})_\d{14}(?:_\d+)?\.png$", path.name)
        if named is not None:
            yield int(named[1]), int(named[2]), path


def _is_whole(path: Path) -> bool:
    try:
        read_header(path)
    except KizyError:
        return False
    return True
