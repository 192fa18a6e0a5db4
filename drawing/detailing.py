"""Draw faces, or what a mask marks, again in detail: the stage `improve` with a loaded model.

Where memory runs out, the part that was being drawn is tried again with less, not those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from PIL import Image

from ..core.errors import EngineError
from ..core.plan import ImproveStage, Plan
from ..core.seeds import seed_after
from ..imaging.crops import Crop, cut_out, noise_mask
from ..imaging.improve import plan_stage, words_for
from ..imaging.patch import put_together
from . import masks
from .cancel import CancelToken
from .model import Conditioning, DrawModel
from .sampling import SampleSettings, Start, initial_noise, kept_steps, sample
from .schedulers import evaluations, make_scheduler

Result = TypeVar("Result")


class Saving(Protocol):
    """Gives what `run` gives; tries it again with less memory each time that it runs out."""

    def __call__(self, run: Callable[[], Result], /) -> Result: ...


@dataclass(frozen=True)
class Brush:
    """What draws: a model with its LoRAs on, the Plan's settings, and who is told of each step.

    `split_guidance`: asked before each part. `enlarge`: makes a picture the given number of times
    larger. `looked`: is told when it is known what is drawn; `expect`: how many steps are to come.
    """

    model: DrawModel
    plan: Plan
    seed: int
    saving: Saving
    split_guidance: Callable[[], bool]
    cancel: CancelToken
    on_step: Callable[[], None]
    looked: Callable[[], None]
    expect: Callable[[int], None]
    notice: Callable[[str, str], None]
    enlarge: Callable[[Image.Image, float], Image.Image]


def improve(picture: Image.Image, stage: ImproveStage, brush: Brush) -> Image.Image:
    """The picture with its parts drawn again; says what was found, done and left.

    Raises KizyError.
    """
    planned = brush.saving(lambda: plan_stage(picture, stage))
    brush.notice("improved", planned.sentence())
    steps = kept_steps(brush.plan.steps, stage.strength) * evaluations(brush.plan.sampler)
    brush.looked()
    brush.expect(steps * len(planned.crops))
    said: dict[tuple[str, int, int], Conditioning] = {}
    drawn: list[Image.Image] = []
    for index, (crop, line) in enumerate(zip(planned.crops, planned.lines, strict=True)):
        brush.cancel.check()

        def part(index: int = index, crop: Crop = crop, line: int = line) -> Image.Image:
            # Steps that are taken once more do not count as those of later parts.
            brush.expect(steps * (len(planned.crops) - index))
            prompt = words_for(stage, line, brush.plan.prompt)
            key = (prompt, crop.width, crop.height)
            if key not in said:
                said[key] = brush.model.encode(prompt, brush.plan.negative, crop.width, crop.height)
            return _drawn(picture, crop, index, stage, said[key], brush)

        drawn.append(brush.saving(part))
    if not drawn:
        return picture
    return brush.saving(lambda: put_together(picture, planned.crops, drawn))


def _drawn(
    picture: Image.Image,
    crop: Crop,
    index: int,
    stage: ImproveStage,
    conditioning: Conditioning,
    brush: Brush,
) -> Image.Image:
    model, plan = brush.model, brush.plan
    size = (crop.width, crop.height)
    clean = model.to_latents(masks.to_pixels(cut_out(picture, crop), *size))
    latents = sample(
        model,
        make_scheduler(plan.sampler, plan.scheduler, model.scheduler_config),
        conditioning,
        initial_noise(model, seed_after(brush.seed, index), *size),
        SampleSettings(
            seed=seed_after(brush.seed, index),
            steps=plan.steps,
            guidance=plan.guidance,
            split_guidance=brush.split_guidance(),
        ),
        start=Start(clean, stage.strength),
        mask=masks.latent_mask(noise_mask(crop), *size, model.latent_factor),
        cancel=brush.cancel,
        on_step=lambda done, steps, expected: brush.on_step(),
    )
    pixels = model.to_pixels(latents)
    if not torch.isfinite(pixels).all():
        raise EngineError("drawing_failed", f"{model.name} drew numbers that are no colours.")
    drawn = masks.to_picture(pixels)
    if stage.enlarger is not None and crop.growth < 1:
        drawn = brush.enlarge(drawn, min(stage.reach, 1 / crop.growth))
    return drawn
