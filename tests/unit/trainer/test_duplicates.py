from __future__ import annotations

import io

import numpy as np
import pytest
from kizy.trainer.duplicates import Fingerprint, Seen, fingerprint
from kizy.trainer.sharpness import measure
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps


def photo(seed: int, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """Soft shapes with fine grain: what a hash makes of it is like what it makes of a photo."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = random.normal(0, 12, (size[1], size[0], 1))
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))


def drawing(colour: str = "gold", eyes: int = 10) -> Image.Image:
    picture = Image.new("RGB", (256, 256), "grey")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 20, 236, 236), fill=colour)
    for x in (90, 166):
        pen.ellipse((x - eyes, 100 - eyes, x + eyes, 100 + eyes), fill="black")
    return picture


def printed(picture: Image.Image) -> Fingerprint:
    return fingerprint(picture, measure(picture).variance)


def same(one: Image.Image, other: Image.Image) -> bool:
    seen = Seen()
    seen.add(7, printed(one))
    return seen.same_as(printed(other)) == 7


def saved_again(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=45)
    with Image.open(buffer) as again:
        return again.convert("RGB")


@pytest.mark.parametrize("seed", range(4))
def test_copies_that_were_saved_scaled_or_brightened_are_found(seed: int) -> None:
    picture = photo(seed)
    assert same(picture, saved_again(picture))
    assert same(picture, picture.resize((200, 150)))
    assert same(picture, ImageEnhance.Brightness(picture).enhance(1.06))
    assert same(picture, picture.filter(ImageFilter.GaussianBlur(1.5)))


def test_other_pictures_are_not_taken_for_copies() -> None:
    seen = Seen()
    for seed in range(30):
        found = printed(photo(seed))
        assert seen.same_as(found) is None
        seen.add(seed, found)


def test_one_shape_in_two_colours_is_two_pictures() -> None:
    assert same(drawing(), drawing())
    assert not same(drawing("gold"), drawing("red"))


def test_a_mirrored_copy_is_no_copy_but_told() -> None:
    seen = Seen()
    seen.add(1, printed(photo(1)))
    mirrored = printed(ImageOps.mirror(photo(1)))
    assert seen.same_as(mirrored) is None
    assert seen.mirror_of(mirrored) == 1
    assert seen.mirror_of(printed(photo(2))) is None


def test_the_larger_stays_and_of_one_size_the_sharper() -> None:
    picture = photo(1)
    small, soft = picture.resize((240, 180)), picture.filter(ImageFilter.GaussianBlur(1.5))
    assert printed(picture).better_than(printed(small))
    assert not printed(small).better_than(printed(picture))
    assert printed(picture).better_than(printed(soft))
    assert not printed(picture).better_than(printed(picture))


def test_the_nearest_of_several_is_named() -> None:
    seen = Seen()
    seen.add(1, printed(ImageEnhance.Brightness(photo(1)).enhance(1.06)))
    seen.add(2, printed(photo(1)))
    assert seen.same_as(printed(photo(1))) == 2
    seen.remove(2)
    assert seen.same_as(printed(photo(1))) == 1


def lines(size: int = 512) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    for radius in range(size // 8, size // 2, size // 8):
        box = (size // 2 - radius, size // 2 - radius, size // 2 + radius, size // 2 + radius)
        pen.ellipse(box, outline="black", width=max(1, size // 128))
    return picture


@pytest.mark.parametrize("picture", [photo(3), drawing(), lines(), lines(2048), lines(128)])
def test_sharp_pictures_are_not_called_blurred(picture: Image.Image) -> None:
    assert not measure(picture).blurred


@pytest.mark.parametrize("picture", [photo(3), drawing(), lines(), lines(2048)])
def test_blurred_pictures_are_found_at_any_size(picture: Image.Image) -> None:
    radius = max(picture.size) * 0.012
    assert measure(picture.filter(ImageFilter.GaussianBlur(radius))).blurred
