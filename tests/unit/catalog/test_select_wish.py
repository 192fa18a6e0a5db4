"""Words, names and wishes taken apart."""

from __future__ import annotations

import pytest
from kizy.catalog.card import Card
from kizy.catalog.search.parsed_prompt import parse_wish
from kizy.catalog.words import glossary
from kizy.catalog.words.card_words import card_texts, describe
from kizy.catalog.words.word_forms import clean_name, rarity, stem, version_of, words


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("inkwash_v3", "ink wash"),
        ("InkWashXL-000012", "ink wash"),
        ("pixel-art-xl", "pixel art"),
        ("retro80s_cel_pony", "retro 80s cel"),
        ("watercolor_sdxl_v1.5", "watercolor"),
        ("zkwx_dragon", "zkwx dragon"),
        ("last-000012", ""),
        ("sdxl_lora_000250", ""),
    ],
)
def test_a_files_name_is_cleaned(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_versions_are_compared_as_numbers() -> None:
    assert version_of("ink_v10") > version_of("ink_v9") > version_of("ink")


def test_one_form_for_plural_and_both_spellings() -> None:
    assert words("Watercolours of foxes") == ["watercolor", "of", "fox"]
    assert stem("glass") == "glass"


def test_a_made_up_word_is_rarer_than_a_common_one() -> None:
    assert rarity("zkwx") > rarity("dragon") > rarity("girl") > rarity("the") == 0


def test_a_wish_is_cut_at_styles_and_prepositions() -> None:
    pieces = {piece.text: piece.role for piece in parse_wish("a cat in a hat, ink wash").pieces}
    assert pieces["cat"] == "subject"
    assert pieces["hat"] == "subject"
    assert pieces["ink wash"] == "style"


def test_what_follows_in_the_style_of_is_a_style() -> None:
    pieces = parse_wish("a cat in the style of xyloprint").pieces
    assert ("xyloprint", "style") in [(piece.text, piece.role) for piece in pieces]


def test_what_is_not_wanted_is_set_aside() -> None:
    wish = parse_wish("a harbour, no people, without rain")
    assert wish.unwanted == ("people", "rain")
    assert "people" not in wish.words


def test_weights_tags_and_text_in_quotes_are_no_words() -> None:
    wish = parse_wish('(a cat:1.3) <lora:dog:0.8> with a sign "DRAGON"')
    assert "cat" in wish.words
    assert not {"dog", "dragon"} & set(wish.words)


def test_foreign_art_words_are_said_in_english() -> None:
    assert glossary.in_english("ein Hahn als Linolschnitt") == "ein rooster als linocut"


def test_gouache_is_no_watercolor() -> None:
    assert glossary.names_in("gouache hills") == {"gouache"}


def test_every_term_has_a_name_of_its_own() -> None:
    from kizy.catalog.words.art_words import TERMS

    assert len({term.name for term in TERMS}) == len(TERMS)


def test_a_card_has_texts_for_its_story_its_name_and_its_tags() -> None:
    card = Card(key="k", name="inkwash_v3", about="Black ink.", triggers=("xq",), tags=("rice",))
    assert card_texts(card)[:3] == ("ink wash: Black ink.", "ink wash", "rice")


def test_a_card_has_a_text_for_what_the_glossary_says_of_its_terms() -> None:
    card = Card(key="k", name="inkwash_v3", about="Black ink.")
    assert "rice paper" in card_texts(card)[-1]


def test_how_a_lora_was_trained_is_no_part_of_its_story() -> None:
    card = Card(key="k", name="frst", about="Deep forests. Trained on 40 photos, 2000 steps.")
    assert card_texts(card)[0] == "frst: Deep forests."


def test_a_card_that_says_nothing_has_no_text() -> None:
    card = Card(key="k", name="last-000012", triggers=("1girl",), tags=("masterpiece", "solo"))
    assert card_texts(card) == ()
    assert describe(card).nothing_told


@pytest.mark.parametrize(
    ("name", "tags", "kind"),
    [
        ("gouache_hills", (), "style"),
        ("rimlight", ("lighting",), "technique"),
        ("axolotl", ("animal",), "subject"),
    ],
)
def test_a_kind_that_is_not_told_is_guessed(name: str, tags: tuple[str, ...], kind: str) -> None:
    assert describe(Card(key="k", name=name, tags=tags)).kind == kind
