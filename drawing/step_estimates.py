"""How much there is to do for a Plan: steps, parts of them, and bytes of weights to load."""

from __future__ import annotations

import math
from pathlib import Path

from ..core.plan import ImproveStage, Plan
from .sampling import kept_steps
from .schedulers import evaluations

PARTS = 2
"""Faces that a picture is taken to have before it is known."""


def steps_drawn(plan: Plan) -> int:
    """UNet steps of one picture: fewer than asked for when part of a start picture is kept."""
    if not plan.draws:
        return 0
    if plan.start is None:
        return plan.steps * evaluations(plan.sampler)
    if plan.start.strength == 0:
        return 0
    return kept_steps(plan.steps, plan.start.strength) * evaluations(plan.sampler)


def parts_of(plan: Plan) -> dict[str, int]:
    """How many parts of each kind a drawing has, as far as that can be known before."""
    looks = sum(isinstance(stage, ImproveStage) for stage in plan.stages)
    return {
        "load": 1,
        "step": steps_drawn(plan) * plan.count,
        "find": looks * plan.count,
        "part": part_steps(plan, plan.count),
        "finish": plan.count,
    }


def part_steps(plan: Plan, pictures: int) -> int:
    """Steps to draw parts of so many pictures again, before it is known how many there are."""
    stages = (stage for stage in plan.stages if isinstance(stage, ImproveStage))
    return sum(
        PARTS * pictures * kept_steps(plan.steps, stage.strength) * evaluations(plan.sampler)
        for stage in stages
    )


def weight_bytes(folder: Path) -> int:
    """Bytes of a diffusers folder's weights in half precision, from the files' sizes."""
    total = 0
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        files = sorted((folder / part).glob("*.safetensors"))
        full = [file for file in files if ".fp16." not in file.name]
        half = [file for file in files if ".fp16." in file.name]
        total += sum(f.stat().st_size for f in half) if half else _halved(full)
    return total


def _halved(files: list[Path]) -> int:
    from ..catalog.formats.safetensors_header import read_header

    count = 0
    for file in files:
        for tensor in read_header(file).tensors.values():
            elements = math.prod(tensor.shape)
            count += 2 * elements if tensor.dtype.startswith(("F", "BF")) else elements
    return count
