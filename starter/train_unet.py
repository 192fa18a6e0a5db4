"""Train the UNet on cached latents: v-prediction, zero terminal SNR, empty prompts for guidance."""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch

from ..language import encode
from .architecture import alphas_and_sigmas, build_unet
from .checkpoint import part_of
from .latents import Latents
from .runs import Ema, Run, placed, save_tensors
from .whitening import Whitening

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UNetSettings:
    """`noisier_half`: share of the timesteps drawn from the noisier half, in 0 to 1.
    `least_weight`: least weight of a timestep's loss, in 0 to 1. A run from nothing learns shapes
    first with 0.75 and 0.1; the defaults then bring surfaces and styles.
    """

    steps: int = 4000
    batch: int = 8
    learning_rate: float = 5e-4
    empty_prompts: float = 0.1
    noisier_half: float = 0.55
    least_weight: float = 0.4
    workers: int = 1
    seed: int = 0


def train(
    data: Latents,
    scale: float,
    folder: Path,
    settings: UNetSettings,
    start_from: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Train in `folder` (or go on there); returns the file with the averaged weights.

    `scale` multiplies the latents. `start_from`: weights to begin with, in diffusers' key names,
    or a whole starter's file.
    """
    result = folder / "unet.safetensors"
    torch.manual_seed(settings.seed)
    white = Whitening.kept(folder / "whitening.safetensors", data.texts)
    model = build_unet()
    if start_from is not None:
        model.load_state_dict(white.enter(part_of(start_from, "unet")))
    model = placed(model, device).train()
    # An average over about the last twentieth of the run.
    ema = Ema(model, min(0.9998, 1 - 20 / settings.steps))
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
    )
    run.resume()
    power = math.log(0.5) / math.log(1 - settings.noisier_half)
    alphas, sigmas = (values.to(device) for values in alphas_and_sigmas())
    latents = (data.latents * scale).to(device)
    texts = white.states(data.texts.float()).half().to(device)
    nothing = white.states(encode([""])[0]).to(device)

    def loss(rng: random.Random, generator: torch.Generator) -> torch.Tensor:
        del rng
        count = settings.batch
        chosen = torch.multinomial(data.weights, count, generator=generator)
        wording = torch.randint(texts.shape[1], (count,), generator=generator)
        x = latents[chosen.to(device)]
        text = texts[chosen.to(device), wording.to(device)].float()
        empty = torch.rand(count, generator=generator) < settings.empty_prompts
        text[empty.to(device)] = nothing
        # One time from each of `count` equal slices: the same spread with less noise in the loss.
        # The noisier half, where shapes are decided, gets `noisier_half` of them.
        offset = torch.rand(count, generator=generator)
        share = ((torch.arange(count) + offset) / count).pow(power)
        t = (share * len(alphas)).long().clamp(max=len(alphas) - 1).to(device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        a, s = alphas[t].view(-1, 1, 1, 1), sigmas[t].view(-1, 1, 1, 1)
        noisy = (a * x + s * noise).contiguous(memory_format=torch.channels_last)
        error = model(noisy, t, encoder_hidden_states=text).sample - (a * noise - s * x)
        # The error of the picture itself is s times that of v: weighted so, shapes come first.
        weight = sigmas[t].square().clamp(min=settings.least_weight)
        return (error.square().mean((1, 2, 3)) * weight).mean() / weight.mean()

    def measure() -> dict[str, float]:
        facts = {"step": str(run.step), "scale": str(scale)}
        save_tensors(result, white.leave(ema.shadow), facts)
        return {}

    run.go(loss, on_save=measure, log_every=20)
    return result
