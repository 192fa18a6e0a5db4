"""The sampling loop: from noise (or a noised start) to latents, step by step.

One picture at a time, its noise from a CPU generator with the picture's own seed, as ComfyUI
makes it: the same seed gives the same picture whatever is drawn beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .cancel import CancelToken
from .model import Conditioning, DrawModel


@dataclass(frozen=True)
class Start:
    """Latents to begin with. `strength`: share of the steps that are drawn, above 0 to 1."""

    latents: torch.Tensor
    strength: float


@dataclass(frozen=True)
class SampleSettings:
    """`split_guidance` runs prompt and negative prompt one after the other: half the memory."""

    seed: int
    steps: int
    guidance: float
    split_guidance: bool = False


OnStep = Callable[[int, int, Callable[[], torch.Tensor]], None]
"""Called after each step with (steps done, steps in all, a function that gives the picture as it
is expected now, as latents)."""


def initial_noise(model: DrawModel, seed: int, width: int, height: int) -> torch.Tensor:
    """Standard normal latents, float32 on the CPU, 1 x channels x height/f x width/f."""
    shape = (
        1,
        model.latent_channels,
        height // model.latent_factor,
        width // model.latent_factor,
    )
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


@torch.inference_mode()
def sample(
    model: DrawModel,
    scheduler: Any,
    conditioning: Conditioning,
    noise: torch.Tensor,
    settings: SampleSettings,
    *,
    start: Start | None = None,
    mask: torch.Tensor | None = None,
    cancel: CancelToken,
    on_step: OnStep,
) -> torch.Tensor:
    """Latents of the finished picture.

    `mask` (1 x 1 x h x w, 0 to 1): where it is 0, the start's latents are put back after every
    step, noised to the step's level; it needs a start. Raises CancelledError between two steps.
    """
    device, dtype = model.device, model.dtype
    scheduler.set_timesteps(settings.steps, device=device)
    timesteps = _remaining(scheduler, settings.steps, start.strength if start else 1.0)
    noise = noise.to(device, dtype)
    x = noise * scheduler.init_noise_sigma
    clean = start.latents.to(device, dtype) if start is not None else None
    if clean is not None:
        x = scheduler.add_noise(clean, noise, timesteps[:1])
    blend = mask.to(device, dtype) if mask is not None else None
    # Ancestral samplers draw noise at every step; a seed of its own keeps them repeatable.
    generator = torch.Generator("cpu").manual_seed(settings.seed)
    extra = {"generator": generator} if _takes_generator(scheduler) else {}
    for index, t in enumerate(timesteps):
        cancel.check()
        prediction = _guided(model, scheduler, x, t, conditioning, settings)
        result = scheduler.step(prediction, t, x, **extra)
        x = result.prev_sample.to(dtype)
        last = index + 1 == len(timesteps)
        if blend is not None and clean is not None:
            there = clean if last else scheduler.add_noise(clean, noise, timesteps[index + 1][None])
            x = blend * x + (1 - blend) * there
        expected = getattr(result, "pred_original_sample", None)
        on_step(index + 1, len(timesteps), _expectation(expected, x))
    return x


def _expectation(expected: torch.Tensor | None, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: x if expected is None else expected


def _guided(
    model: DrawModel,
    scheduler: Any,
    x: torch.Tensor,
    t: torch.Tensor,
    conditioning: Conditioning,
    settings: SampleSettings,
) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans, 2022): negative + g x (positive - negative)."""
    scaled = scheduler.scale_model_input(x, t)
    c = conditioning
    if settings.guidance == 1.0:
        return model.predict(scaled, t, c.positive, c.positive_extra)
    if settings.split_guidance or c.negative.shape != c.positive.shape:
        negative = model.predict(scaled, t, c.negative, c.negative_extra)
        positive = model.predict(scaled, t, c.positive, c.positive_extra)
    else:
        extra = {
            key: torch.cat([c.negative_extra[key], value])
            for key, value in c.positive_extra.items()
        }
        both = model.predict(
            torch.cat([scaled, scaled]), t, torch.cat([c.negative, c.positive]), extra
        )
        negative, positive = both.chunk(2)
    return negative + settings.guidance * (positive - negative)


def kept_steps(steps: int, strength: float) -> int:
    """How many of the steps are drawn at a strength above 0: at least one."""
    return max(1, min(steps, round(steps * strength)))


def _remaining(scheduler: Any, steps: int, strength: float) -> torch.Tensor:
    """The timesteps that are left when a start picture is kept by 1 - strength."""
    drawn = kept_steps(steps, strength)
    timesteps = scheduler.timesteps
    # Two-evaluation samplers list each step twice.
    first = (steps - drawn) * getattr(scheduler, "order", 1)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps[first:]


def _takes_generator(scheduler: Any) -> bool:
    import inspect

    return "generator" in inspect.signature(scheduler.step).parameters
