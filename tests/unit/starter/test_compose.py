"""Training pictures: where things lie, and what their captions say."""

from __future__ import annotations

import random

import numpy as np
import pytest
from kizy.starter.concepts import COLORS, STYLES
from kizy.tools.starter.compose import INK, STYLE_WORDS, Composer, dressed, shrink
from kizy.tools.starter.latents import STILL_LAYOUT
from kizy.tools.starter.renders import Glyph, Renders
from PIL import Image

SIDE = 64


def square(color: str) -> np.ndarray:
    """A square of one colour in the middle of nothing."""
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[8:56, 8:56] = (*COLORS[color], 255)
    return picture


@pytest.fixture
def renders() -> Renders:
    labels = ("lemon", "rose")
    glyphs = tuple(Glyph(label, style) for label in labels for style in STYLES)
    pictures = [square("yellow")] * len(STYLES) + [square("red")] * len(STYLES)
    return Renders(glyphs, np.stack(pictures))


def test_a_still_layout_makes_one_picture_of_one_caption(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    by_color: dict[str | None, np.ndarray] = {}
    for seed in range(60):
        picture = composer.make(random.Random(seed), 0, "color")
        before = by_color.setdefault(picture.color, picture.pixels)
        assert np.array_equal(before, picture.pixels)
    assert len(by_color) > 6


def test_the_usual_layout_moves_things(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"])
    made = [composer.make(random.Random(seed), 0, "white").pixels for seed in range(8)]
    assert any(not np.array_equal(made[0], other) for other in made)


def test_the_background_has_the_named_color(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    picture = composer.make(random.Random(1), 0, "color")
    assert picture.color is not None
    assert tuple(picture.pixels[0, 0]) == COLORS[picture.color]


def test_a_thing_is_known_by_its_own_color(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    assert composer.make(random.Random(1), 0, "color").tints == ("yellow",)
    assert composer.make(random.Random(1), 4, "white").tints == ("red",)


def test_captions_name_thing_background_and_style(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    rng = random.Random(5)
    captions = [composer.caption(rng, ("lemon",), "flat", "teal", ("pink",)) for _ in range(300)]
    assert all("lemon" in caption and "teal" in caption for caption in captions)
    styled = sum("flat sticker" in caption for caption in captions)
    tinted = sum("pink " in caption for caption in captions)
    assert 235 < styled < 280  # six in seven; the others say it in other words
    assert all("sticker" in caption or "flat" in caption for caption in captions)
    assert 15 < tinted < 50  # one in ten
    assert len(set(captions)) > 100


def test_only_the_usual_style_goes_unnamed(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    rng = random.Random(5)
    bare = dict.fromkeys(STYLES, 0)
    for style in STYLES:
        words = (STYLES[style], *STYLE_WORDS[style])
        for _ in range(300):
            caption = composer.caption(rng, ("lemon",), style, "teal", ("pink",))
            bare[style] += not any(word in caption for word in words)
    assert 60 < bare["3d"] < 120  # three in ten
    assert bare["flat"] == bare["cartoon"] == 0


def test_a_pair_shows_two_things_of_one_style(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    picture = composer.make(random.Random(2), 0, "pair")
    assert len(picture.labels) == len(picture.tints) == 2
    assert all(label in picture.caption for label in picture.labels)


def test_a_pair_is_told_in_the_order_in_which_it_lies(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    yellow, red = COLORS["yellow"], COLORS["red"]
    rng = random.Random(0)
    wide = composer.compose(rng, (2, 5), "black", (96, 64))
    assert wide.pixels.shape == (64, 96, 3)
    assert wide.labels == ("lemon", "rose")
    assert tuple(wide.pixels[32, 24]) == pytest.approx(yellow, abs=2)
    assert tuple(wide.pixels[32, 72]) == pytest.approx(red, abs=2)
    tall = composer.compose(rng, (2, 5), "black", (64, 96))
    assert tuple(tall.pixels[24, 32]) == pytest.approx(yellow, abs=2)
    assert tuple(tall.pixels[72, 32]) == pytest.approx(red, abs=2)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (128, 64)])
@pytest.mark.parametrize("members", [(0,), (0, 3)])
def test_nothing_leaves_a_picture_that_is_not_square(
    renders: Renders, size: tuple[int, int], members: tuple[int, ...]
) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    pixels = composer.compose(random.Random(0), members, "black", size).pixels
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == COLORS["black"]).all()


def test_shrinking_keeps_the_shape() -> None:
    assert shrink(np.zeros((64, 96, 3), np.uint8), 32).shape == (32, 48, 3)


def beside(style: str, background: tuple[int, int, int]) -> tuple[int, int, int]:
    """The pixel just left of a red square that is dressed in a style and laid on a background."""
    canvas = Image.new("RGB", (200, 200), background)
    sharp = Image.fromarray(square("red")).resize((512, 512), Image.Resampling.NEAREST)
    thing = dressed(sharp, style, 200)
    canvas.paste(thing, (0, 0), thing)
    row = np.asarray(canvas)[100]
    left = int(np.argmax((np.abs(row.astype(int) - COLORS["red"]) < 3).all(1)))
    red, green, blue = row[left - 3].tolist()
    return red, green, blue


def test_a_sticker_has_a_white_border_a_cartoon_an_outline_of_ink() -> None:
    teal = COLORS["teal"]
    assert beside("flat", teal) == pytest.approx((255, 255, 255), abs=16)
    assert beside("cartoon", teal) == pytest.approx(INK, abs=16)
    assert beside("3d", teal) == pytest.approx(teal, abs=16)


def test_a_sticker_shows_its_edge_on_white_paper() -> None:
    thing = dressed(Image.fromarray(square("white")), "flat", 200)
    canvas = Image.new("RGB", (200, 200), "white")
    canvas.paste(thing, (0, 0), thing)
    assert np.asarray(canvas).min() < 225


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [60, 109])
def test_a_dressed_thing_keeps_to_its_size(style: str, size: int) -> None:
    full = np.full((SIDE, SIDE, 4), 255, np.uint8)
    thing = dressed(Image.fromarray(full), style, size)
    assert thing.size == (size, size)
    assert np.asarray(thing)[size // 2, size // 2, 3] == 255
    corner = np.asarray(thing)[0, 0, 3]
    assert corner == 255 if style == "3d" else corner < 128
