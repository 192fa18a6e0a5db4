"""The UNet's training data: latents of composed pictures and the token states of their captions.

Made in shards, each with every listed glyph once, so that training can begin with the first few.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..language import encode
from .architecture import NATIVE_SIZE
from .compose import Composer, Kind, Layout, shrink
from .renders import Renders
from .runs import load_tensors, save_tensors
from .train_autoencoder import to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

log = logging.getLogger(__name__)

SHARD_KINDS: tuple[Kind, ...] = (
    "white",
    "color",
    "pair",
    "color",
    "color",
    "pair",
    "color",
    "pair",
)
"""A thing alone is learned from few pictures; pairs are many, and come out last."""

STILL_LAYOUT = Layout(
    scale=(0.85, 0.85),
    pair_scale=(0.47, 0.47),
    shift=0.0,
    pair_shift=0.0,
    mirrored=0.0,
    color_noise=0,
)
"""Every thing at its one place and size: what a caption asks for is then one picture, not the
blurred mean of many that differ by a few pixels."""

KIND_WEIGHTS: dict[str, float] = {"white": 1.5, "color": 1.0, "pair": 0.8}
"""How often a picture of each kind is drawn from the shards, relative to the others."""

CAPTIONS = 3
"""Wordings for each picture."""


@dataclass(frozen=True)
class Latents:
    """`latents[i]` (float32, 8 x 16 x 16, unscaled) has the captions `texts[i]` (float16).

    `weights[i]`: how often it is drawn, relative to the others.
    """

    latents: torch.Tensor
    texts: torch.Tensor
    weights: torch.Tensor

    @property
    def scale(self) -> float:
        """One over the latents' standard deviation."""
        return 1.0 / float(self.latents.std())


def shard_file(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:02d}.safetensors"


def make_shard(
    renders: Renders, labels: Collection[str], model: AutoencoderTiny, folder: Path, index: int
) -> None:
    """Compose, encode and save one shard of these concepts; does nothing if it is there."""
    path = shard_file(folder, index)
    if path.exists():
        return
    rng = random.Random(1000 + index)
    composer = Composer(renders, labels, STILL_LAYOUT)
    kind = SHARD_KINDS[index % len(SHARD_KINDS)]
    pictures = [composer.make(rng, glyph, kind) for glyph in renders.of(labels)]
    captions = [
        composer.caption(rng, picture.labels, picture.style, picture.color, picture.tints)
        for picture in pictures
        for _ in range(CAPTIONS)
    ]
    texts = encode(captions).half().unflatten(0, (len(pictures), CAPTIONS))
    parts, device = [], next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(pictures), 16):
            batch = [shrink(p.pixels, NATIVE_SIZE) for p in pictures[start : start + 16]]
            x = torch.stack([to_tensor(pixels[None])[0] for pixels in batch])
            x = x.to(device, memory_format=torch.channels_last)
            parts.append(model.encoder(x).contiguous().cpu())
    save_tensors(path, {"latents": torch.cat(parts), "texts": texts}, {"kind": kind})
    log.info("shard %d: %d pictures (%s)", index, len(pictures), kind)


def load_shards(folder: Path) -> Latents:
    """All shards that are there."""
    files = sorted(folder.glob("shard-*.safetensors"))
    shards = [load_tensors(file) for file in files]
    weights = [
        torch.full((len(tensors["latents"]),), KIND_WEIGHTS[metadata["kind"]])
        for tensors, metadata in shards
    ]
    return Latents(
        torch.cat([tensors["latents"] for tensors, _ in shards]).float(),
        torch.cat([tensors["texts"] for tensors, _ in shards]),
        torch.cat(weights),
    )
