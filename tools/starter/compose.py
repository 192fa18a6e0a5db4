"""Training pictures with their captions: one thing or two, on a background, in a style."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from ...starter.concepts import COLORS, STYLES, concepts
from .renders import Renders

Kind = Literal["white", "color", "pair"]

PLACES = (
    "{thing} on {a_color} background",
    "{thing} on {color}",
    "{thing} with {a_color} background",
    "{thing} against {a_color} background",
    "{thing} on {a_color} backdrop",
    "{thing}, {color} background",
    "{thing}, the background is {color}",
    "{thing}, background: {color}",
    "{color} background, {thing}",
    "{color} backdrop behind {thing}",
    "{a_color} background and {thing}",
    "{thing} before {a_color} wall",
    "{thing} surrounded by {color}",
    "{thing} over {color}",
    "everything {color} behind {thing}",
    "{thing} and nothing but {color} around",
)
"""Ways to say where a thing is; four in ten captions keep to the first."""

OPENINGS = (
    "a picture of {}",
    "draw {}",
    "an image of {}",
    "an icon of {}",
    "a drawing of {}",
    "i would like {}",
    "show me {}",
    "paint {}",
    "{} alone",
    "{} only",
)
ADJECTIVES = ("simple", "nice", "little", "big", "lovely", "funny", "pretty", "happy", "new")
"""Words that change nothing: a network learns to hear what matters beside them."""

STYLED = (
    "{}, {style}",
    "{style} of {}",
    "{style}, {}",
    "{} as {style}",
    "{} in {style} style",
    "{} {style}",
    "{}, drawn as {style}",
    "{}. style: {style}",
)


BESIDE = ("next to", "beside", "with", "plus")
"""Other words for the "and" between two things, in one of five captions."""

STYLE_WORDS = {
    "3d": ("3d", "3d icon", "3d rendering", "glossy 3d render"),
    "flat": ("sticker", "die-cut sticker", "flat icon", "flat design"),
    "cartoon": ("comic", "toon", "cartoon drawing", "comic drawing"),
}
"""Other words for the styles, in one of seven captions that name one."""

USUAL_STYLE = "3d"
"""What is meant where no style is named; only its captions leave the style out."""

STICKER_BORDER, STICKER_WHITE = 0.035, (255, 255, 255)
"""Width of the paper that a die-cut sticker leaves around its picture, as a share of its side."""
STICKER_SHADOW = 0.45
"""How dark the sticker's shadow is, in 0 to 1: on white paper it alone shows the edge."""
INK_BORDER, INK = 0.025, (40, 32, 44)
"""Width of a cartoon's outline as a share of its side, and its colour (sRGB, 0 to 255)."""


@dataclass(frozen=True)
class Layout:
    """How much a thing moves about in the picture.

    `scale` and `shift` are shares of the picture's shorter side, `pair_scale` of its longer one
    (along which a pair lies), `mirrored` a share of the pictures, `color_noise` a change of each
    background channel in steps of 255.
    """

    scale: tuple[float, float] = (0.80, 0.90)
    pair_scale: tuple[float, float] = (0.44, 0.50)
    shift: float = 0.02
    pair_shift: float = 0.06
    mirrored: float = 0.1
    color_noise: int = 10


@dataclass(frozen=True)
class Picture:
    """`pixels`: uint8, height x width x 3. `labels`: the concepts in it. `color`: None for white.

    `tints`: for each thing the name of the colour that most of it is nearest to.
    """

    pixels: np.ndarray
    caption: str
    labels: tuple[str, ...]
    style: str
    color: str | None
    tints: tuple[str, ...]


class Composer:
    """Makes pictures from renders, by a random generator that is handed in.

    `labels`: the concepts that a pair's second thing is taken from.
    """

    def __init__(
        self, renders: Renders, labels: Collection[str], layout: Layout | None = None
    ) -> None:
        self._renders = renders
        self._layout = layout or Layout()
        self._words = {concept.label: concept.words for concept in concepts()}
        self._by_style: dict[str, list[int]] = {style: [] for style in STYLES}
        for i in renders.of(labels):
            self._by_style[renders.glyphs[i].style].append(i)
        self._tints: dict[int, str] = {}

    def make(
        self, rng: random.Random, glyph: int, kind: Kind, size: tuple[int, int] | None = None
    ) -> Picture:
        """A picture of one glyph; `pair` puts a second one of the same style beside it.

        `size`: (width, height) in pixels; without one a square as large as the renders.
        """
        return self.compose(rng, *self.choose(rng, glyph, kind), size)

    def choose(
        self, rng: random.Random, glyph: int, kind: Kind
    ) -> tuple[tuple[int, ...], str | None]:
        """The glyphs of a picture of this one, in their order, and its background's colour."""
        colored = kind == "color" or (kind == "pair" and rng.random() < 0.5)
        color = self.any_color(rng) if colored else None
        if kind != "pair":
            return (glyph,), color
        pair = (glyph, self.partner(rng, glyph))
        return pair if rng.random() < 0.5 else pair[::-1], color

    def compose(
        self,
        rng: random.Random,
        members: Sequence[int],
        color: str | None,
        size: tuple[int, int] | None = None,
    ) -> Picture:
        """A picture of one glyph or two, in this order, on a background of that colour.

        Two lie in the middles of the picture's halves: left and right, or, where it is taller
        than wide, above and below.
        """
        rgb = (255, 255, 255)
        if color is not None:
            noise = self._layout.color_noise
            red, green, blue = (
                min(255, max(0, c + rng.randint(-noise, noise))) for c in COLORS[color]
            )
            rgb = (red, green, blue)
        width, height = size or (self._renders.size, self._renders.size)
        canvas = Image.new("RGB", (width, height), rgb)
        if len(members) == 1:
            self._paste(rng, canvas, members[0], (0.5, 0.5), pair=False)
        else:
            for member, along in zip(members, (0.25, 0.75), strict=True):
                place = (0.5, along) if height > width else (along, 0.5)
                self._paste(rng, canvas, member, place, pair=True)
        caption, style = self.words(rng, members, color), self._renders.glyphs[members[0]].style
        labels, tints = self._labels(members), self._tints_of(members)
        return Picture(np.asarray(canvas), caption, labels, style, color, tints)

    def any_color(self, rng: random.Random) -> str:
        """A background's colour, but for white, which is what no colour means."""
        return rng.choice([name for name in COLORS if name != "white"])

    def partner(self, rng: random.Random, glyph: int) -> int:
        """A glyph of the same style to stand beside this one."""
        return rng.choice(self._by_style[self._renders.glyphs[glyph].style])

    def words(self, rng: random.Random, members: Sequence[int], color: str | None) -> str:
        """A caption for glyphs on a background."""
        style = self._renders.glyphs[members[0]].style
        return self.caption(rng, self._labels(members), style, color, self._tints_of(members))

    def caption(
        self,
        rng: random.Random,
        labels: tuple[str, ...],
        style: str,
        color: str | None,
        tints: tuple[str, ...],
    ) -> str:
        """Words for a picture, worded as people would: with or without article, colour, style."""
        things = zip(labels, tints, strict=True)
        beside = rng.choice(BESIDE) if rng.random() < 0.2 else "and"
        text = f" {beside} ".join(self._name(rng, label, tint) for label, tint in things)
        place = color or ("white" if rng.random() < 0.15 else None)
        if place is not None:
            wording = rng.choice(PLACES) if rng.random() < 0.6 else PLACES[0]
            text = wording.format(thing=text, color=place, a_color=with_article(place))
        if rng.random() < 0.2:
            text = rng.choice(OPENINGS).format(text)
        if style == USUAL_STYLE and rng.random() < 0.3:
            return text
        words = rng.choice(STYLE_WORDS[style]) if rng.random() < 1 / 7 else STYLES[style]
        wording = rng.choice(STYLED) if rng.random() < 0.25 else STYLED[0]
        return wording.format(text, style=words)

    def _name(self, rng: random.Random, label: str, tint: str) -> str:
        words = self._words.get(label, ())
        name = label if not words or rng.random() < 0.5 else rng.choice(words)
        # A colour beside the thing is the thing's, not the background's.
        draw = rng.random()
        if draw < 0.1:
            name = f"{tint} {name}"
        elif draw < 0.2:
            name = f"{rng.choice(ADJECTIVES)} {name}"
        return with_article(name) if rng.random() < 0.5 else name

    def _labels(self, members: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._renders.glyphs[i].label for i in members)

    def _tints_of(self, members: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._tint(i) for i in members)

    def _tint(self, glyph: int) -> str:
        """The named colour that most of a thing is nearest to."""
        if glyph not in self._tints:
            pixels = np.asarray(self._renders.pictures[glyph])[::4, ::4].reshape(-1, 4)
            counts = Counter(color_names(pixels[pixels[:, 3] > 127][:, :3]))
            self._tints[glyph] = counts.most_common(1)[0][0]
        return self._tints[glyph]

    def _paste(
        self,
        rng: random.Random,
        canvas: Image.Image,
        glyph: int,
        place: tuple[float, float],
        *,
        pair: bool,
    ) -> None:
        layout, shorter, longer = self._layout, min(canvas.size), max(canvas.size)
        size = shorter * rng.uniform(*layout.scale)
        if pair:
            # In a long picture a thing would be higher than the picture.
            size = min(longer * rng.uniform(*layout.pair_scale), size)
        size = round(size)
        picture = Image.fromarray(np.asarray(self._renders.pictures[glyph]))
        if rng.random() < layout.mirrored:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = dressed(picture, self._renders.glyphs[glyph].style, size)
        # Two things may stray further across the line on which they lie than along it.
        strays = [layout.shift, layout.pair_shift if pair else layout.shift]
        if canvas.height > canvas.width:
            strays.reverse()
        left, top = (
            round(side * share + rng.uniform(-stray, stray) * shorter - size / 2)
            for side, share, stray in zip(canvas.size, place, strays, strict=True)
        )
        canvas.paste(picture, (left, top), picture)


def dressed(picture: Image.Image, style: str, size: int) -> Image.Image:
    """A thing (RGBA, square) at `size` pixels as its style shows it, all within those pixels.

    Flat stickers are die-cut, with a white border and its shadow; cartoons have an ink outline;
    3d renders stay as they are.
    """
    if style not in ("flat", "cartoon"):
        return picture.resize((size, size), Image.Resampling.LANCZOS)
    width = max(1.0, (STICKER_BORDER if style == "flat" else INK_BORDER) * size)
    margin = math.ceil(width) + (math.ceil(width / 2) if style == "flat" else 0)
    inner = size - 2 * margin
    thing = Image.new("RGBA", (size, size))
    thing.paste(picture.resize((inner, inner), Image.Resampling.LANCZOS), (margin, margin))
    outline = Image.fromarray(_grown(np.asarray(thing)[..., 3], width))
    color = STICKER_WHITE if style == "flat" else INK
    backed = _in_color(color, outline)
    backed.alpha_composite(thing)
    if style == "cartoon":
        return backed
    shadow = outline.filter(ImageFilter.GaussianBlur(width / 2))
    dark = _in_color((0, 0, 0), shadow.point([round(v * STICKER_SHADOW) for v in range(256)]))
    dark.alpha_composite(backed)
    return dark


def _in_color(color: tuple[int, int, int], alpha: Image.Image) -> Image.Image:
    """A shape (L) filled with one colour."""
    filled = Image.new("RGBA", alpha.size, color)
    filled.putalpha(alpha)
    return filled


def _grown(alpha: np.ndarray, radius: float) -> np.ndarray:
    """A shape (uint8, H x W) and all that lies within `radius` pixels of it."""
    grown, margin = alpha.copy(), math.ceil(radius)
    padded = np.pad(alpha, margin)
    height, width = alpha.shape
    for ring in (radius, radius * 2 / 3, radius / 3):
        for step in range(32):
            angle = math.tau * step / 32
            top = margin + round(ring * math.sin(angle))
            left = margin + round(ring * math.cos(angle))
            np.maximum(grown, padded[top : top + height, left : left + width], out=grown)
    return grown


def with_article(words: str) -> str:
    """ "a lemon", "an owl"; what ends in "s" is taken for a plural and has none."""
    if words.endswith("s"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def color_names(pixels: np.ndarray) -> list[str]:
    """For each pixel (N x 3, sRGB, 0 to 255) the name in COLORS that is nearest to it."""
    names = np.array(list(COLORS.values()), np.float32)
    nearest = ((pixels[:, None].astype(np.float32) - names) ** 2).sum(2).argmin(1)
    return [list(COLORS)[i] for i in nearest]


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """A picture (uint8, H x W x 3) whose shorter side has `side` pixels."""
    height, width = pixels.shape[:2]
    scale = side / min(width, height)
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
