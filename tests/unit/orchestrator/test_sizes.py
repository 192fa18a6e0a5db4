"""Sizes: what is drawn, what is saved, what is refused."""

from __future__ import annotations

from itertools import product

import pytest
from kizy.catalog.families.family import family, load_families
from kizy.core.errors import InputError
from kizy.core.request import Enlarge
from kizy.imaging.enlarge import MAX_FACTOR
from kizy.orchestrator.planning.sizes import MAX_AREA_FACTOR, Size, kept_size, parse_size, plan_size

STARTER, SD15, SDXL = family("starter"), family("sd15"), family("sdxl")
WORDS = ("square", "portrait", "landscape", "wide", "tall")
SIDES = (16, 17, 31, 64, 100, 217, 333, 512, 640, 777, 1000, 1024, 1344, 1800, 2000, 2048)


def sized(asked: str, of=STARTER, *, raw=False, enlarge="auto", start=None, exact=False) -> Size:
    return plan_size(asked, of, raw=raw, enlarge=enlarge, start_size=start, exact=exact)


def saved(size: Size) -> tuple[int, int]:
    return size.output_width, size.output_height


def drawn(size: Size) -> tuple[int, int]:
    return size.width, size.height


def possible(families=(STARTER, SD15, SDXL), sides=SIDES) -> list[tuple]:
    """(family, wish, Size) of every wish that is not refused."""
    found = []
    for of, width, height in product(families, sides, sides):
        try:
            found.append((of, (width, height), sized(f"{width}x{height}", of)))
        except InputError:
            continue
    assert len(found) > 100
    return found


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_saved_at_the_families_size_times_its_enlargement(word: str) -> None:
    width, height = STARTER.sizes[word]
    assert saved(sized(word)) == (4 * width, 4 * height)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_drawn_at_the_families_size(word: str) -> None:
    assert drawn(sized(word)) == STARTER.sizes[word]


@pytest.mark.parametrize(("of", "word"), list(product((SD15, SDXL), WORDS)))
def test_a_family_that_is_not_enlarged_draws_the_words_size(of, word: str) -> None:
    assert drawn(sized(word, of)) == saved(sized(word, of)) == of.sizes[word]


def test_auto_is_native_for_sd15() -> None:
    assert saved(sized("auto", SD15)) == (512, 512)


def test_auto_is_enlarged_four_times_for_the_starter() -> None:
    size = sized("auto")
    assert (drawn(size), size.enlarge, saved(size)) == ((128, 128), 4.0, (512, 512))


def test_words_are_read_in_any_case() -> None:
    assert saved(sized("PORTRAIT", SD15)) == SD15.sizes["portrait"]


@pytest.mark.parametrize("text", ["512x384", "512X384", "512×384", "512*384", " 512 x 384 "])
def test_width_and_height_are_read_in_every_usual_form(text: str) -> None:
    assert parse_size(text, SD15) == (512, 384)


@pytest.mark.parametrize(
    "text",
    [
        "0x0",
        "512x0",
        "100000x100000",
        "15x512",
        "8193x8192",
        "-512x512",
        "512",
        "x",
        "512x512x3",
        "",
        "1e3x512",
        "9" * 40 + "x512",
        "sqare",
        "100x801",
        "8192x16",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        sized(text, SD15)
    assert caught.value.code == "size_invalid"


def test_a_word_with_a_typing_error_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match='"square"'):
        sized("sqare")


def test_a_shape_is_called_too_narrow() -> None:
    with pytest.raises(InputError, match="narrow"):
        sized("1024x100", SDXL)


def test_more_than_the_model_can_draw_is_refused() -> None:
    with pytest.raises(InputError, match="1024x1024"):
        sized("2048x2048", SD15)


@pytest.mark.parametrize(
    "wish", ["512x512", "1024x1024", "384x512", "512x384", "640x384", "256x256"]
)
def test_a_wish_whose_shape_can_be_drawn_is_saved_exactly(wish: str) -> None:
    assert "{}x{}".format(*saved(sized(wish))) == wish


def test_a_wish_in_multiples_is_saved_exactly_without_enlarging() -> None:
    assert saved(sized("576x448", SD15)) == drawn(sized("576x448", SD15)) == (576, 448)


def test_a_wish_that_cannot_be_met_says_so() -> None:
    assert "600x500" in sized("600x500", SD15).why


@pytest.mark.parametrize("wish", ["16x16", "16x100", "33x31"])
def test_a_tiny_wish_is_drawn_at_a_size_that_the_model_can_draw(wish: str) -> None:
    size = sized(wish)
    assert size.enlarge == 1 and size.width >= STARTER.multiple <= size.height


def test_raw_saves_what_is_drawn() -> None:
    size = sized("auto", raw=True)
    assert (drawn(size), saved(size), size.enlarge) == ((128, 128), (128, 128), 1.0)


def test_no_enlargement_saves_what_is_drawn() -> None:
    assert saved(sized("auto", enlarge=None)) == (128, 128)


def test_an_asked_enlargement_is_used_for_every_family() -> None:
    size = sized("auto", SD15, enlarge=Enlarge(factor=2))
    assert (drawn(size), saved(size)) == ((512, 512), (1024, 1024))


@pytest.mark.parametrize("start", [(1000, 1000), (50, 50), (3000, 3000)])
def test_a_square_start_picture_gives_the_native_square(start) -> None:
    assert saved(sized("auto", SD15, start=start)) == (512, 512)


@pytest.mark.parametrize("of", [STARTER, SD15, SDXL])
@pytest.mark.parametrize(
    "start", [(4000, 3000), (3000, 4000), (1920, 1080), (300, 200), (333, 217)]
)
def test_a_start_picture_keeps_its_shape(of, start) -> None:
    size = sized("auto", of, start=start)
    assert size.output_width / size.output_height == pytest.approx(start[0] / start[1], rel=0.08)


@pytest.mark.parametrize("of", [STARTER, SD15, SDXL])
@pytest.mark.parametrize("start", [(333, 217), (512, 512), (97, 131), (640, 480)])
def test_under_a_mask_the_saved_size_is_the_start_pictures(of, start) -> None:
    assert saved(sized("auto", of, start=start, exact=True)) == start


@pytest.mark.parametrize("of", [STARTER, SD15, SDXL])
@pytest.mark.parametrize("start", [(97, 131), (400, 300), (64, 64)])
def test_under_a_mask_a_small_picture_is_drawn_at_about_the_native_area(of, start) -> None:
    size = sized("auto", of, start=start, exact=True)
    native = of.native_width * of.native_height
    assert size.width * size.height == pytest.approx(native, rel=0.5)


@pytest.mark.parametrize(
    ("start", "exact"), [((3000, 2), False), ((2000, 100), True), ((20_000, 3000), True)]
)
@pytest.mark.parametrize("of", [STARTER, SDXL])
def test_a_start_picture_of_no_shape_to_draw_is_refused(of, start, exact) -> None:
    with pytest.raises(InputError) as caught:
        sized("auto", of, start=start, exact=exact)
    assert caught.value.code == "size_invalid"


@pytest.mark.parametrize("given", [(5, 5), (20_000, 3000)])
def test_a_picture_that_is_too_small_or_too_large_is_not_worked_on(given) -> None:
    with pytest.raises(InputError) as caught:
        kept_size(given, None)
    assert caught.value.code == "size_invalid"


def test_a_size_far_below_the_native_one_is_drawn_and_says_what_is_best() -> None:
    assert drawn(sized("256x256", SDXL)) == (256, 256)
    assert "draws best at about 1024x1024" in sized("256x256", SDXL).why
    assert "best" not in sized("768x768", SDXL).why


def test_what_is_drawn_is_always_a_multiple() -> None:
    for of, wish, size in possible():
        assert size.width % of.multiple == size.height % of.multiple == 0, (of.id, wish, size)


def test_what_is_drawn_never_exceeds_the_models_area() -> None:
    for of, wish, size in possible():
        native = of.native_width * of.native_height
        assert size.width * size.height <= MAX_AREA_FACTOR * native, (of.id, wish, size)


def test_what_is_drawn_has_the_shape_of_what_is_saved() -> None:
    for of, wish, size in possible():
        share = (size.width / size.height) / (size.output_width / size.output_height)
        assert share == pytest.approx(1, rel=0.04), (of.id, wish, size)


def test_the_factor_is_never_more_than_the_enlarger_can() -> None:
    for of, wish, size in possible():
        assert 1 <= size.enlarge <= MAX_FACTOR, (of.id, wish, size)


def test_what_is_enlarged_nearly_reaches_what_is_saved() -> None:
    for of, wish, size in possible():
        reached = (round(size.width * size.enlarge), round(size.height * size.enlarge))
        if size.enlarge > 1:
            assert reached[0] >= 0.85 * size.output_width, (of.id, wish, size)
            assert reached[1] >= 0.85 * size.output_height, (of.id, wish, size)


def test_a_wish_that_is_met_is_not_called_nearest() -> None:
    for of, wish, size in possible():
        assert (saved(size) == wish) == ("nearest" not in size.why), (of.id, wish, size)


def test_every_family_draws_its_native_size_by_default() -> None:
    for of in load_families().values():
        assert drawn(sized("auto", of)) == (of.native_width, of.native_height)


SHAPES = [
    {},
    {"raw": True},
    {"asked": "portrait"},
    {"asked": "256x256"},
    {"start": (500, 500)},
    {"start": (512, 512), "exact": True},
    {"start": (97, 131), "exact": True},
    {"start": (1000, 700), "asked": "square"},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("of", list(load_families().values()), ids=list(load_families()))
@pytest.mark.parametrize("factor", [1.5, 2, 4])
def test_enlarging_multiplies_what_would_be_saved_without_it(of, shape, factor) -> None:
    options = {"asked": "auto", "of": of} | shape
    without, grown = sized(**options), sized(**options, enlarge=Enlarge(factor=factor))
    width, height = saved(without)
    assert saved(grown) == (round(width * factor), round(height * factor))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("of", [STARTER, SD15, SDXL])
def test_the_same_is_drawn_however_large_it_is_saved(of, shape) -> None:
    options = {"asked": "auto", "of": of} | shape
    assert drawn(sized(**options)) == drawn(sized(**options, enlarge=Enlarge(factor=4)))


def test_once_as_large_is_as_without() -> None:
    assert sized("auto", enlarge=Enlarge(factor=1)) == sized("auto")


def test_enlarging_beyond_what_may_be_saved_is_refused_with_what_may() -> None:
    with pytest.raises(InputError, match="8192 pixels is the limit") as caught:
        sized("1152x896", SDXL, enlarge=Enlarge(factor=8))
    assert caught.value.fix == "1152x896 can be enlarged 7.1 times."


def test_what_is_too_large_to_draw_can_be_enlarged_to_it() -> None:
    with pytest.raises(InputError) as caught:
        sized("2048x2048", SD15)
    assert "--size 1024x1024 --enlarge 2" in caught.value.fix
    assert saved(sized("1024x1024", SD15, enlarge=Enlarge(factor=2))) == (2048, 2048)


def test_a_start_picture_that_is_stretched_is_told() -> None:
    assert "1000x500, is stretched" in sized("square", SD15, start=(1000, 500)).why
    assert "stretched" not in sized("square", SD15, start=(700, 700)).why


def test_a_start_picture_that_was_larger_is_told() -> None:
    assert "2000x2000, was larger" in sized("auto", SD15, start=(2000, 2000)).why
    assert "larger" not in sized("auto", STARTER, start=(512, 512)).why


def test_a_size_under_a_mask_is_told_to_be_that_of_drawing() -> None:
    size = sized("256x256", start=(300, 200), exact=True)
    assert saved(size) == (300, 200)
    assert "256x256" in size.why
