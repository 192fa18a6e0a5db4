"""The UNet's training data: latents of composed pictures and the token states of their captions.

Made in shards, so that training can begin with the first few. Of 140 things in three styles and 13
colours a network that sees a few thousand pairs learns those pairs, not what "and" means. So pairs
are put together from the halves of pictures that show one thing twice: each thing is encoded once
for each colour, and any two of a style make a pair.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ...language import encode
from ...starter.architecture import LATENT_FACTOR, NATIVE_SIZE
from .compose import Composer, Kind, Layout, shrink
from .renders import Renders
from .runs import load_metadata, load_tensors, save_tensors
from .train_autoencoder import to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

log = logging.getLogger(__name__)

SHAPES = ((160, 96), (96, 160), (128, 96), (96, 128), (192, 128), (128, 192))
"""Widths and heights, in pixels, of what is not square: the family's words, and 3:2."""

ROUND: tuple[tuple[Kind, Literal["square", "long"]], ...] = (
    ("white", "square"),
    ("pair", "square"),
    ("color", "square"),
    ("pair", "long"),
    ("pair", "square"),
    ("color", "long"),
    ("color", "square"),
    ("pair", "long"),
    ("pair", "square"),
    ("white", "long"),
)
"""What the shards hold, over and over: each round has one of `SHAPES` beside the squares. A thing
alone is learned from few pictures; pairs are many, and come out last."""

ALL_SHARDS = len(ROUND) * len(SHAPES)

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

SHARES: dict[str, float] = {"white": 0.12, "color": 0.33, "pair": 0.55}
"""Shares of a shape's pictures that are drawn from its shards of each kind."""

WORDINGS = 3
"""Captions for each picture that shows a thing alone."""

PAIRS = 5
"""Pairs in a shard for each glyph, each with one caption."""


@dataclass(frozen=True)
class Latents:
    """Pictures of one shape: `latents[i]` (float32, 8 x height x width) has the caption `texts[i]`
    (float16, tokens x width). `weights[i]`: how often it is drawn, relative to others.

    As they are kept, latents are what the encoder gives and captions what the language model does;
    the UNet's training scales the ones and whitens the others.
    """

    latents: torch.Tensor
    texts: torch.Tensor
    weights: torch.Tensor

    @property
    def scale(self) -> float:
        """One over the latents' standard deviation."""
        return 1.0 / float(self.latents.std())

    @property
    def cells(self) -> int:
        """Latents along one side times those along the other."""
        return self.latents.shape[2] * self.latents.shape[3]


def shard_file(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:02d}.safetensors"


def make_shard(
    renders: Renders, labels: Collection[str], model: AutoencoderTiny, folder: Path, index: int
) -> None:
    """Compose, encode and save one shard of these concepts.

    Does nothing if it is there, made from the same concepts and by the same encoder.
    """
    path = shard_file(folder, index)
    made_from = _fingerprint(renders, labels, model)
    if _is_made_from(path, made_from):
        return
    kind, shape = shard_content(index)
    rng = random.Random(1000 + index)
    composer = Composer(renders, labels, STILL_LAYOUT)
    glyphs = renders.of(labels)
    pictures, wordings = (PAIRS, 1) if kind == "pair" else (1, WORDINGS)
    contents = [composer.choose(rng, glyph, kind) for glyph in glyphs for _ in range(pictures)]
    if kind == "pair":
        halves = Halves(composer, glyphs, model, shape, folder, made_from)
        latents = torch.stack([halves.pair(*content) for content in contents])
    else:
        latents = _composed(composer, model, contents, shape)
    captions = [composer.words(rng, *content) for content in contents for _ in range(wordings)]
    tensors = {
        "latents": latents.repeat_interleave(wordings, 0),
        "texts": encode(captions).half(),
    }
    save_tensors(path, tensors, {"kind": kind, "made_from": made_from})
    log.info("shard %d: %d captions (%s, %d x %d)", index, len(captions), kind, *shape)


def shard_content(index: int) -> tuple[Kind, tuple[int, int]]:
    """What a shard shows, and its pictures' width and height in pixels."""
    rounds, place = divmod(index, len(ROUND))
    kind, form = ROUND[place]
    square = (NATIVE_SIZE, NATIVE_SIZE)
    return kind, square if form == "square" else SHAPES[rounds % len(SHAPES)]


class Halves:
    """Latents of pictures of one shape that show one thing twice, along the longer side.

    A colour's are made when they are first asked for, and kept in `folder` with `made_from`, which
    stands for the composer, the glyphs and the encoder: others make them anew.
    """

    def __init__(
        self,
        composer: Composer,
        glyphs: Sequence[int],
        model: AutoencoderTiny,
        shape: tuple[int, int],
        folder: Path,
        made_from: str,
    ) -> None:
        self._composer, self._glyphs, self._model = composer, glyphs, model
        self._shape, self._folder, self._made_from = shape, folder, made_from
        self._rows = {glyph: row for row, glyph in enumerate(glyphs)}
        self._made: dict[str, torch.Tensor] = {}

    def pair(self, members: Sequence[int], color: str | None) -> torch.Tensor:
        """The latents (8 x height x width) of two glyphs on a background."""
        twice = self.twice(color or "white")
        first, second = (twice[self._rows[glyph]] for glyph in members)
        # As they are composed: side by side, or, where it is taller than wide, one on the other.
        along = 1 if first.shape[1] > first.shape[2] else 2
        half = first.shape[along] // 2
        return torch.cat([first.narrow(along, 0, half), second.narrow(along, half, half)], along)

    def twice(self, color: str) -> torch.Tensor:
        """The latents (glyphs x 8 x height x width) of each glyph beside itself."""
        if color not in self._made:
            width, height = self._shape
            name = f"twice-{width}x{height}-{color.replace(' ', '-')}.safetensors"
            path = self._folder / name
            if not _is_made_from(path, self._made_from):
                contents = [((glyph, glyph), color) for glyph in self._glyphs]
                latents = _composed(self._composer, self._model, contents, self._shape)
                save_tensors(path, {"latents": latents}, {"made_from": self._made_from})
            self._made[color] = load_tensors(path)[0]["latents"]
        return self._made[color]


def encoded(model: AutoencoderTiny, pictures: Sequence[np.ndarray], side: int) -> torch.Tensor:
    """Latents of pictures of one shape, their shorter side first brought to `side` pixels."""
    parts, device = [], next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(pictures), 16):
            batch = np.stack([shrink(pixels, side) for pixels in pictures[start : start + 16]])
            x = to_tensor(batch).to(device, memory_format=torch.channels_last)
            parts.append(model.encoder(x).contiguous().cpu())
    return torch.cat(parts)


def load_shards(folder: Path) -> list[Latents]:
    """All shards that are there, by shape; the square pictures first.

    Raises ValueError if they were made from different concepts or by different encoders.
    """
    found: dict[tuple[int, int], list[tuple[str, dict[str, torch.Tensor]]]] = {}
    sources: set[str] = set()
    for file in sorted(folder.glob("shard-*.safetensors")):
        tensors, metadata = load_tensors(file)
        sources.add(metadata["made_from"])
        height, width = tensors["latents"].shape[2:]
        found.setdefault((height, width), []).append((metadata["kind"], tensors))
    if len(sources) != 1:
        raise ValueError(f"The shards in {folder} are none, or not of one making: make them anew.")
    native = NATIVE_SIZE // LATENT_FACTOR
    square = found.pop((native, native))
    return [_joined(square), *(_joined(shards) for shards in found.values())]


def _fingerprint(renders: Renders, labels: Collection[str], model: AutoencoderTiny) -> str:
    """Changes with whatever changes the latents, but for the code that composes them."""
    settled = (ROUND, SHAPES, STILL_LAYOUT, WORDINGS, PAIRS)
    glyphs = [renders.glyphs[i] for i in renders.of(labels)]
    digest = hashlib.sha256(repr((settled, glyphs)).encode())
    for name, weight in sorted(model.encoder.state_dict().items()):
        digest.update(name.encode() + weight.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _is_made_from(path: Path, made_from: str) -> bool:
    return path.exists() and load_metadata(path).get("made_from") == made_from


def _joined(shards: list[tuple[str, dict[str, torch.Tensor]]]) -> Latents:
    rows = dict.fromkeys((kind for kind, _ in shards), 0)
    for kind, tensors in shards:
        rows[kind] += len(tensors["latents"])
    weights = [
        torch.full((len(tensors["latents"]),), SHARES[kind] / rows[kind])
        for kind, tensors in shards
    ]
    return Latents(
        torch.cat([tensors["latents"] for _, tensors in shards]).float(),
        torch.cat([tensors["texts"] for _, tensors in shards]),
        torch.cat(weights),
    )


def _composed(
    composer: Composer,
    model: AutoencoderTiny,
    contents: Sequence[tuple[tuple[int, ...], str | None]],
    shape: tuple[int, int],
) -> torch.Tensor:
    """Latents of pictures of one shape: the glyphs and the background's colour of each."""
    # Composed at twice their size, as large as the renders are. In `STILL_LAYOUT` chance decides
    # nothing that can be seen.
    size = (2 * shape[0], 2 * shape[1])
    pictures = [composer.compose(random.Random(0), *content, size).pixels for content in contents]
    return encoded(model, pictures, min(shape))
