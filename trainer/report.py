"""The contact sheet: what training will see, at a glance, before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from .dataset import DataSet, Dropped, Example
from .limits import never, stop_if
from .report_text import font_for, shortened, width_of, wrapped

TILES = 120
"""Pictures on the sheet; of more, evenly spread ones are shown."""

WIDTH = 1600
_MARGIN = 48
_COLUMNS = 6
_GAP = 20
_TILE = (WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
_PICTURE = _TILE - 16
_CAPTION_LINES = 3
_CARD = _PICTURE + 108
_ROWS_LEFT_OUT = 24
_WARNINGS = 12

_GROUND = (244, 243, 240)
_PAPER = (255, 255, 255)
_INK = (32, 33, 36)
_FAINT = (122, 124, 130)
_LINE = (226, 224, 219)
_ACCENT = (190, 74, 40)
_AMBER_GROUND = (255, 244, 214)
_AMBER_LINE = (238, 200, 110)
_AMBER_INK = (116, 78, 8)
_BLUE = (52, 98, 160)
_CHECKERS = ((255, 255, 255), (232, 232, 232))

_FROM = {
    "files": "your own files",
    "endpoint": "a vision model",
    "description": "the description",
    "mixed": "several sources",
}


def draw_report(
    name: str,
    data: DataSet,
    pictures: Path,
    target: Path,
    *,
    blurred: Collection[str] = (),
    cancelled: Callable[[], bool] = never,
) -> None:
    """Write the sheet as PNG. `pictures`: their folder; `blurred`: file names of blurred ones.

    OSErrors pass through.
    """
    examples = _spread(data.examples)
    rows = -(-len(examples) // _COLUMNS)
    warnings = _warning_lines(data.warnings)
    left_out = data.dropped[:_ROWS_LEFT_OUT]
    height = _MARGIN + 150
    height += 40 + 28 * len(warnings) if warnings else 0
    grid = height
    height += rows * (_CARD + _GAP) + 8
    height += 34 if len(examples) < len(data.examples) else 0
    below = height
    height += 76 + 28 * len(left_out) + 28 * (len(data.dropped) > len(left_out)) if left_out else 0
    sheet = Image.new("RGB", (WIDTH, height + _MARGIN - _GAP), _GROUND)
    pen = _Pen(ImageDraw.Draw(sheet))
    _head(pen, name, data)
    if warnings:
        _warn(pen, warnings, _MARGIN + 150)
    for number, example in enumerate(examples):
        stop_if(cancelled)
        row, column = divmod(number, _COLUMNS)
        place = (_MARGIN + column * (_TILE + _GAP), grid + row * (_CARD + _GAP))
        _card(sheet, pen, example, data.trigger, pictures, place, example.picture in blurred)
    if len(examples) < len(data.examples):
        text = f"{len(examples)} of {len(data.examples):,} pictures are shown."
        pen.text((_MARGIN, below - 34), text, 17, _FAINT)
    if left_out:
        _left_out(pen, data, left_out, below)
    sheet.save(target, "PNG")


@dataclass(frozen=True)
class _Pen:
    draw: ImageDraw.ImageDraw

    def text(
        self, place: tuple[float, float], text: str, size: int, colour: tuple[int, ...]
    ) -> None:
        self.draw.text(place, text, fill=colour, font=font_for(text, size))

    def box(
        self,
        box: tuple[float, float, float, float],
        fill: tuple[int, ...],
        line: tuple[int, ...] | None = None,
        radius: int = 12,
    ) -> None:
        self.draw.rounded_rectangle(box, radius, fill=fill, outline=line)


def _head(pen: _Pen, name: str, data: DataSet) -> None:
    pen.text((_MARGIN, _MARGIN - 10), shortened(name, 40, WIDTH - 2 * _MARGIN), 40, _INK)
    held_out = sum(example.held_out for example in data.examples)
    facts = [
        (f"{len(data.examples) - held_out:,}", "pictures to learn from"),
        (f"{held_out:,}", "held out, to check"),
        (f"{len(data.dropped):,}", "left out"),
        (data.trigger, "trigger word"),
        (_FROM[data.captions_from], "captions from"),
        (_shapes(data.examples), "shapes"),
    ]
    x = float(_MARGIN)
    for value, label in facts:
        colour = _ACCENT if label == "trigger word" else _INK
        pen.text((x, _MARGIN + 56), value, 24, colour)
        pen.text((x, _MARGIN + 90), label, 16, _FAINT)
        x += max(width_of(value, 24), width_of(label, 16)) + 44


def _shapes(examples: Sequence[Example]) -> str:
    """How many stand, lie or are square: within a tenth counts as square."""
    words = Counter(
        "square"
        if max(example.width, example.height) <= 1.1 * min(example.width, example.height)
        else "portrait"
        if example.height > example.width
        else "landscape"
        for example in examples
    )
    return ", ".join(f"{count:,} {word}" for word, count in words.most_common())


def _warning_lines(warnings: Sequence[str]) -> list[tuple[bool, str]]:
    """(whether a warning begins there, text)."""
    found: list[tuple[bool, str]] = []
    for warning in warnings[:_WARNINGS]:
        lines = wrapped(warning, 19, WIDTH - 2 * _MARGIN - 72, 2)
        found += [(number == 0, line) for number, line in enumerate(lines)]
    if len(warnings) > _WARNINGS:
        found.append((True, f"and {len(warnings) - _WARNINGS} more"))
    return found


def _warn(pen: _Pen, lines: Sequence[tuple[bool, str]], top: int) -> None:
    box = (_MARGIN, top, WIDTH - _MARGIN, top + 20 + 28 * len(lines))
    pen.box(box, _AMBER_GROUND, _AMBER_LINE)
    for number, (begins, line) in enumerate(lines):
        y = top + 11 + 28 * number
        if begins:
            pen.draw.ellipse((_MARGIN + 22, y + 9, _MARGIN + 29, y + 16), fill=_AMBER_INK)
        pen.text((_MARGIN + 44, y), line, 19, _AMBER_INK)


def _card(
    sheet: Image.Image,
    pen: _Pen,
    example: Example,
    trigger: str,
    pictures: Path,
    place: tuple[int, int],
    blurred: bool,
) -> None:
    x, y = place
    pen.box((x, y, x + _TILE, y + _CARD), _PAPER, _LINE)
    thumbnail = _thumbnail(pictures / example.picture)
    sheet.paste(
        thumbnail,
        (x + 8 + (_PICTURE - thumbnail.width) // 2, y + 8 + (_PICTURE - thumbnail.height) // 2),
    )
    badges = [("held out", _BLUE)] if example.held_out else []
    badges += [("blurred", _AMBER_INK)] if blurred else []
    badge_x = x + 14.0
    for text, colour in badges:
        width = width_of(text, 14) + 16
        pen.box((badge_x, y + 14, badge_x + width, y + 38), colour, radius=8)
        pen.text((badge_x + 8, y + 17), text, 14, _PAPER)
        badge_x += width + 6
    below = y + _PICTURE + 16
    for number, line in enumerate(wrapped(example.caption, 16, _PICTURE, _CAPTION_LINES)):
        _caption_line(pen, line, trigger, (x + 10, below + 21 * number))
    size = f"{example.width} x {example.height}"
    foot = y + _CARD - 23
    pen.text((x + _TILE - 10 - width_of(size, 13), foot), size, 13, _FAINT)
    room = _PICTURE - width_of(size, 13) - 14
    pen.text((x + 10, foot), shortened(example.source, 13, room), 13, _FAINT)


def _caption_line(pen: _Pen, line: str, trigger: str, place: tuple[float, float]) -> None:
    """The trigger in its colour, wherever it stands."""
    x, y = place
    before, found, after = line.partition(trigger)
    for text, colour in ((before, _INK), (found, _ACCENT), (after, _INK)):
        if text:
            pen.text((x, y), text, 16, colour)
            x += width_of(text, 16)


def _thumbnail(path: Path) -> Image.Image:
    """Within the card, never enlarged beyond twice its size; checkers where it is transparent."""
    with Image.open(path) as picture:
        scale = min(_PICTURE / max(picture.size), 2.0)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if small.mode != "RGBA":
        return small
    ground = Image.new("RGBA", size, (*_CHECKERS[0], 255))
    pen = ImageDraw.Draw(ground)
    for row in range(0, size[1], 12):
        for column in range(row % 24, size[0], 24):
            pen.rectangle((column, row, column + 11, row + 11), fill=_CHECKERS[1])
    ground.alpha_composite(small)
    return ground.convert("RGB")


def _left_out(pen: _Pen, data: DataSet, rows: Sequence[Dropped], top: int) -> None:
    pen.text((_MARGIN, top + 14), f"Left out ({len(data.dropped):,})", 24, _INK)
    column = min(620.0, max(width_of(row.source, 17) for row in rows) + 32)
    for number, row in enumerate(rows):
        y = top + 60 + 28 * number
        pen.text((_MARGIN, y), shortened(row.source, 17, column - 32), 17, _INK)
        room = WIDTH - 2 * _MARGIN - column
        pen.text((_MARGIN + column, y), shortened(row.why, 17, room), 17, _FAINT)
    if len(data.dropped) > len(rows):
        text = f"and {len(data.dropped) - len(rows):,} more"
        pen.text((_MARGIN, top + 60 + 28 * len(rows)), text, 17, _FAINT)


def _spread(examples: Sequence[Example]) -> Sequence[Example]:
    if len(examples) <= TILES:
        return examples
    return [examples[number * len(examples) // TILES] for number in range(TILES)]
