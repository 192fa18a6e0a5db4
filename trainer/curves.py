"""Two pictures of a training: the loss curve, and a grid of samples by step and prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..core.files import replacing
from .best import Check

WIDTH, HEIGHT = 960, 540
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 48, 48
_INK, _GRID, _PALE = (40, 40, 46), (226, 226, 230), (188, 200, 222)
_TRAIN, _CHECK, _BEST = (58, 96, 178), (214, 110, 38), (30, 140, 84)

MEAN_OF = 20
"""Steps whose mean is worth a line's place."""

CELL = 192
"""Longer side of a sample in the grid, in pixels."""


def loss_curve(
    path: Path,
    losses: Sequence[tuple[int, float, float]],
    checks: Sequence[Check],
    best: int | None,
) -> None:
    """Draw `loss.png`. `losses`: (step, loss, smoothed); `best`: the step that is marked.

    Raises StorageError.
    """
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_LEFT, 14), "Loss", font=_font(20), fill=_INK)
    _legend(draw, checks, best)
    losses = [entry for entry in losses if all(map(math.isfinite, entry))]
    if losses or checks:
        plot = _Plot(
            max([1, *(step for step, _, _ in losses), *(c.step for c in checks)]),
            *_range(losses, checks),
        )
        plot.axes(draw)
        plot.dots(draw, [(step, loss) for step, loss, _ in losses], _PALE, size=2)
        plot.line(draw, [(step, smooth) for step, _, smooth in _begun(losses)], _TRAIN)
        points = [(check.step, check.loss) for check in checks]
        plot.line(draw, points, _CHECK)
        plot.dots(draw, points, _CHECK, size=4)
        if best is not None:
            plot.mark(draw, best, _BEST)
    with replacing(path) as temporary:
        picture.save(temporary, "PNG")


def sample_grid(
    path: Path, samples: Mapping[tuple[int, int], Path], prompts: Sequence[str], best: int | None
) -> bool:
    """Draw `samples.png`: a row for each step, a column for each prompt; False without samples.

    `samples`: (step, index of the prompt) -> picture. Raises StorageError.
    """
    there = {key: file for key, file in samples.items() if file.exists()}
    if not there:
        return False
    steps = sorted({step for step, _ in there})
    columns = sorted({index for _, index in there})
    margin, head, gap = 84, 40, 8
    width = margin + len(columns) * (CELL + gap) + gap
    height = head + len(steps) * (CELL + gap) + gap
    grid = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(grid)
    for column, index in enumerate(columns):
        text = prompts[index] if index < len(prompts) else ""
        place = (margin + column * (CELL + gap), 12)
        draw.text(place, _shortened(draw, text, CELL), font=_font(13), fill=_INK)
    for row, step in enumerate(steps):
        y = head + row * (CELL + gap)
        colour = _BEST if step == best else _INK
        words = f"{step}\nbest" if step == best else str(step)
        draw.multiline_text((12, y + CELL // 2 - 16), words, font=_font(15), fill=colour)
        for column, index in enumerate(columns):
            if (step, index) not in there:
                continue
            with Image.open(there[step, index]) as sample:
                small = sample.convert("RGB")
            small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
            x = margin + column * (CELL + gap) + (CELL - small.width) // 2
            grid.paste(small, (x, y + (CELL - small.height) // 2))
        if step == best:
            draw.rectangle((margin - 4, y - 4, width - 5, y + CELL + 3), outline=_BEST, width=2)
    with replacing(path) as temporary:
        grid.save(temporary, "PNG")
    return True


class _Plot:
    """Maps steps and losses to pixels."""

    def __init__(self, steps: int, low: float, high: float) -> None:
        self.steps, self.low, self.high = steps, low, high

    def at(self, step: float, loss: float) -> tuple[float, float]:
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * step / self.steps
        share = (min(self.high, max(self.low, loss)) - self.low) / (self.high - self.low)
        return x, HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    def axes(self, draw: ImageDraw.ImageDraw) -> None:
        font = _font(13)
        for loss in _ticks(self.low, self.high):
            x, y = self.at(0, loss)
            draw.line((x, y, WIDTH - _RIGHT, y), fill=_GRID)
            draw.text((x - 8, y), f"{loss:.4g}", font=font, fill=_INK, anchor="rm")
        draw.line((_LEFT, HEIGHT - _BOTTOM, WIDTH - _RIGHT, HEIGHT - _BOTTOM), fill=_INK)
        for step in _ticks(0, self.steps):
            if step == round(step):
                x, y = self.at(step, self.low)
                draw.text((x, y + 10), f"{step:.0f}", font=font, fill=_INK, anchor="mt")
        draw.text((WIDTH - _RIGHT, HEIGHT - 8), "steps", font=font, fill=_INK, anchor="rb")

    def line(self, draw: ImageDraw.ImageDraw, points: Sequence[tuple[int, float]], colour) -> None:
        if len(points) > 1:
            draw.line([self.at(*point) for point in points], fill=colour, width=3, joint="curve")

    def dots(
        self, draw: ImageDraw.ImageDraw, points: Sequence[tuple[int, float]], colour, size: int = 1
    ) -> None:
        for step, loss in points:
            if not self.low <= loss <= self.high:
                continue
            x, y = self.at(step, loss)
            draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)

    def mark(self, draw: ImageDraw.ImageDraw, step: int, colour) -> None:
        x, _ = self.at(step, self.low)
        draw.line((x, _TOP, x, HEIGHT - _BOTTOM), fill=colour, width=2)
        side = "rt" if x > WIDTH / 2 else "lt"
        shift = -6 if side == "rt" else 6
        draw.text((x + shift, _TOP), f"step {step}", font=_font(14), fill=colour, anchor=side)


def _legend(draw: ImageDraw.ImageDraw, checks: Sequence[Check], best: int | None) -> None:
    words = [("training, smoothed", _TRAIN)]
    if checks:
        words.append(("held-out pictures", _CHECK))
    if best is not None:
        words.append(("published", _BEST))
    x, font = WIDTH - _RIGHT, _font(14)
    for text, colour in reversed(words):
        draw.text((x, 18), text, font=font, fill=colour, anchor="ra")
        x -= draw.textlength(text, font=font) + 20


def _begun(losses: Sequence[tuple[int, float, float]]) -> Sequence[tuple[int, float, float]]:
    """Without the first ones: a mean of a few steps tells nothing and may lie far off."""
    return losses[min(len(losses) // 4, MEAN_OF) :]


def _range(
    losses: Sequence[tuple[int, float, float]], checks: Sequence[Check]
) -> tuple[float, float]:
    """Lowest and highest loss that is shown: all of both lines, and most of the dots."""
    begun = [smooth for _, _, smooth in _begun(losses)]
    spread = sorted(loss for _, loss, _ in losses)
    most = spread[len(spread) // 10 : len(spread) - len(spread) // 10]
    values = [*begun, *(check.loss for check in checks), *most]
    low, high = min(values), max(values)
    space = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - space, high + space


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two: four to nine of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(power * n for n in (5, 2, 1) if power * n <= (high - low) / 4)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _shortened(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    font = _font(13)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
