"""What the built-in trainer's tests are made of: run folders with few pictures, a tiny base."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from kizy.core.plan import ModelFile, Plan
from kizy.trainer import dataset, samples
from kizy.trainer.builtin.run import Run
from kizy.trainer.events import EndEvent, EventWriter, TrainingEvent, read_events
from kizy.trainer.plan import TrainingPlan
from PIL import Image, ImageDraw

from tests.fakes.diffusers_folders import sd15_folder, sdxl_folder

THREADS = 1


def training_plan(base: Path | None, **changes: Any) -> TrainingPlan:
    """Six steps with everything due every two of them."""
    family = "starter" if base is None else base.name.partition("-")[0]
    values: dict[str, Any] = {
        "name": "Mimi the cat",
        "slug": "mimi-the-cat",
        "about": "A grey cat with a red collar.",
        "trigger": "mimicat",
        "goal": "character",
        "family": family,
        "base": ModelFile(name=family, path=None if base is None else str(base)),
        "engine": "builtin",
        "rank": 4,
        "alpha": 2.0,
        "learning_rate": 1e-2,
        "steps": 6,
        "warmup": 2,
        "batch": 2,
        "repeats": 2,
        "resolution": 64,
        "multiple": 32,
        "optimizer": "adamw",
        "schedule": "cosine",
        "precision": "fp32",
        "min_snr": 5.0,
        "caption_dropout": 0.2,
        "seed": 3,
        "threads": THREADS,
        "sample_prompts": ("mimicat",),
        "sample_seed": 5,
        "sample_every": 6,
        "validate_every": 2,
        "save_every": 2,
        "weight": 0.8,
    }
    return TrainingPlan(**(values | changes))


def sample_plan(training: TrainingPlan, prompt: str) -> Plan:
    """A Plan of two steps: as small as it gets."""
    plain = samples.plain_plan(training, prompt)
    small = {"width": 32, "height": 32, "output_width": 32, "output_height": 32, "steps": 2}
    return plain.model_copy(update=small | {"stages": plain.stages[:1]})


def run_folder(path: Path, plan: TrainingPlan, *, held_out: int = 1, alpha: bool = False) -> Path:
    """A prepared run: four pictures of two shapes, the last of them held out."""
    pictures = path / dataset.PICTURES
    pictures.mkdir(parents=True)
    examples = []
    for index, size in enumerate([(64, 64), (64, 64), (96, 32), (64, 64)]):
        picture = Image.new("RGBA" if alpha else "RGB", size, (40 * index, 90, 200))
        draw = ImageDraw.Draw(picture)
        draw.ellipse((8, 8, 30, 28), fill=(250, 20 * index, 30))
        if alpha:
            draw.rectangle((0, 0, size[0] // 2, size[1]), fill=(0, 0, 0, 0))
        name = f"{index:04d}.png"
        picture.save(pictures / name)
        examples.append(
            dataset.Example(
                picture=name,
                caption=f"mimicat, on blue {index}",
                width=size[0],
                height=size[1],
                source=name,
                sha256=hashlib.sha256((pictures / name).read_bytes()).hexdigest(),
                has_alpha=alpha,
                held_out=index >= 4 - held_out,
            )
        )
    data = dataset.DataSet(trigger=plan.trigger, examples=tuple(examples))
    (path / dataset.FILE).write_text(data.model_dump_json())
    (path / "plan.json").write_text(plan.model_dump_json())
    samples.write_plans(path, [sample_plan(plan, prompt) for prompt in plan.sample_prompts])
    return path


def train(folder: Path, *, stop_after: int | None = None) -> EndEvent:
    """Train in this process; stopped after so many steps."""
    plan = TrainingPlan.model_validate_json((folder / "plan.json").read_bytes())
    with EventWriter(folder / "events.jsonl") as events:

        def stopping() -> bool:
            return stop_after is not None and run.progress.step >= stop_after

        run = Run(folder, plan, events, stopping, torch.device("cpu"))
        end = run.go()
        events.write(end)
    return end


def events_of(folder: Path) -> list[TrainingEvent]:
    return read_events(folder / "events.jsonl")


__all__ = [
    "events_of",
    "run_folder",
    "sample_plan",
    "sd15_folder",
    "sdxl_folder",
    "train",
    "training_plan",
]
