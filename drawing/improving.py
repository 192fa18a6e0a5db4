"""Draw faces, or what a mask marks, again in detail: the stage `improve` with a loaded model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from ..core.errors import EngineError
from ..core.plan import ImproveStage, Plan
from ..imaging.crops import Crop, cut_out, noise_mask
from ..imaging.improve import plan_stage, words_for
from ..imaging.patch import put_together
from . import masks
from .cancel import CancelToken
from .model import Conditioning, DrawModel
from .sampling import SampleSettings, Start, initial_noise, kept_steps, sample
from .schedulers import evaluations, make_scheduler


@dataclass(frozen=True)
class Brush:
    """What draws: a model with its LoRAs on, the Plan's settings, and who is told of each step.

    `enlarge`: makes a picture the given number of times larger. `expect`: is told how many steps
    there will be.
    """

    model: DrawModel
    plan: Plan
    seed: int
    split_guidance: bool
    cancel: CancelToken
    on_step: Callable[[], None]
    expect: Callable[[int], None]
    notice: Callable[[str, str], None]
    enlarge: Callable[[Image.Image, float], Image.Image]


def improve(picture: Image.Image, stage: ImproveStage, brush: Brush) -> Image.Image:
    """The picture with its parts drawn again; says what was found, done and left.

    Raises KizyError.
    """
    planned = plan_stage(picture, stage)
    brush.notice("improved", planned.sentence())
    steps = kept_steps(brush.plan.steps, stage.strength) * evaluations(brush.plan.sampler)
    brush.expect(steps * len(planned.crops))
    said: dict[tuple[str, int, int], Conditioning] = {}
    drawn = []
    for index, crop in enumerate(planned.crops):
        brush.cancel.check()
        prompt = words_for(stage, index, brush.plan.prompt)
        key = (prompt, crop.width, crop.height)
        if key not in said:
            said[key] = brush.model.encode(prompt, brush.plan.negative, crop.width, crop.height)
        drawn.append(_drawn(picture, crop, index, stage, said[key], brush))
    return put_together(picture, planned.crops, drawn) if drawn else picture


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
        initial_noise(model, brush.seed + index, *size),
        SampleSettings(
            seed=brush.seed + index,
            steps=plan.steps,
            guidance=plan.guidance,
            split_guidance=brush.split_guidance,
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
