"""Train the autoencoder: crops of composed pictures, L1 + gradients + MSE, calm latents.

With `decoder_only` the encoder stays as it is: latents that a UNet was trained on keep their
meaning while their pictures get better.
"""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...starter.architecture import NATIVE_SIZE, build_autoencoder
from ...starter.checkpoint import part_of
from ...starter.concepts import taught
from .compose import Composer, Kind, Layout, shrink
from .renders import Renders
from .runs import Run, placed, save_tensors

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

log = logging.getLogger(__name__)

WIDE_LAYOUT = Layout(scale=(0.5, 1.1), shift=0.1, mirrored=0.5, color_noise=20)
"""For reconstruction every place and size counts, not the calm ones that the UNet learns."""


@dataclass(frozen=True)
class AutoencoderSettings:
    steps: int = 6000
    batch: int = 4
    crop: int = 64
    learning_rate: float = 1e-3
    pictures: int = 6000
    latent_noise: float = 0.05
    decoder_only: bool = False
    seed: int = 0
    workers: int = 1
    bf16: bool = False


def pool(renders: Renders, count: int, seed: int, glyphs: list[int] | None = None) -> np.ndarray:
    """`count` composed pictures, uint8, count x 128 x 128 x 3; held-out glyphs are left out."""
    rng = random.Random(seed)
    if glyphs is None:
        hidden = set(renders.held_out())
        glyphs = [i for i in range(len(renders.glyphs)) if i not in hidden]
    composer = Composer(renders, taught(everyday_only=False), WIDE_LAYOUT)
    kinds: tuple[Kind, ...] = ("white", "color", "color", "pair")
    pictures = []
    for i in range(count):
        picture = composer.make(rng, rng.choice(glyphs), kinds[i % len(kinds)])
        pictures.append(shrink(picture.pixels, NATIVE_SIZE))
    return np.stack(pictures)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 N x H x W x 3 to float32 N x 3 x H x W in -1 to 1."""
    tensor = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    return tensor.float().div(127.5).sub(1).contiguous()


def psnr(model: AutoencoderTiny, pixels: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of what comes back, over all pictures together."""
    error, count, device = 0.0, 0, next(model.parameters()).device
    with torch.no_grad():
        for start in range(0, len(pixels), 16):
            x = to_tensor(pixels[start : start + 16]).to(device)
            back = model.decoder(model.encoder(x)).clamp(-1, 1)
            error += float(((back - x) ** 2).sum())
            count += x.numel()
    return 10 * math.log10(4 / (error / count))


def reconstruction_loss(back: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """L1 + 0.4 x L1 of the gradients + 10 x MSE + 4 x MSE of 8x8 means: edges, and true colours."""
    difference = back - x
    across, down = difference.diff(dim=3).abs().mean(), difference.diff(dim=2).abs().mean()
    coarse = torch.nn.functional.avg_pool2d(difference, 8)
    return (
        difference.abs().mean()
        + 0.4 * (across + down)
        + 10 * difference.square().mean()
        + 4 * coarse.square().mean()
    )


def train(
    renders: Renders,
    folder: Path,
    settings: AutoencoderSettings,
    start_from: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Train in `folder` (or go on there); returns the file with the weights.

    `start_from`: weights to begin with, in diffusers' key names, or a whole starter's file.
    """
    result = folder / "autoencoder.safetensors"
    torch.manual_seed(settings.seed)
    model = build_autoencoder()
    if start_from is not None:
        model.load_state_dict(part_of(start_from, "autoencoder"))
    if settings.decoder_only:
        model.encoder.requires_grad_(False)
    model = placed(model, device)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=1e-5,
    )
    run = Run(
        folder,
        {"autoencoder": model},
        optimizer,
        steps=settings.steps,
        warmup=50,
        seed=settings.seed,
        save_every=120,
        workers=settings.workers,
        bf16=settings.bf16,
        begun_with={"batch": settings.batch, "decoder_only": settings.decoder_only},
    )
    run.resume()
    pictures = pool(renders, settings.pictures, settings.seed)
    held_out = pool(renders, 64, seed=1, glyphs=renders.held_out())

    def loss(rng: random.Random, generator: torch.Generator) -> torch.Tensor:
        x = _crops(rng, pictures, settings.batch, settings.crop).to(device)
        with torch.set_grad_enabled(not settings.decoder_only):
            z = model.encoder(x)
        noise = torch.randn(z.shape, generator=generator).to(device)
        value = reconstruction_loss(model.decoder(z + settings.latent_noise * noise), x)
        if not settings.decoder_only:
            calm = (z.mean((0, 2, 3)) ** 2).mean() + (z.std((0, 2, 3)) - 1).pow(2).mean()
            value = value + 0.05 * calm
        return value

    def measure() -> dict[str, float]:
        save_tensors(result, model.state_dict(), {"step": str(run.step)})
        return {"held_out_psnr": round(psnr(model, held_out), 2)}

    log.info("autoencoder: held-out PSNR at the start %.2f dB", psnr(model, held_out))
    run.go(loss, on_save=measure)
    return result


def _crops(rng: random.Random, pictures: np.ndarray, batch: int, crop: int) -> torch.Tensor:
    chosen = []
    for _ in range(batch):
        picture = pictures[rng.randrange(len(pictures))]
        top = rng.randint(0, picture.shape[0] - crop)
        left = rng.randint(0, picture.shape[1] - crop)
        chosen.append(picture[top : top + crop, left : left + crop])
    return to_tensor(np.stack(chosen)).to(memory_format=torch.channels_last)
