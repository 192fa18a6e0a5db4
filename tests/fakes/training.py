"""A training engine whose process trains nothing, and builders for its runs."""

from __future__ import annotations

import json
import sys
from math import prod
from pathlib import Path
from typing import Any

from kizy.catalog.index.models import ModelEntry, find_model
from kizy.core.errors import KizyError
from kizy.core.request import TrainingRequest
from kizy.trainer.dataset import PICTURES, DataSet, Example
from kizy.trainer.engines.base import Command
from kizy.trainer.memory import GIB, Machine
from kizy.trainer.plan import TrainingPlan
from kizy.trainer.rules import decide
from kizy.trainer.run_folder import RunFolder
from PIL import Image

PROCESS = Path(__file__).parent / "training_process.py"


class FakeEngine:
    """Starts `training_process.py`."""

    name = "builtin"

    def missing(self) -> KizyError | None:
        return None

    def refusal(self, plan: TrainingPlan) -> KizyError | None:
        return None

    def command(self, folder: Path) -> Command:
        return Command(tuple(self.process(folder)), folder, files={folder / "data.toml": "a = 1\n"})

    def lay_out(self, folder: Path) -> None:
        for path, text in self.command(folder).files.items():
            path.write_text(text)

    def process(self, folder: Path) -> list[str]:
        return [sys.executable, str(PROCESS), str(folder)]


def examples(count: int = 12, held_out: int = 1, *, alpha: bool = False) -> tuple[Example, ...]:
    return tuple(
        Example(
            picture=f"{number:04d}.png",
            caption=f"mimicat, number {number}",
            width=96,
            height=128,
            source=f"{number}.png",
            sha256=f"{number:064x}",
            has_alpha=alpha and number == 1,
            held_out=number <= held_out,
        )
        for number in range(1, count + 1)
    )


def data_set(count: int = 12, held_out: int = 1, *, alpha: bool = False) -> DataSet:
    return DataSet(trigger="mimicat", examples=examples(count, held_out, alpha=alpha))


def request(**values: Any) -> TrainingRequest:
    return TrainingRequest.model_validate(
        {"files": ("pictures",), "name": "Mimi", "about": "my grey cat", **values}
    )


def cpu(free: float = 16.0) -> Machine:
    return Machine(device="cpu", free=int(free * GIB), total=32 * GIB, cores=2)


def gpu(free: float, *, bf16: bool = True, packages: tuple[str, ...] = ()) -> Machine:
    return Machine(
        device="cuda",
        name="A GPU",
        free=int(free * GIB),
        total=int(free * GIB),
        bf16=bf16,
        cores=8,
        packages=frozenset(packages),
    )


def model(family: str, kind: str = "checkpoint", path: Path = Path("/models/base")) -> ModelEntry:
    return ModelEntry.model_validate(
        {
            "name": path.name,
            "family": family,
            "path": path,
            "kind": kind,
            "size": 1,
            "drawable_here": kind == "diffusers",
        }
    )


def write_model(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file with tensors of these shapes; the data are a hole on the disk."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def starter() -> ModelEntry:
    return find_model("starter")


def plan(**values: Any) -> TrainingPlan:
    return decide(request(**values), data_set(), starter(), cpu())


def save_pictures(folder: Path, data: DataSet) -> None:
    """The pictures of a data set, in a run's folder."""
    (folder / PICTURES).mkdir(parents=True)
    for example in data.examples:
        mode, colour = ("RGBA", (9, 9, 9, 0)) if example.has_alpha else ("RGB", (9, 9, 9))
        picture = Image.new(mode, (example.width, example.height), colour)
        picture.save(folder / PICTURES / example.picture)


def run_folder(**how: Any) -> RunFolder:
    """A prepared run of the fake engine; `how`: what its process does."""
    run = RunFolder.create(request())
    run.write("plan.json", plan())
    run.write("dataset.json", data_set())
    save_pictures(run.path, data_set())
    (run.path / "fake.json").write_text(json.dumps(how))
    return run
