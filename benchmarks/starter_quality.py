"""How well the starter draws what it is asked for.

    python -m benchmarks.starter_quality [--pictures 120] [--packages FOLDER]

A classifier is trained here on renders of all concepts that the starter was taught (npm fetches
the packages on the first run), and reported with its accuracy on pictures that it never saw. Then
the starter draws two sets of prompts: worded like the training captions, and worded otherwise.

Printed: share of backgrounds of the asked colour, share of pictures with the asked concept in the
classifier's top 5, share of the asked style, and the autoencoder's PSNR on held-out pictures.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from kizy.core.request import GenerationRequest
from kizy.drawing.drawer import Drawer
from kizy.orchestrator.app import App
from kizy.starter import checkpoint, renders, train_autoencoder
from kizy.starter.architecture import NATIVE_SIZE, build_autoencoder
from kizy.starter.compose import Composer, color_names, shrink
from kizy.starter.concepts import COLORS, STYLES, concepts, taught
from PIL import Image
from torch import nn

from .drawing import draw

log = logging.getLogger("starter_quality")

INPUT_SIZE = 48
STYLE_NAMES = tuple(STYLES)
BORDER = 6
"""Width of the border, in pixels of 128, whose median is called the background."""

NEW_WORDINGS = (
    "{color} background with {article} {thing}, {style}",
    "please draw {article} {thing} in front of {color}, {style}",
    "cute {thing} on a plain {color} background, {style}",
    "one single {thing}, {color} background, {style}",
)


@dataclass(frozen=True)
class Wish:
    """A prompt and what should be seen."""

    prompt: str
    label: str
    style: str
    color: str


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


def examples(drawn: renders.Renders, labels: list[str], rounds: int, seed: int) -> Examples:
    """`rounds` pictures of every taught glyph, on white and on colours, small."""
    rng, composer = random.Random(seed), Composer(drawn, labels)
    pixels, which, styles = [], [], []
    for number in range(rounds):
        for glyph in drawn.of(labels):
            picture = composer.make(rng, glyph, "white" if number % 4 == 0 else "color")
            pixels.append(shrink(picture.pixels, INPUT_SIZE))
            which.append(labels.index(picture.labels[0]))
            styles.append(STYLE_NAMES.index(picture.style))
    return Examples(np.stack(pixels), torch.tensor(which), torch.tensor(styles))


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


def wishes(count: int, labels: list[str], *, known_wording: bool, seed: int) -> list[Wish]:
    """Prompts with one thing, one style and one colour each."""
    rng, found = random.Random(seed), []
    words = {concept.label: (concept.label, *concept.words) for concept in concepts()}
    for number in range(count):
        label, style = rng.choice(labels), STYLE_NAMES[number % len(STYLE_NAMES)]
        color, thing = rng.choice(sorted(COLORS)), rng.choice(words[label])
        article = "an" if thing[0] in "aeiou" else "a"
        template = "{article} {thing} on a {color} background, {style}"
        if not known_wording:
            template = NEW_WORDINGS[number % len(NEW_WORDINGS)]
        prompt = template.format(article=article, thing=thing, color=color, style=STYLES[style])
        found.append(Wish(prompt, label, style, color))
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
        values = {"prompt": wish.prompt, "seed": seed, "model": "starter"}
        request = GenerationRequest.model_validate(values | ({"steps": steps} if steps else {}))
        pictures.append(np.asarray(draw(drawer, app.plan(request, raw=True))))
    shown = pictures[: len(pictures[:48]) // 8 * 8]
    rows = [np.concatenate(shown[i : i + 8], 1) for i in range(0, len(shown), 8)]
    if rows:
        Image.fromarray(np.concatenate(rows)).save(grid)
    seen = Examples(
        np.stack([shrink(pixels, INPUT_SIZE) for pixels in pictures]),
        torch.tensor([labels.index(wish.label) for wish in asked]),
        torch.tensor([STYLE_NAMES.index(wish.style) for wish in asked]),
    )
    right = [background(p) == wish.color for p, wish in zip(pictures, asked, strict=True)]
    found = accuracy(model, seen)
    return {"background": round(float(np.mean(right)), 3), **found}


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
    held_out = accuracy(classifier, examples(drawn, labels, 1, seed=99))
    log.info("classifier on held-out pictures: %s (%.0f s)", held_out, time.monotonic() - started)
    result: dict[str, object] = {"concepts": len(labels), "classifier": held_out}
    for name, known in (("training captions", True), ("new wordings", False)):
        asked = wishes(options.pictures, labels, known_wording=known, seed=5 if known else 6)
        grid = options.grids / f"starter-{name.replace(' ', '-')}.png"
        result[name] = measure(classifier, labels, asked, grid, options.steps)
        log.info("%s: %s", name, result[name])
    result["reconstruction_psnr_db"] = reconstruction(drawn)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
