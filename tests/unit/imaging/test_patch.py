"""What was drawn again goes back without a seam, and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kizy.imaging.areas import Area, face_area, mask_areas
from kizy.imaging.crops import Capacity, Crop, cut_out, plan_crop
from kizy.imaging.faces import Face
from kizy.imaging.improve import changed_mask
from kizy.imaging.patch import matched, put_together
from PIL import Image, ImageDraw

Noise = Callable[..., Image.Image]
FACTS = Capacity(128, 128, 32)


def ellipse(left: float, top: float, side: float, size: tuple[int, int]) -> Area:
    return face_area(Face(left, top, left + side, top + side, 1.0, "drawn"), size, "a test")


def crops_of(size: tuple[int, int], *boxes: tuple[float, float, float]) -> list[Crop]:
    return [plan_crop(ellipse(*box, size), size, FACTS) for box in boxes]


def inverted(picture: Image.Image, crops: list[Crop]) -> list[Image.Image]:
    """Something quite different for each crop."""
    return [
        Image.fromarray(255 - np.asarray(cut_out(picture, crop).convert("RGB"))) for crop in crops
    ]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_outside_the_masks_nothing_changes_bit_for_bit(noise: Noise, mode: str) -> None:
    picture = noise(400, 300).convert(mode)
    if mode == "RGBA":
        picture.putalpha(noise(400, 300, 1).convert("L"))
    crops = crops_of(picture.size, (20, 20, 80), (70, 40, 90), (300, 200, 120))
    result = put_together(picture, crops, inverted(picture, crops))
    assert result.mode == mode
    assert result.size == picture.size
    untouched = np.asarray(changed_mask(picture.size, crops)) == 0
    old, new = np.asarray(picture), np.asarray(result)
    assert untouched.any()
    assert (old[untouched] == new[untouched]).all()
    assert (old != new).any()


def test_transparency_stays(noise: Noise) -> None:
    picture = noise(300, 300).convert("RGBA")
    picture.putalpha(0)
    crops = crops_of(picture.size, (100, 100, 80))
    result = put_together(picture, crops, inverted(picture, crops))
    assert result.tobytes() == picture.tobytes()


def test_what_was_drawn_the_same_changes_next_to_nothing(noise: Noise) -> None:
    picture = noise(64, 64).resize((256, 256), Image.Resampling.BICUBIC)
    crops = crops_of(picture.size, (80, 80, 85))
    result = put_together(picture, crops, [cut_out(picture, crop) for crop in crops])
    apart = np.abs(np.asarray(result).astype(int) - np.asarray(picture))
    assert apart.max() <= 8


def test_another_brightness_leaves_no_step_at_the_border() -> None:
    picture = Image.new("RGB", (300, 300), (120, 100, 80))
    crops = crops_of(picture.size, (90, 90, 100))
    brighter = [Image.new("RGB", (crop.width, crop.height), (150, 130, 90)) for crop in crops]
    result = np.asarray(put_together(picture, crops, brighter)).astype(int)
    assert np.abs(result - np.asarray(picture)).max() <= 1


def test_colours_are_matched_on_each_side_by_itself() -> None:
    old = np.zeros((96, 96, 3), np.uint8)
    old[:, :48], old[:, 48:] = 60, 180
    mask = np.zeros((96, 96), np.float32)
    mask[24:72, 24:72] = 1
    new = np.full_like(old, 120)
    found = matched(new, old, mask)
    assert abs(found[48, 26].mean() - 60) < 20
    assert abs(found[48, 69].mean() - 180) < 20


def test_overlapping_areas_are_both_there() -> None:
    picture = Image.new("RGB", (300, 200))
    crops = crops_of(picture.size, (60, 50, 90), (130, 50, 90))
    drawn = []
    for crop in crops:
        new = Image.new("RGB", (crop.width, crop.height))
        ImageDraw.Draw(new).ellipse((40, 40, 88, 88), fill=(200, 200, 200))
        drawn.append(new)
    result = np.asarray(put_together(picture, crops, drawn))
    for crop in crops:
        area = crop.area
        assert result[area.top + area.height // 2, area.left + area.width // 2].min() > 150


def test_the_order_of_overlapping_areas_hardly_matters(noise: Noise) -> None:
    picture = noise(300, 200)
    crops = crops_of(picture.size, (60, 50, 90), (100, 50, 90))
    drawn = inverted(picture, crops)
    one = np.asarray(put_together(picture, crops, drawn)).astype(int)
    other = np.asarray(put_together(picture, crops[::-1], drawn[::-1])).astype(int)
    assert np.abs(one - other).max() <= 1


class TestMasks:
    def test_its_parts_come_one_by_one_from_left_to_right(self) -> None:
        mask = Image.new("L", (400, 200))
        pen = ImageDraw.Draw(mask)
        for box in ((300, 20, 380, 90), (10, 100, 60, 180), (150, 10, 200, 60)):
            pen.rectangle(box, fill=255)
        areas = mask_areas(mask, mask.size)
        assert [area.left for area in areas] == [10, 150, 300]
        assert [(area.width, area.height) for area in areas] == [(51, 81), (51, 51), (81, 71)]

    def test_nothing_outside_the_marked_is_touched(self) -> None:
        mask = Image.new("L", (500, 400))
        pen = ImageDraw.Draw(mask)
        pen.ellipse((30, 40, 190, 300), fill=255)
        pen.line((220, 20, 480, 390), fill=255, width=15)
        new = np.zeros((400, 500), np.uint8)
        for area in mask_areas(mask, mask.size):
            new[area.top : area.top + area.height, area.left : area.left + area.width] |= area.mask
        marked = np.asarray(mask) > 0
        assert not new[~marked].any()
        assert (new[marked] > 0).mean() > 0.97

    def test_a_black_mask_has_no_parts(self) -> None:
        assert mask_areas(Image.new("L", (100, 100)), (100, 100)) == ()

    def test_a_mask_of_another_size_is_brought_to_the_picture(self) -> None:
        mask = Image.new("L", (100, 100))
        ImageDraw.Draw(mask).rectangle((40, 40, 59, 59), fill=255)
        (area,) = mask_areas(mask, (1000, 1000))
        assert abs(area.left - 400) <= 5
        assert abs(area.width - 200) <= 10

    def test_a_thousand_specks_are_taken_together(self) -> None:
        specks = np.random.default_rng(0).random((512, 512)) > 0.98
        areas = mask_areas(Image.fromarray(np.where(specks, 255, 0).astype(np.uint8)), (512, 512))
        assert 1 <= len(areas) <= 64

    def test_a_whole_picture_may_be_marked(self) -> None:
        (area,) = mask_areas(Image.new("L", (300, 200), 255), (300, 200))
        assert (area.left, area.top, area.width, area.height) == (0, 0, 300, 200)
        assert (area.mask > 0).all()
