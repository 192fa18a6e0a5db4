"""Train the UNet on cached latents: v-prediction, zero terminal SNR, empty prompts for guidance.

Each worker's batch is of one shape: most are square, the others have as many latents in fewer or
more pictures.

Part of each batch is seen through the network's own eyes: noise is put not on the true latents but
on what the network makes of the caption when it starts from noise, as it will when it draws, and
the answer asked for is still the true latents. Without it a network of this size refines its own
early mistakes in place of the caption (the mismatch that Ning et al., 2023, "Input Perturbation
Reduces Exposure Bias in Diffusion Models", describe).
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...language import encode
from ...starter.architecture import alphas_and_sigmas, build_unet
from ...starter.checkpoint import part_of
from .latents import Latents
from .runs import Ema, Run, placed, save_tensors
from .whitening import Whitening

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

log = logging.getLogger(__name__)

SQUARE = 0.6
"""Share of the batches that are square; the other shapes have equal parts of the rest."""

LEAST_OWN_NOISE = 0.25
"""Least variance of the noise, in 0 to 1, under which the network is shown its own guesses."""


@dataclass(frozen=True)
class UNetSettings:
    """`noisier_half`: share of the timesteps drawn from the noisier half, in 0 to 1.
    `least_weight`: least weight of a timestep's loss, in 0 to 1. A run from nothing learns shapes
    first with 0.75 and 0.1; the defaults then bring surfaces and styles. `own`: share of the
    captioned pictures above `LEAST_OWN_NOISE` that are seen through the network's own eyes, in 0
    to 1; in a run from nothing not before a third of its steps, when things can be recognised.
    """

    steps: int = 4000
    batch: int = 8  # square pictures
    learning_rate: float = 5e-4
    empty_prompts: float = 0.1
    noisier_half: float = 0.55
    least_weight: float = 0.4
    own: float = 0.5
    workers: int = 1
    bf16: bool = False
    seed: int = 0


def train(
    data: Sequence[Latents],
    scale: float,
    folder: Path,
    settings: UNetSettings,
    start_from: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Train in `folder` (or go on there); returns the file with the averaged weights.

    `data`: pictures by shape, the square ones first. `scale` multiplies the latents.
    `start_from`: weights to begin with, in diffusers' key names, or a whole starter's file.
    """
    result = folder / "unet.safetensors"
    torch.manual_seed(settings.seed)
    white = Whitening.kept(folder / "whitening.safetensors", data[0].texts)
    model = build_unet()
    if start_from is not None:
        model.load_state_dict(white.enter(part_of(start_from, "unet")))
    model = placed(model, device).train()
    if device == "cpu":
        _quicken(model)
    # An average over about the last twentieth of the run.
    ema = Ema(model, min(0.9998, max(0.0, 1 - 20 / settings.steps)))
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=1e-3,
        fused=True,
    )
    run = Run(
        folder,
        {"unet": model},
        optimizer,
        steps=settings.steps,
        warmup=100,
        seed=settings.seed,
        ema={"unet": ema},
        save_every=420,
        workers=settings.workers,
        bf16=settings.bf16,
        begun_with={"batch": settings.batch, "from_weights": start_from is not None},
    )
    run.resume()
    own_from = 0 if start_from is not None else settings.steps // 3
    power = math.log(0.5) / math.log(1 - settings.noisier_half)
    alphas, sigmas = (values.to(device) for values in alphas_and_sigmas())
    shapes = [_prepared(shape, scale, white, device) for shape in data]
    others = (1 - SQUARE) / max(1, len(shapes) - 1)
    shares = torch.tensor([SQUARE, *[others] * (len(shapes) - 1)])
    nothing = white.states(encode([""])[0]).to(device)

    def guess(noisy: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The latents that the network takes to be behind the noise."""
        a, s = _shaped(alphas[t]), _shaped(sigmas[t])
        with torch.no_grad():
            return a * noisy - s * model(noisy, t, encoder_hidden_states=text).sample

    def own_eyes(
        t: torch.Tensor, noise: torch.Tensor, text: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """What the network would have drawn by time `t` if it started with this noise."""
        last = torch.full_like(t, len(alphas) - 1)
        x = guess(noise, last, text)
        if torch.rand((), generator=generator) < 0.5:
            share = torch.rand(len(t), generator=generator).to(t.device)
            between = (t + share * (last - t)).long()
            x = guess(
                _shaped(alphas[between]) * x + _shaped(sigmas[between]) * noise, between, text
            )
        return x

    def loss(rng: random.Random, generator: torch.Generator) -> torch.Tensor:
        del rng
        shape = shapes[int(torch.multinomial(shares, 1, generator=generator))]
        count = max(1, round(settings.batch * shapes[0].cells / shape.cells))
        chosen = torch.multinomial(shape.weights, count, generator=generator).to(device)
        x = shape.latents[chosen]
        text = shape.texts[chosen].float()
        empty = torch.rand(count, generator=generator) < settings.empty_prompts
        text[empty.to(device)] = nothing
        # One time from each of `count` equal slices: the same spread with less noise in the loss.
        # The noisier half, where shapes are decided, gets `noisier_half` of them.
        offset = torch.rand(count, generator=generator)
        share = ((torch.arange(count) + offset) / count).pow(power)
        t = (share * len(alphas)).long().clamp(max=len(alphas) - 1).to(device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        a, s = _shaped(alphas[t]), _shaped(sigmas[t])
        seen = x.clone()
        share_of_own = settings.own if run.step >= own_from else 0.0
        own = (torch.rand(count, generator=generator) < share_of_own) & ~empty
        own = own.to(device) & (sigmas[t].square() >= LEAST_OWN_NOISE)
        if own.any():
            seen[own] = own_eyes(t[own], noise[own], text[own], generator)
        noisy = (a * seen + s * noise).contiguous(memory_format=torch.channels_last)
        # The v whose a x noisy - s x v are the true latents.
        error = model(noisy, t, encoder_hidden_states=text).sample - (a * noisy - x) / s
        # The error of the picture itself is s times that of v: weighted so, shapes come first.
        weight = sigmas[t].square().clamp(min=settings.least_weight)
        return (error.square().mean((1, 2, 3)) * weight).mean() / weight.mean()

    def save_average() -> dict[str, float]:
        facts = {"step": str(run.step), "steps": str(run.steps), "scale": str(scale)}
        save_tensors(result, white.leave(ema.shadow), facts)
        return {}

    run.go(loss, on_save=save_average, log_every=20)
    return result


def _prepared(shape: Latents, scale: float, white: Whitening, device: str) -> Latents:
    """The same pictures as the network sees them: latents scaled, captions whitened."""
    texts = shape.texts.clone()
    for part in texts.split(1024):
        part.copy_(white.states(part.float()))
    return Latents((shape.latents * scale).to(device), texts.to(device), shape.weights)


def _quicken(model: UNet2DConditionModel) -> None:
    """The same network with what a CPU trains faster: plain attention, group norms in float32."""
    from diffusers.models.attention_processor import AttnProcessor

    model.set_attn_processor(AttnProcessor())
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))


def _shaped(values: torch.Tensor) -> torch.Tensor:
    """One value a picture, to multiply N x C x H x W with."""
    return values.view(-1, 1, 1, 1)
