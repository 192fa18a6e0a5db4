"""How well the starter draws what it is asked for.

    python -m benchmarks.starter_quality [--pictures 120] [--packages FOLDER]

A classifier is trained here on renders of all concepts that the starter was taught (npm fetches
the packages on the first run), and reported with its accuracy on pictures that it never saw. Then
the starter draws five sets of prompts: worded like the training captions, worded otherwise, of two
things, of sizes that are not square, and of both.

Printed: share of backgrounds of the asked colour, share of things with the asked concept in the
classifier's top 5, share of the asked style, and the autoencoder's PSNR on held-out pictures. Of a
pair each half is judged by itself, of what is not square the square in its middle.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from kizy.core.request import GenerationRequest
from kizy.drawing.drawer import Drawer
from kizy.orchestrator.app import App
from kizy.starter import checkpoint
from kizy.starter.architecture import NATIVE_SIZE, build_autoencoder
from kizy.starter.concepts import COLORS, STYLES, concepts, taught
from kizy.tools.starter import renders, train_autoencoder
from kizy.tools.starter.compose import Composer, Kind, color_names, shrink, with_article
from PIL import Image
from torch import nn

from .drawing import draw

log = logging.getLogger("starter_quality")

INPUT_SIZE = 48
STYLE_NAMES = tuple(STYLES)
BORDER = 6
"""Width of the border, in pixels of 128, whose median is called the background."""

KNOWN_WORDING = "{a_thing} on {a_color} background, {style}"
NEW_WORDINGS = (
    "{color} background with {a_thing}, {style}",
    "please draw {a_thing} in front of {color}, {style}",
    "cute {thing} on a plain {color} background, {style}",
    "one single {thing}, {color} background, {style}",
)

NOT_SQUARE = ("portrait", "landscape", "wide", "tall")


@dataclass(frozen=True)
class Wish:
    """A prompt and what should be seen: one thing or two, in this order."""

    prompt: str
    labels: tuple[str, ...]
    style: str
    color: str
    size: str = "square"


class Classifier(nn.Module):
    """A small convolutional network with two answers: which concept, which style."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (32, 64, 128, 256):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            channels = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2))
        self.concept = nn.Linear(4 * channels, classes)
        self.style = nn.Linear(4 * channels, len(STYLE_NAMES))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(x)
        return self.concept(features), self.style(features)


@dataclass(frozen=True)
class Examples:
    pixels: np.ndarray
    concepts: torch.Tensor
    styles: torch.Tensor


def examples(
    drawn: renders.Renders, labels: list[str], rounds: int, seed: int, *, pairs: bool = False
) -> Examples:
    """`rounds` pictures of every taught glyph, on white and on colours, small.

    `pairs`: of two things each, cut into their halves.
    """
    rng, composer = random.Random(seed), Composer(drawn, labels)
    pixels, which, styles = [], [], []
    for number in range(rounds):
        for glyph in drawn.of(labels):
            plain: Kind = "white" if number % 4 == 0 else "color"
            picture = composer.make(rng, glyph, "pair" if pairs else plain)
            for label, part in zip(
                picture.labels, parts(picture.pixels, len(picture.labels)), strict=True
            ):
                pixels.append(shrink(part, INPUT_SIZE))
                which.append(labels.index(label))
                styles.append(STYLE_NAMES.index(picture.style))
    return Examples(np.stack(pixels), torch.tensor(which), torch.tensor(styles))


def parts(pixels: np.ndarray, count: int) -> list[np.ndarray]:
    """The square in the middle of a picture or, for two things, of each of its halves."""
    halves = np.array_split(pixels, count, axis=0 if pixels.shape[0] > pixels.shape[1] else 1)
    found = []
    for half in halves:
        height, width = half.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        found.append(half[top : top + side, left : left + side])
    return found


def train_classifier(data: Examples, classes: int, epochs: int) -> Classifier:
    """Trained with blur, noise and mirroring, so that soft pictures are not foreign to it."""
    torch.manual_seed(0)
    model = Classifier(classes).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    x = train_autoencoder.to_tensor(data.pixels)
    batch, steps = 64, epochs * len(x) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 10))
    generator = torch.Generator().manual_seed(0)
    for _ in range(max(steps, 10)):
        chosen = torch.randint(len(x), (batch,), generator=generator)
        seen = _disturbed(x[chosen], generator)
        concept, style = model(seen)
        loss = nn.functional.cross_entropy(concept, data.concepts[chosen], label_smoothing=0.1)
        loss = loss + 0.5 * nn.functional.cross_entropy(style, data.styles[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _disturbed(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if torch.rand((), generator=generator) < 0.5:
        x = x.flip(3)
    draw = float(torch.rand((), generator=generator))
    if draw < 0.5:
        small = 16 if draw < 0.2 else 24
        x = nn.functional.interpolate(x, small, mode="area")
        x = nn.functional.interpolate(x, INPUT_SIZE, mode="bilinear")
    return x + 0.1 * torch.rand((), generator=generator) * torch.randn(x.shape, generator=generator)


@torch.inference_mode()
def accuracy(model: Classifier, data: Examples) -> dict[str, float]:
    """Share of right answers: concept first, concept among five, style."""
    concept, style = model(train_autoencoder.to_tensor(data.pixels))
    top = concept.topk(5).indices
    return {
        "top1": _share(top[:, 0] == data.concepts),
        "top5": _share((top == data.concepts[:, None]).any(1)),
        "style": _share(style.argmax(1) == data.styles),
    }


def _share(values: torch.Tensor) -> float:
    return round(float(values.float().mean()), 3)


def wishes(
    count: int,
    labels: list[str],
    *,
    seed: int,
    templates: Sequence[str] = (KNOWN_WORDING,),
    things: int = 1,
    sizes: Sequence[str] = ("square",),
) -> list[Wish]:
    """Prompts with one thing or more of one style, one colour, and a size."""
    rng, found = random.Random(seed), []
    words = {concept.label: (concept.label, *concept.words) for concept in concepts()}
    for number in range(count):
        label, style = rng.choice(labels), STYLE_NAMES[number % len(STYLE_NAMES)]
        color, asked, names = rng.choice(sorted(COLORS)), [label], [rng.choice(words[label])]
        for _ in range(things - 1):
            asked.append(rng.choice(labels))
            names.append(rng.choice(words[asked[-1]]))
        prompt = templates[number % len(templates)].format(
            thing=" and ".join(names),
            a_thing=" and ".join(with_article(name) for name in names),
            color=color,
            a_color=with_article(color),
            style=STYLES[style],
        )
        found.append(Wish(prompt, tuple(asked), style, color, sizes[number % len(sizes)]))
    return found


def background(pixels: np.ndarray) -> str:
    """Name of the colour nearest to the median of the picture's border."""
    edge = np.ones(pixels.shape[:2], bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    median = np.median(pixels[edge], axis=0)
    return color_names(median[None])[0]


def measure(
    model: Classifier, labels: list[str], asked: list[Wish], grid: Path, steps: int | None
) -> dict[str, float]:
    """Draw every wish (seeds 0, 1, ...), judge the pictures, save the first 48 as a grid."""
    app, drawer, pictures = App(), Drawer(previews=False), []
    for seed, wish in enumerate(asked):
        values = {"prompt": wish.prompt, "seed": seed, "model": "starter", "size": wish.size}
        request = GenerationRequest.model_validate(values | ({"steps": steps} if steps else {}))
        pictures.append(np.asarray(draw(drawer, app.plan(request, raw=True))))
    _save_grid(pictures[:48], grid)
    things = [
        (shrink(part, INPUT_SIZE), labels.index(label), STYLE_NAMES.index(wish.style))
        for pixels, wish in zip(pictures, asked, strict=True)
        for part, label in zip(parts(pixels, len(wish.labels)), wish.labels, strict=True)
    ]
    pixels, which, styles = zip(*things, strict=True)
    seen = Examples(np.stack(pixels), torch.tensor(which), torch.tensor(styles))
    right = [background(p) == wish.color for p, wish in zip(pictures, asked, strict=True)]
    found = accuracy(model, seen)
    return {"background": round(float(np.mean(right)), 3), **found}


def _save_grid(pictures: list[np.ndarray], path: Path) -> None:
    """Pictures in rows of eight, each in the middle of a cell as large as the largest sides."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // 8)
    grid = Image.new("RGB", (8 * width, rows * height), "white")
    for number, pixels in enumerate(pictures):
        row, column = divmod(number, 8)
        left = column * width + (width - pixels.shape[1]) // 2
        top = row * height + (height - pixels.shape[0]) // 2
        grid.paste(Image.fromarray(pixels), (left, top))
    grid.save(path)


def reconstruction(drawn: renders.Renders) -> float:
    """PSNR in dB of the committed autoencoder on pictures of glyphs that no training saw."""
    model = build_autoencoder()
    model.load_state_dict(checkpoint.load().autoencoder)
    rng, hidden = random.Random(7), drawn.held_out()
    composer = Composer(drawn, taught(everyday_only=False))
    pictures = [
        shrink(composer.make(rng, glyph, "white" if i % 3 == 0 else "color").pixels, NATIVE_SIZE)
        for i, glyph in enumerate(hidden)
    ]
    return round(train_autoencoder.psnr(model, np.stack(pictures)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=120, help="of each set of prompts")
    parser.add_argument("--packages", type=Path, default=Path("runs/packages"))
    parser.add_argument("--concepts", choices=("everyday", "all"), default="everyday")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifier")
    parser.add_argument("--steps", type=int, help="sampler steps; default: the starter's own")
    parser.add_argument("--grids", type=Path, default=Path("runs"), help="folder of the grids")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    renders.install_packages(options.packages)
    drawn = renders.load(options.packages, 256)
    labels = sorted(taught(everyday_only=options.concepts == "everyday"))
    options.grids.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    classifier = train_classifier(examples(drawn, labels, 12, seed=1), len(labels), options.epochs)
    held_out = {
        "alone": accuracy(classifier, examples(drawn, labels, 1, seed=99)),
        "halves of pairs": accuracy(classifier, examples(drawn, labels, 1, seed=98, pairs=True)),
    }
    log.info("classifier on held-out pictures: %s (%.0f s)", held_out, time.monotonic() - started)
    result: dict[str, object] = {"concepts": len(labels), "classifier": held_out}
    count = options.pictures
    sets = {
        "training captions": wishes(count, labels, seed=5),
        "new wordings": wishes(count, labels, seed=6, templates=NEW_WORDINGS),
        "pairs": wishes(count, labels, seed=7, things=2),
        "not square": wishes(count, labels, seed=8, sizes=NOT_SQUARE),
        "pairs, not square": wishes(count, labels, seed=9, things=2, sizes=NOT_SQUARE),
    }
    for name, asked in sets.items():
        grid = options.grids / f"starter-{name.replace(',', '').replace(' ', '-')}.png"
        result[name] = measure(classifier, labels, asked, grid, options.steps)
        log.info("%s: %s", name, result[name])
    result["reconstruction_psnr_db"] = reconstruction(drawn)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
