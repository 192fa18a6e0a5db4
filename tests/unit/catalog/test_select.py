"""Choosing LoRAs by words: behaviours one by one, on small libraries."""

from __future__ import annotations

import random
from typing import Any

import pytest
from kizy.catalog.card import Card
from kizy.catalog.search.select import Choice, Library, Named, Scope, select
from kizy.catalog.words.card_words import trigger_phrases


def card(name: str, **facts: Any) -> Card:
    """A card of the family "sdxl", with the name as key."""
    return Card(**{"key": name, "name": name, "family": "sdxl", **facts})


INK = card("inkwash_v3", about="Ink wash paintings in the Chinese manner", triggers=("inkwash",))
OILS = card("thick_oils", about="Oil paintings with thick paint", tags=("oil painting",))
FOX = card("red_fox_animal", about="Red foxes", tags=("fox", "animal"), kind="subject")
RIM = card("rimlight", about="A bright edge of light", triggers=("rim light",), kind="technique")
LUNA = card(
    "lunaria_vex",
    about="My OC",
    triggers=("lunaria vex", "1girl", "silver hair"),
    tags=("character",),
    kind="subject",
)


def choose(prompt: str, *cards: Card, family: str = "sdxl", **options: Any) -> Choice:
    return select(prompt, family, Library.of(cards), meaning_of=None, **options)


def names(choice: Choice) -> list[str]:
    return [picked.card.name for picked in choice.picked]


def told(choice: Choice, name: str) -> str:
    return next(why for card, why in choice.runners_up if card.name == name)


def test_a_lora_whose_words_the_wish_holds_is_picked() -> None:
    assert names(choose("a heron in ink wash", INK, OILS, FOX)) == ["inkwash_v3"]


def test_another_word_for_the_same_art_finds_it() -> None:
    assert names(choose("a heron, sumi-e", INK, OILS)) == ["inkwash_v3"]


@pytest.mark.parametrize("prompt", ["ein Reiher, Tuschmalerei", "水墨画の鶴", "garza, tinta china"])
def test_a_wish_in_another_language_finds_it_by_the_glossary(prompt: str) -> None:
    assert names(choose(prompt, INK, OILS)) == ["inkwash_v3"]


def test_nothing_is_picked_if_nothing_fits_and_the_reason_is_told() -> None:
    choice = choose("a plate of spaghetti", INK, OILS)
    assert choice.picked == ()
    assert choice.why_none is not None
    assert "None of your 2 LoRAs for Stable Diffusion XL" in choice.why_none


def test_a_library_without_loras_of_the_family_says_so() -> None:
    choice = choose("ink wash", family="sd15")
    assert choice.why_none == "There is no LoRA for Stable Diffusion 1.5 here."


def test_style_subject_and_technique_are_picked_together() -> None:
    choice = choose("a red fox in ink wash, rim light", INK, OILS, FOX, RIM)
    assert sorted(names(choice)) == ["inkwash_v3", "red_fox_animal", "rimlight"]


def test_never_more_than_asked_for() -> None:
    choice = choose("a red fox in ink wash, rim light", INK, FOX, RIM, max_loras=1)
    assert len(choice.picked) == 1
    assert "Only one was to be picked." in [why for _, why in choice.runners_up]


def test_a_lora_of_another_family_is_never_picked_but_told() -> None:
    other = INK.model_copy(update={"family": "sd15"})
    choice = choose("a heron in ink wash", other, FOX)
    assert choice.picked == ()
    assert "It is for Stable Diffusion 1.5" in told(choice, "inkwash_v3")
    assert "inkwash_v3" in (choice.why_none or "")


def test_a_card_that_lies_about_its_family_is_not_picked() -> None:
    liar = INK.model_copy(update={"family": "sd15", "about": "SDXL ink wash", "tags": ("sdxl",)})
    assert names(choose("a heron in ink wash, sdxl", liar, FOX)) == []


def test_a_card_without_family_is_only_taken_by_name() -> None:
    stripped = INK.model_copy(update={"family": None})
    assert names(choose("a heron in ink wash", stripped)) == []
    choice = choose("a heron", stripped, named=[Named("inkwash_v3")])
    assert names(choice) == ["inkwash_v3"]
    assert "could not tell" in choice.picked[0].why


def test_a_broken_file_is_not_picked() -> None:
    broken = INK.model_copy(update={"problem": "The file is cut short."})
    choice = choose("a heron in ink wash", broken, FOX)
    assert names(choice) == []
    assert told(choice, "inkwash_v3") == "It cannot be used: The file is cut short."


def test_adult_cards_need_the_scope() -> None:
    adult = INK.model_copy(update={"mature": True})
    assert names(choose("a heron in ink wash", adult)) == []
    assert names(choose("a heron in ink wash", adult, scope=Scope(mature=True))) == ["inkwash_v3"]


def test_two_styles_do_not_fight() -> None:
    choice = choose("a fox in ink wash, oil painting", INK, OILS)
    assert len(choice.picked) == 1
    assert any("Two styles at once fight" in why for _, why in choice.runners_up)


def test_the_newer_of_two_versions_is_picked() -> None:
    old = INK.model_copy(update={"key": "a", "name": "inkwash_v2"})
    choice = choose("a heron in ink wash", INK, old)
    assert names(choice) == ["inkwash_v3"]
    assert told(choice, "inkwash_v2") == 'Another version of "inkwash_v3", which is taken.'


def test_somebody_with_a_name_is_only_picked_if_named_in_the_wish() -> None:
    assert names(choose("Lunaria Vex reads", LUNA, FOX)) == ["lunaria_vex"]
    assert names(choose("1girl, silver hair, solo", LUNA, FOX)) == []


def test_generic_triggers_match_nothing() -> None:
    generic = card("StyleMix_v7", triggers=("style", "masterpiece"), tags=("1girl",))
    assert names(choose("1girl, masterpiece, best quality, style", generic, FOX)) == []


def test_a_lora_for_speed_is_never_picked_by_itself() -> None:
    fast = card("sdxl_lightning_4step_lora", tags=("fast", "few steps"), kind="technique")
    assert names(choose("lightning over a castle", fast)) == []


def test_what_is_not_wanted_is_not_picked() -> None:
    assert names(choose("a harbour, no ink wash", INK, OILS)) == []


def test_the_triggers_that_the_prompt_lacks_are_inserted_once() -> None:
    assert choose("ink wash heron", INK).picked[0].triggers == ("inkwash",)
    assert choose("inkwash heron", INK).picked[0].triggers == ()


def test_generic_triggers_are_not_inserted() -> None:
    lora = card("old_tramway", about="trams", triggers=("1girl", "oldtram", "masterpiece"))
    assert choose("a tram", lora).picked[0].triggers == ("oldtram",)


def test_the_authors_weight_is_taken() -> None:
    picked = choose("ink wash heron", INK.model_copy(update={"weight": 0.65})).picked[0]
    assert (picked.model_weight, picked.clip_weight) == (0.65, 0.65)
    assert "as its author recommends" in picked.why


def test_the_usual_weight_stays_in_the_authors_range() -> None:
    low = INK.model_copy(update={"kind": "style", "weight_range": (0.3, 0.5)})
    assert choose("ink wash heron", low).picked[0].model_weight == 0.5


def test_several_are_lowered_together() -> None:
    cards = [one.model_copy(update={"weight": 1.0}) for one in (INK, FOX, RIM)]
    picked = choose("a red fox in ink wash, rim light", *cards).picked
    assert [one.model_weight for one in picked] == [0.6, 0.6, 0.6]
    assert "lowered as 3 are combined" in picked[0].why


def test_a_named_lora_is_taken_with_its_own_weight() -> None:
    choice = choose("a plate of spaghetti", INK, named=[Named("INKWASH_v3.safetensors", 1.2)])
    assert choice.picked[0].model_weight == 1.2
    assert choice.picked[0].why.startswith("You named it.")


def test_a_named_style_keeps_others_away() -> None:
    choice = choose("a fox, oil painting", INK, OILS, FOX, named=[Named("inkwash_v3")])
    assert "thick_oils" not in names(choice)


def test_a_named_lora_of_another_family_is_refused_with_the_reason() -> None:
    other = INK.model_copy(update={"family": "sd15"})
    choice = choose("a heron", other, FOX, named=[Named("inkwash_v3")])
    assert choice.picked == ()
    assert "It is for Stable Diffusion 1.5" in choice.refused[0].why


def test_a_name_that_is_not_there_is_refused_with_a_hint() -> None:
    choice = choose("a heron", INK, named=[Named("inkwash_v4")])
    assert 'Did you mean "inkwash_v3"?' in choice.refused[0].why


@pytest.mark.parametrize(
    "scope",
    [Scope(folders=("styles",)), Scope(tags=("Ink",)), Scope(names=("inkwash_v3",))],
)
def test_a_scope_lets_in_only_its_own(scope: Scope) -> None:
    inside = INK.model_copy(update={"folder": "styles/ink", "tags": ("ink",)})
    choice = choose("a red fox in ink wash", inside, FOX, scope=scope)
    assert names(choice) == ["inkwash_v3"]
    assert told(choice, "red_fox_animal") == "It is not among the LoRAs that you allowed."


def test_a_lora_of_another_variant_gives_way_and_says_so() -> None:
    pony = INK.model_copy(update={"key": "p", "name": "inkwash_pony", "variant": "pony"})
    assert names(choose("ink wash heron", pony, INK)) == ["inkwash_v3"]
    assert names(choose("ink wash heron", pony, INK, variant="pony")) == ["inkwash_pony"]
    alone = choose("ink wash heron", pony)
    assert "It was made for Pony Diffusion models" in alone.picked[0].why


def test_the_order_of_the_cards_changes_nothing() -> None:
    cards = [INK, OILS, FOX, RIM, LUNA]
    first = choose("a red fox in ink wash, rim light", *cards)
    random.Random(1).shuffle(cards)
    assert choose("a red fox in ink wash, rim light", *cards) == first


@pytest.mark.parametrize(
    "prompt", ["", " ", ",,,", "(((:1.2)))", "<lora:x:1>", "の", "\0\ud800", "a " * 5000, "no"]
)
def test_any_prompt_gets_an_answer(prompt: str) -> None:
    choice = choose(prompt, INK, card("???", about="\0", triggers=("", ",", "の")))
    assert choice.picked or choice.why_none


def test_without_the_language_runtime_it_goes_by_words_and_says_so() -> None:
    def missing(_: object) -> Any:
        raise ImportError

    choice = select("ink wash heron", "sdxl", Library.of([INK]), meaning_of=missing)
    assert choice.by_words_only
    assert names(choice) == ["inkwash_v3"]


def test_nobody_stands_in_for_somebody_who_is_out_of_reach() -> None:
    owls = card("owls", about="Barn owls in flight", tags=("owl", "bird"), kind="subject")
    queen = card(
        "barn_owl_queen",
        family="sd15",
        about="The Barn Owl Queen, ruler of the night court",
        triggers=("barn owl queen",),
        tags=("character",),
        kind="subject",
    )
    assert names(choose("the Barn Owl Queen in her gown", owls)) == ["owls"]
    choice = choose("the Barn Owl Queen in her gown", owls, queen)
    assert names(choice) == []
    assert "It is for Stable Diffusion 1.5" in told(choice, "barn_owl_queen")


ZED = Card(key="zed", name="Zed of Morn", family="sdxl", triggers=("zed, man, sword, photo",))


@pytest.mark.parametrize("prompt", ["a photo of a man with a sword", "a sword", "photo of a man"])
def test_common_words_are_no_triggers_of_somebody_with_a_name(prompt: str) -> None:
    assert select(prompt, "sdxl", Library.of([ZED]), meaning_of=None).picked == ()


def test_somebody_is_found_by_the_name_among_common_triggers() -> None:
    found = select("zed with a sword", "sdxl", Library.of([ZED]), meaning_of=None)
    assert [one.card.name for one in found.picked] == ["Zed of Morn"]


BLADE = Card(
    key="blade",
    name="Ornate Vorpal Blade",
    family="sdxl",
    triggers=("vorpal blade, sword, ornate, fantasy",),
)
SUMMER = Card(
    key="summer", name="Summer Smith", family="sdxl", triggers=("summer, smith, girl, woman",)
)
SWORD = Card(key="sword", name="Sword", family="sdxl", triggers=("sword",))


@pytest.mark.parametrize(
    ("prompt", "picked"),
    [
        ("a photo of a man with a sword", []),
        ("a fantasy landscape", []),
        ("an ornate vorpal blade", ["Ornate Vorpal Blade"]),
        ("a girl in summer", []),
        ("a woman at a lake", []),
        ("summer smith at a lake", ["Summer Smith"]),
    ],
)
def test_common_triggers_are_no_name_of_a_thing_whose_other_words_are_missing(
    prompt: str, picked: list[str]
) -> None:
    found = select(prompt, "sdxl", Library.of([BLADE, SUMMER]), meaning_of=None)
    assert [one.card.name for one in found.picked] == picked


def test_a_thing_that_is_called_by_a_common_word_is_picked_by_it() -> None:
    found = select("a sword", "sdxl", Library.of([BLADE, SWORD]), meaning_of=None)
    assert [one.card.name for one in found.picked] == ["Sword"]


@pytest.mark.parametrize(
    ("listed", "phrases"),
    [
        ("&lt;b&gt;ink&lt;/b&gt; wash, (soft light:1.2)", ["ink wash", "soft light"]),
        ("BREAK mimi", ["mimi"]),
        ("<lora:x:1> fox", ["fox"]),
        ("this is a whole sentence that tells how one has to use it well", []),
        ("a\x07b, c\ufffdd", ["a b", "c d"]),
        ("emma \\(game\\)", ["emma \\(game\\)"]),
    ],
)
def test_triggers_are_cleaned_before_they_go_into_a_prompt(listed: str, phrases: list[str]) -> None:
    assert trigger_phrases(Card(key="a", name="a", triggers=(listed,))) == phrases
