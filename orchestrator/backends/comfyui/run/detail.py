"""The stage `improve` on ComfyUI servers: each part of a picture is a drawing of its own.

A part is cut out here and drawn as any start picture with a mask is, so nothing but ComfyUI's own
nodes is needed there; what comes back is put into the picture here.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from PIL import Image

from .....core.files import storage_errors
from .....core.picture_files import open_picture
from .....core.plan import (
    DrawStage,
    EnlargeStage,
    ImproveStage,
    InputPicture,
    Plan,
    PlannedMask,
    PlannedStart,
    Stage,
)
from .....core.seeds import seed_after
from .....imaging.crops import Crop, cut_out, noise_mask
from .....imaging.improve import Improvement, plan_stage, words_for
from .....imaging.patch import put_together

DRAWN = 0.6
"""Share of the work that the picture itself is, where parts of it are drawn again."""


class Draw(Protocol):
    """Draws a Plan with one graph: graph `number` of this picture, `low` to `high` of its work."""

    def __call__(self, part: Plan, number: int, low: float, high: float) -> bytes: ...


def in_parts(plan: Plan, draw: Draw, notice: Callable[[str, str], None]) -> bytes:
    """The finished picture of a Plan (its count is 1) as PNG. Raises KizyError."""
    improving = [stage for stage in plan.stages if isinstance(stage, ImproveStage)]
    if not improving:
        return draw(plan, 0, 0.0, 1.0)
    data = _beginning(plan, draw)
    number = 1
    for index, stage in enumerate(improving):
        # Modes and all: a PNG of ours, or the person's picture.
        picture = Image.open(io.BytesIO(data))
        picture.load()
        planned = plan_stage(picture, stage)
        notice("improved", planned.sentence())
        low = DRAWN + (1 - DRAWN) * index / len(improving)
        high = DRAWN + (1 - DRAWN) * (index + 1) / len(improving)
        data = _improved(plan, stage, picture, planned, draw, number, low, high)
        number += len(planned.crops)
    return data


def _beginning(plan: Plan, draw: Draw) -> bytes:
    """The picture before anything of it is improved."""
    stages = tuple(stage for stage in plan.stages if not isinstance(stage, ImproveStage))
    if stages or plan.start is None:
        return draw(plan.model_copy(update={"stages": stages}), 0, 0.0, DRAWN)
    return _png(open_picture(Path(plan.start.picture.path)))


def _improved(
    plan: Plan,
    stage: ImproveStage,
    picture: Image.Image,
    planned: Improvement,
    draw: Draw,
    number: int,
    low: float,
    high: float,
) -> bytes:
    drawn, crops = [], planned.crops
    with tempfile.TemporaryDirectory(prefix="kizy-") as folder:
        for index, (crop, line) in enumerate(zip(crops, planned.lines, strict=True)):
            words = words_for(stage, line, plan.prompt)
            part = part_plan(plan, stage, index, words, crop, picture, Path(folder))
            begin = low + (high - low) * index / len(crops)
            end = low + (high - low) * (index + 1) / len(crops)
            data = draw(part, number + index, begin, end)
            drawn.append(Image.open(io.BytesIO(data)).convert("RGB"))
    return _png(put_together(picture, crops, drawn))


def part_plan(
    plan: Plan,
    stage: ImproveStage,
    index: int,
    words: str,
    crop: Crop,
    picture: Image.Image,
    folder: Path,
) -> Plan:
    """The Plan that draws part `index` of a picture: its crop as start picture, with a mask.

    Both are written into `folder`; `words`: the part's prompt. Raises StorageError.
    """
    stages: list[Stage] = [DrawStage()]
    size = (crop.width, crop.height)
    if stage.enlarger is not None and crop.growth < 1:
        factor = min(stage.reach, 1 / crop.growth)
        stages.append(EnlargeStage(factor=factor, model=stage.enlarger))
        size = (round(crop.width * factor), round(crop.height * factor))
    start = PlannedStart(picture=_kept(cut_out(picture, crop), folder), strength=stage.strength)
    return plan.model_copy(
        update={
            "prompt": words,
            "seed": seed_after(plan.seed, index),
            "width": crop.width,
            "height": crop.height,
            "output_width": size[0],
            "output_height": size[1],
            "start": start,
            "mask": PlannedMask(picture=_kept(noise_mask(crop), folder), feather=0),
            "controls": (),
            "stages": tuple(stages),
        }
    )


def _kept(picture: Image.Image, folder: Path) -> InputPicture:
    data = _png(picture)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.png"
    with storage_errors(path):
        path.write_bytes(data)
    return InputPicture(path=str(path), sha256=digest)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
