from __future__ import annotations

import pytest
from kizy.catalog.families.family import load_families
from kizy.catalog.families.styles import STYLES, Style, find_style, style_in_prompt, styles_of
from kizy.core.errors import UnknownNameError


def test_the_starter_knows_the_styles_it_was_trained_on() -> None:
    from kizy.starter.concepts import STYLES as TRAINED

    assert [style.words for style in styles_of("starter")] == list(TRAINED.values())


@pytest.mark.parametrize("family_id", load_families())
def test_every_family_has_styles(family_id: str) -> None:
    assert styles_of(family_id)


def test_styles_name_only_families_of_the_catalog() -> None:
    assert {id_ for style in STYLES for id_ in style.families} <= set(load_families())


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.id)
def test_every_name_of_a_style_leads_to_it_alone(style: Style) -> None:
    for name in (style.id, style.name, style.words, *style.aliases, *style.short_names):
        assert find_style(name.upper(), "sdxl") is style


@pytest.mark.parametrize(("name", "style"), [("icon", "flat"), ("comic", "cartoon"), ("3D", "3d")])
def test_a_style_is_found_by_alias(name: str, style: str) -> None:
    assert find_style(name, "starter").id == style


def test_an_unknown_style_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "cartoon"') as caught:
        find_style("carton", "starter")
    assert caught.value.code == "style_unknown"


def test_a_style_that_the_family_does_not_know_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="This model does not know"):
        find_style("watercolor", "starter")


@pytest.mark.parametrize(
    ("prompt", "style"),
    [
        ("a red fox, 3d  Render", "3d"),
        ("a sticker of a cat", "flat"),
        ("Comic style dog", "cartoon"),
    ],
)
def test_a_style_in_the_prompt_is_seen(prompt: str, style: str) -> None:
    found = style_in_prompt(prompt, "starter")
    assert found is not None
    assert found.id == style


@pytest.mark.parametrize(
    "prompt", ["a flat tyre", "cartoonist", "an icon of the sea", "a 3d-ish cat"]
)
def test_words_that_only_resemble_a_style_are_not_taken_for_one(prompt: str) -> None:
    assert style_in_prompt(prompt, "starter") is None


def test_a_style_of_other_families_is_not_seen() -> None:
    assert style_in_prompt("a fox, watercolor", "starter") is None


def test_a_style_adds_its_words_once() -> None:
    style = find_style("flat", "starter")
    once = style.added_to("a fox, ")
    assert once == "a fox, flat sticker"
    assert style.added_to(once) == once
