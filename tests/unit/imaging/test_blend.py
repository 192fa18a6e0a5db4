"""Soft masks, and putting what was drawn back in its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kizy.imaging import blend
from PIL import Image, ImageDraw


def mask_with(box: tuple[int, int, int, int], size=(100, 80), grey: int = 255) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle(box, fill=grey)
    return mask


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("feather", [0, 1, 5, 30])
def test_a_mask_is_softened_inwards_only(feather: int) -> None:
    mask = mask_with((30, 20, 69, 59))
    soft = np.asarray(blend.soft_mask(mask, mask.size, feather))
    assert soft[np.asarray(mask) == 0].max() == 0


def test_a_soft_mask_rises_from_its_border() -> None:
    soft = np.asarray(blend.soft_mask(mask_with((30, 0, 99, 79)), (100, 80), 12))[40]
    assert soft[30] < soft[34] < soft[40] and soft[60] == 255


@pytest.mark.parametrize("side", [8, 16, 30, 60])
def test_a_painted_area_smaller_than_the_feather_is_drawn_anew_all_the_same(side: int) -> None:
    mask = mask_with((200, 200, 199 + side, 199 + side), size=(512, 512))
    assert np.asarray(blend.soft_mask(mask, mask.size, 32)).max() > 250


def test_without_feather_a_mask_is_black_and_white() -> None:
    mask = blend.soft_mask(mask_with((10, 10, 50, 50), grey=200), (100, 80), 0)
    assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_a_dark_grey_is_not_drawn_anew() -> None:
    mask = blend.soft_mask(mask_with((10, 10, 50, 50), grey=100), (100, 80), 4)
    assert np.asarray(mask).max() == 0


def test_a_mask_takes_the_pictures_size() -> None:
    assert blend.soft_mask(mask_with((0, 0, 9, 9)), (333, 217), 3).size == (333, 217)


def test_white_painted_on_transparent_ground_counts() -> None:
    mask = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (5, 5, 10, 10))
    hard = np.asarray(blend.soft_mask(mask, (20, 20), 0))
    assert (hard[7, 7], hard[15, 15]) == (255, 0)


def test_outside_the_mask_the_original_comes_back_bit_for_bit() -> None:
    drawn, original, mask = noise(33, 21, 1), noise(33, 21, 2), Image.new("L", (33, 21), 0)
    mask.paste(128, (3, 3, 9, 9))
    outside = np.asarray(mask) == 0
    back = np.asarray(blend.put_back(drawn, original, mask))
    assert (back[outside] == np.asarray(original)[outside]).all()


def test_inside_the_mask_the_drawn_picture_is_seen() -> None:
    drawn, original, mask = noise(33, 21, 1), noise(33, 21, 2), Image.new("L", (33, 21), 255)
    assert blend.put_back(drawn, original, mask).tobytes() == drawn.tobytes()


def test_half_a_mask_mixes_half_and_half() -> None:
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    mixed = blend.put_back(white, black, Image.new("L", (4, 4), 51))
    assert mixed.getpixel((0, 0)) == (51, 51, 51)


def test_what_is_transparent_becomes_white() -> None:
    assert blend.on_white(Image.new("RGBA", (2, 2), (9, 9, 9, 0))).getpixel((0, 0)) == (255,) * 3


def test_only_what_a_mask_leaves_black_is_put_back_from_the_original() -> None:
    drawn, original, mask = noise(33, 21, 1), noise(33, 21, 2), Image.new("L", (33, 21), 0)
    mask.paste(7, (3, 3, 9, 9))
    kept = np.asarray(blend.keep_outside(drawn, original, mask))
    inside = np.asarray(mask) > 0
    assert (kept[inside] == np.asarray(drawn)[inside]).all()
    assert (kept[~inside] == np.asarray(original)[~inside]).all()


@pytest.mark.parametrize("put", [blend.put_back, blend.keep_outside])
def test_transparency_outside_the_mask_stays(put: Callable[..., Image.Image]) -> None:
    given = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    back = put(Image.new("RGB", (16, 16), "red"), Image.fromarray(given), Image.fromarray(mask))
    seen = np.asarray(back)
    assert (seen[mask == 0] == given[mask == 0]).all()
    assert (seen[mask == 255] == (255, 0, 0, 255)).all()
