"""Train the enlarger: from what the autoencoder makes of a small picture to the large original.

The inputs went through the autoencoder with some noise on their latents, so the network also
sharpens what the autoencoder blurs and mends small faults of the UNet's latents.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ...imaging.enlarge import enlarge
from ...imaging.srvgg import SCALE, SRVGGNetCompact
from ...starter.architecture import NATIVE_SIZE, build_autoencoder
from ...starter.concepts import concepts, taught
from .compose import Composer, Kind, Layout, shrink
from .renders import Renders
from .runs import Ema, Run, load_tensors, placed, save_tensors
from .train_autoencoder import to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

log = logging.getLogger(__name__)

TARGET_SIZE = NATIVE_SIZE * SCALE
"""Side of the target pictures, and of the renders that they are composed of."""

LAYOUT = Layout(scale=(0.6, 1.0), shift=0.06, mirrored=0.5, color_noise=20)
KINDS: tuple[Kind, ...] = ("white", "color", "color", "pair")

KINDS_3D: tuple[Kind, ...] = ("white", "color", "pair", "pair")
"""The 3d renders come at 256 pixels: only in pairs are they as sharp as the target."""

FLAT_RANGE = 12
"""A target crop whose channels all vary by less than this, in steps of 255, is flat."""

EDGE = 3 * SCALE
"""Pixels of a target crop, from its edge, that count little."""

MEASURED_PAIRS = 24


@dataclass(frozen=True)
class EnlargerSettings:
    """`crop`: side of the input crops. `clean`: share of inputs without the autoencoder.

    `latent_noise`: highest deviation of the noise on the unscaled latents. `flat`: share of the
    flat crops that are kept.
    """

    steps: int = 8000
    batch: int = 8
    crop: int = 32
    learning_rate: float = 1e-3
    pictures: int = 600
    num_feat: int = 32
    num_conv: int = 16
    clean: float = 0.15
    latent_noise: float = 0.25
    flat: float = 0.05
    seed: int = 0
    workers: int = 1
    bf16: bool = False


@dataclass(frozen=True)
class Pairs:
    """`inputs` (uint8, N x 128 x 128 x 3) and `targets` (uint8, N x 512 x 512 x 3)."""

    inputs: np.ndarray
    targets: np.ndarray


def labels(renders: Renders) -> list[str]:
    """What to draw at 512 pixels: the listed concepts, and some that no training sees."""
    hidden = {renders.glyphs[i].label for i in renders.held_out()}
    return [concept.label for concept in concepts()] + sorted(hidden)[::4]


def train(
    renders512: Renders,
    autoencoder_path: Path,
    folder: Path,
    settings: EnlargerSettings,
    start_from: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Train in `folder` (or go on there); returns the file with the weights (averaged, float16).

    `renders512`: at 512 pixels, of `labels`: listed ones to train on, held-out ones to measure
    with. `autoencoder_path`: its weights in diffusers' key names; with other weights in the same
    folder the pairs are made anew. `start_from`: an enlarger's weights to begin with.
    """
    result = folder / "enlarger.safetensors"
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(load_tensors(autoencoder_path)[0])
    autoencoder.requires_grad_(False).eval()
    torch.manual_seed(settings.seed)
    model = _initialized(SRVGGNetCompact(settings.num_feat, settings.num_conv))
    if start_from is not None:
        model.load_state_dict(load_tensors(start_from)[0])
    model = placed(model, device)
    ema = Ema(model, 0.999)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    run = Run(
        folder,
        {"enlarger": model},
        optimizer,
        steps=settings.steps,
        warmup=100,
        seed=settings.seed,
        ema={"enlarger": ema},
        save_every=180,
        workers=settings.workers,
        bf16=settings.bf16,
        begun_with={"batch": settings.batch},
    )
    run.resume()
    maker = PairMaker(renders512, autoencoder, settings)
    made_from = _fingerprint(autoencoder_path, settings, renders512)
    glyphs = renders512.of(taught(everyday_only=False))
    pairs = load_pairs(folder, f"pairs-{made_from}", maker, glyphs, settings.pictures)
    measured = load_pairs(
        folder, f"measured-{made_from}", maker, renders512.held_out(), MEASURED_PAIRS
    )
    plain = {
        f"{method.name.lower()}_psnr": round(resized_psnr(measured, method), 2)
        for method in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    }

    def loss(rng: random.Random, generator: torch.Generator) -> torch.Tensor:
        x, y = _crops(rng, pairs, settings)
        return enlarging_loss(model(x.to(device)), y.to(device))

    def measure() -> dict[str, float]:
        averaged = SRVGGNetCompact(settings.num_feat, settings.num_conv)
        averaged.load_state_dict(ema.shadow)
        half = {name: tensor.half() for name, tensor in ema.shadow.items()}
        save_tensors(result, half, {"step": str(run.step)})
        return {"held_out_psnr": round(psnr(averaged, measured), 2)} | plain

    run.go(loss, on_save=measure)
    return result


def load_pairs(folder: Path, name: str, maker: PairMaker, glyphs: list[int], count: int) -> Pairs:
    """`count` pairs of `glyphs`; made on the first call, then read from two files in `folder`."""
    inputs_file = folder / f"{name}-{count}-inputs.npy"
    targets_file = folder / f"{name}-{count}-targets.npy"
    if not inputs_file.exists():
        _make_pairs(inputs_file, targets_file, maker, glyphs, count)
    return Pairs(np.load(inputs_file), np.load(targets_file, mmap_mode="r"))


def _make_pairs(
    inputs_file: Path, targets_file: Path, maker: PairMaker, glyphs: list[int], count: int
) -> None:
    part = targets_file.with_suffix(".part")
    shape = (count, TARGET_SIZE, TARGET_SIZE, 3)
    targets = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
    inputs = np.empty((count, NATIVE_SIZE, NATIVE_SIZE, 3), np.uint8)
    for i in range(count):
        inputs[i], targets[i] = maker.make(random.Random(i), glyphs)
        if (i + 1) % 250 == 0:
            log.info("enlarger: %d of %d pairs", i + 1, count)
    targets.flush()
    part.replace(targets_file)
    # The inputs come last: they say that the pairs are whole.
    part = inputs_file.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, inputs)
    part.replace(inputs_file)


class PairMaker:
    """Makes pairs of input and target, by a random generator that is handed in."""

    def __init__(
        self, renders: Renders, autoencoder: AutoencoderTiny, settings: EnlargerSettings
    ) -> None:
        self._renders, self._autoencoder, self._settings = renders, autoencoder, settings
        self._composer = Composer(renders, taught(everyday_only=False), LAYOUT)

    def make(self, rng: random.Random, glyphs: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """A pair that shows one of `glyphs` (in some, a second one that is listed)."""
        glyph = rng.choice(glyphs)
        kinds = KINDS_3D if self._renders.glyphs[glyph].style == "3d" else KINDS
        target = self._composer.make(rng, glyph, rng.choice(kinds)).pixels
        small = shrink(target, NATIVE_SIZE)
        if rng.random() < self._settings.clean:
            return small, target
        deviation = rng.uniform(0, self._settings.latent_noise)
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        return _through(self._autoencoder, small, deviation, generator), target


def _fingerprint(autoencoder_path: Path, settings: EnlargerSettings, renders: Renders) -> str:
    """Changes with whatever changes the pairs, but for the code that composes them."""
    settled = (settings.clean, settings.latent_noise, LAYOUT, KINDS, KINDS_3D, renders.glyphs)
    made_with = repr(settled).encode()
    return hashlib.sha256(autoencoder_path.read_bytes() + made_with).hexdigest()[:8]


@torch.inference_mode()
def _through(
    autoencoder: AutoencoderTiny, pixels: np.ndarray, deviation: float, generator: torch.Generator
) -> np.ndarray:
    """What the autoencoder makes of a picture, with noise of that deviation on the latents."""
    z = autoencoder.encoder(to_tensor(pixels[None].copy()))
    z = z + deviation * torch.randn(z.shape, generator=generator)
    back = autoencoder.decoder(z).clamp(-1, 1)[0]
    return back.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def enlarging_loss(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + 0.2 x L1 of the gradients; little weight on the edge of the crop.

    Convolutions see black beyond the edge. `enlarge` repeats the edge instead, so it matters only
    where others run the network; at full weight it stops the network from learning anything else.
    """
    difference = y - target
    inside = difference[..., EDGE:-EDGE, EDGE:-EDGE]
    across, down = inside.diff(dim=3).abs().mean(), inside.diff(dim=2).abs().mean()
    edge_weight = 0.02
    return inside.abs().mean() + 0.2 * (across + down) + edge_weight * difference.abs().mean()


def psnr(model: SRVGGNetCompact, pairs: Pairs) -> float:
    """Peak signal-to-noise ratio in dB of the enlarged inputs, over all pairs together."""
    enlarged = (enlarge(Image.fromarray(x), model) for x in pairs.inputs)
    return _psnr(np.stack([np.asarray(picture) for picture in enlarged]), pairs.targets)


def resized_psnr(pairs: Pairs, method: Image.Resampling) -> float:
    """The same for a plain resize of the inputs."""
    size = (TARGET_SIZE, TARGET_SIZE)
    resized = (Image.fromarray(x).resize(size, method) for x in pairs.inputs)
    return _psnr(np.stack([np.asarray(picture) for picture in resized]), pairs.targets)


def _psnr(pixels: np.ndarray, targets: np.ndarray) -> float:
    error = np.square(pixels.astype(np.float32) - targets).mean(dtype=np.float64)
    return 10 * math.log10(255**2 / float(error))


@torch.no_grad()
def _initialized(model: SRVGGNetCompact) -> SRVGGNetCompact:
    """At first the network is a bilinear resize, and each layer hands on what it is given.

    From random weights the 18 layers, which have no way around them, soon pass no signal at all.
    """
    convolutions = [layer for layer in model.body if isinstance(layer, torch.nn.Conv2d)]
    first, *middle, last = convolutions
    for layer in convolutions:
        torch.nn.init.kaiming_normal_(layer.weight, a=0.25)
        if layer.bias is not None:
            layer.bias.zero_()
    first.weight[:3] = 0
    torch.nn.init.dirac_(first.weight[:3])
    for layer in middle:
        layer.weight.mul_(0.3)
        layer.weight[:3] = 0
        layer.weight[:, :, 1, 1] += torch.eye(layer.weight.shape[0])
    last.weight.zero_()
    # What each of 3 x 3 neighbours adds to the 4 x 4 pixels that come of the middle one.
    neighbours = torch.eye(9).view(9, 1, 3, 3)
    smooth = functional.interpolate(neighbours, scale_factor=SCALE, mode="bilinear")
    repeated = functional.interpolate(neighbours, scale_factor=SCALE, mode="nearest")
    added = (smooth - repeated)[:, 0, SCALE : 2 * SCALE, SCALE : 2 * SCALE]
    for channel, rows in enumerate(last.weight.split(SCALE**2)):
        rows[:, channel] = added.flatten(1).T.reshape(-1, 3, 3)
    return model


def _crops(
    rng: random.Random, pairs: Pairs, settings: EnlargerSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, float32 in 0 to 1."""
    inputs, targets = [], []
    while len(inputs) < settings.batch:
        i = rng.randrange(len(pairs.inputs))
        top = rng.randint(0, NATIVE_SIZE - settings.crop)
        left = rng.randint(0, NATIVE_SIZE - settings.crop)
        target = pairs.targets[i][_square(top * SCALE, left * SCALE, settings.crop * SCALE)]
        if _is_flat(target) and rng.random() >= settings.flat:
            continue
        inputs.append(pairs.inputs[i][_square(top, left, settings.crop)])
        targets.append(target)
    return _unit(np.stack(inputs)), _unit(np.stack(targets))


def _square(top: int, left: int, side: int) -> tuple[slice, slice]:
    return slice(top, top + side), slice(left, left + side)


def _is_flat(pixels: np.ndarray) -> bool:
    return int(np.ptp(pixels, axis=(0, 1)).max()) < FLAT_RANGE


def _unit(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)
