"""What is drawn again for an area: in whole multiples, undistorted, inside the picture."""

from __future__ import annotations

import numpy as np
import pytest
from kizy.imaging.areas import Area
from kizy.imaging.crops import Capacity, cut_out, mask_in, noise_mask, plan_crop, shapes
from PIL import Image

STARTER = Capacity(128, 128, 32)
SDXL = Capacity(1024, 1024, 64)
SD15 = Capacity(512, 512, 64)
FACTS = pytest.mark.parametrize("facts", [STARTER, SD15, SDXL], ids=["starter", "sd15", "sdxl"])


def area(left: int, top: int, width: int, height: int) -> Area:
    return Area(left, top, np.full((height, width), 255, np.uint8), "a test")


AREAS = pytest.mark.parametrize(
    "box",
    [
        (300, 200, 90, 110),
        (0, 0, 60, 60),
        (740, 540, 60, 60),
        (10, 280, 700, 30),
        (390, 5, 20, 590),
        (100, 100, 5, 5),
        (0, 0, 800, 600),
    ],
    ids=["middle", "corner", "far corner", "wide", "tall", "tiny", "whole"],
)


@FACTS
@AREAS
def test_a_crop_is_drawn_in_whole_multiples_and_keeps_its_shape(
    facts: Capacity, box: tuple[int, int, int, int]
) -> None:
    crop = plan_crop(area(*box), (800, 600), facts)
    assert crop.width % facts.multiple == 0
    assert crop.height % facts.multiple == 0
    assert (crop.right - crop.left) * crop.height == (crop.bottom - crop.top) * crop.width


@FACTS
@AREAS
def test_a_crop_holds_its_area(facts: Capacity, box: tuple[int, int, int, int]) -> None:
    found = plan_crop(area(*box), (800, 600), facts)
    left, top, width, height = box
    assert found.left <= left and found.right >= left + width
    assert found.top <= top and found.bottom >= top + height
    assert mask_in(found).sum() == 255 * width * height


@FACTS
@AREAS
def test_a_crop_is_drawn_in_about_the_native_pixels(
    facts: Capacity, box: tuple[int, int, int, int]
) -> None:
    crop = plan_crop(area(*box), (800, 600), facts)
    assert 0.5 <= crop.width * crop.height / (facts.width * facts.height) <= 1.01


@pytest.mark.parametrize("corner", [(0, 0), (740, 0), (0, 540), (740, 540)])
def test_a_crop_at_the_edge_is_shifted_inside(corner: tuple[int, int]) -> None:
    crop = plan_crop(area(*corner, 60, 60), (800, 600), SDXL)
    assert crop.left >= 0 and crop.top >= 0
    assert crop.right <= 800 and crop.bottom <= 600


def test_a_narrow_picture_is_continued_at_its_edge() -> None:
    crop = plan_crop(area(0, 0, 30, 400), (30, 400), SDXL)
    piece = cut_out(Image.new("RGB", (30, 400), "red"), crop)
    assert piece.size == (crop.width, crop.height)
    assert np.ptp(np.asarray(piece).reshape(-1, 3), axis=0).max() <= 1


def test_a_square_face_gets_seven_tenths_of_what_the_model_draws() -> None:
    face = 200
    crop = plan_crop(area(300, 300, round(face * 1.3), round(face * 1.3)), (2000, 2000), SDXL)
    assert 0.68 <= face * crop.growth / 1024 <= 0.75


def test_a_tiny_area_is_enlarged_no_more_than_eight_times() -> None:
    assert plan_crop(area(500, 500, 4, 4), (2000, 2000), SDXL).growth <= 8


def test_a_wide_area_is_drawn_wide() -> None:
    crop = plan_crop(area(100, 500, 900, 300), (2000, 2000), SDXL)
    assert crop.width > crop.height


def test_shapes_of_a_family_hold_a_square() -> None:
    assert (128, 128) in shapes(STARTER)
    assert (1024, 1024) in shapes(SDXL)


def test_the_noise_mask_is_white_wherever_the_area_may_change() -> None:
    crop = plan_crop(area(300, 300, 100, 100), (800, 800), SD15)
    mask = np.asarray(noise_mask(crop))
    assert mask.shape == (crop.height, crop.width)
    assert set(np.unique(mask)) == {0, 255}
    back = np.asarray(
        Image.fromarray(mask).resize((crop.right - crop.left, crop.bottom - crop.top))
    )
    assert (back[mask_in(crop) > 0] > 0).all()
