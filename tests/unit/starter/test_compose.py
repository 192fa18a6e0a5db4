"""Training pictures: where things lie, and what their captions say."""

from __future__ import annotations

import random

import numpy as np
import pytest
from kizy.starter.compose import Composer
from kizy.starter.concepts import COLORS, STYLES
from kizy.starter.latents import STILL_LAYOUT
from kizy.starter.renders import Glyph, Renders

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
    assert 250 < styled < 290  # nine in ten
    assert 15 < tinted < 50  # one in ten
    assert len(set(captions)) > 100


def test_a_pair_shows_two_things_of_one_style(renders: Renders) -> None:
    composer = Composer(renders, ["lemon", "rose"], STILL_LAYOUT)
    picture = composer.make(random.Random(2), 0, "pair")
    assert len(picture.labels) == len(picture.tints) == 2
    assert " and " in picture.caption
