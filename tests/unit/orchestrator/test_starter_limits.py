"""What the starter was not taught is told; other words for what it was taught become its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kizy import language
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.planning import starter_limits as limits
from kizy.orchestrator.planning.starter_limits import (
    NOT_TAUGHT,
    OTHER_WORDS,
    learned_from,
    said_to_starter,
    starter_can,
    starter_limits,
)

from benchmarks.starter_limits import judged, wishes


@pytest.fixture
def by_words(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it is where the model of meanings is not installed."""
    starter_limits.cache_clear()
    monkeypatch.setattr(language, "available", lambda: False)
    yield
    starter_limits.cache_clear()


def told(prompt: str) -> dict[str, str]:
    return {notice.value: notice.why for notice in starter_limits(prompt).notices}


def request(prompt: str, **values: object) -> GenerationRequest:
    return parse_request(GenerationRequest, {"prompt": prompt, **values})


@pytest.mark.slow
def test_what_was_not_taught_is_told_with_what_is_near_and_the_command_for_more() -> None:
    text = told("a photo of my grandmother baking bread")[NOT_TAUGHT]
    assert '"grandmother baking" is not among them' in text
    assert "no photos" in text
    assert "it knows bread" in text
    assert "nearest that it can draw" in text and "woman" in text
    assert "kizy models add https://" in text


@pytest.mark.slow
def test_other_words_are_known_by_what_they_mean() -> None:
    assert starter_limits("some doggos").drawn_from == "some dog"
    assert NOT_TAUGHT in told("a beetle")


@pytest.mark.slow
def test_the_nearest_are_three_that_are_not_asked_for_already() -> None:
    found = limits.nearest_taught(["tractor"], without=["automobile"])
    assert len(found) == 3 and "car" not in found


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("a fox and a tractor", '"tractor"'),
        ("a house by a lake", '"lake"'),
        ("three cats", '"three"'),
        ("a group of dogs", '"group"'),
        ("a cat, a dog and a bear", "two things"),
        ('a robot with the text "hello"', "no letters"),
        ("a watercolor of a rose", '"watercolor"'),
        ("a cat in a top hat", "side by side"),
        ("a fox in a forest at night", '"forest" and "night" are not'),
        ("Albert Einstein", "albert einstein"),
    ],
)
def test_each_part_that_will_not_be_seen_is_named(by_words: None, prompt: str, part: str) -> None:
    assert part in told(prompt)[NOT_TAUGHT]
    assert not starter_can(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "a red fox on a blue background",
        "a fox and a helicopter",
        "two pizzas",
        "cute kitten, cartoon",
        "a car next to a bus, flat sticker",
        "(a red fox:1.3), masterpiece",
        "an icon of a shiny golden trophy against pink",
    ],
)
def test_of_what_was_taught_there_is_nothing_to_tell(by_words: None, prompt: str) -> None:
    assert told(prompt) == {}
    assert starter_can(prompt)


@pytest.mark.parametrize("prompt", ["a blue background", "cartoon", "orange", "a face"])
def test_a_colour_or_a_style_alone_is_no_fault(by_words: None, prompt: str) -> None:
    assert told(prompt) == {}


@pytest.mark.parametrize(
    ("prompt", "drawn_from"),
    [
        ("ein roter Fuchs", "a red fox"),
        ("ein roter Fuchs auf blauem Hintergrund", "a red fox on a blue background"),
        ("赤い狐", "a red fox"),
        ("赤いきつねと青い鳥", "a red fox and a blue bird"),
        ("青い背景のペンギン", "a penguin on a blue background"),
        ("un renard rouge sur fond bleu", "a red fox on a blue background"),
        ("una manzana roja y un perro", "a red apple and a dog"),
        ("chat noir", "a black cat"),
        ("Bär", "a bear"),
        ("Fuchs", "a fox"),
        ("белая кошка на синем фоне", "a white cat on a blue background"),
        ("czerwony lis", "a red fox"),
        ("빨간 여우", "a red fox"),
        ("一只红色的狐狸", "a red fox"),
        ("a doggo on red", "a dog on red"),
        ("a (doggo:1.2) and a clock", "a (dog:1.2) and an alarm clock"),
        ("a doggo on an orange background", "a dog on an orange background"),
    ],
)
def test_it_is_said_in_the_starters_words(by_words: None, prompt: str, drawn_from: str) -> None:
    assert starter_limits(prompt).drawn_from == drawn_from
    assert drawn_from in told(prompt)[OTHER_WORDS]


def test_what_has_no_word_in_the_dictionary_is_named_too(by_words: None) -> None:
    assert '"fan"' in told("扇風機と猫")[NOT_TAUGHT]
    assert "冷蔵庫" in told("冷蔵庫")[NOT_TAUGHT]


def test_a_word_of_english_is_not_taken_for_another_languages(by_words: None) -> None:
    assert '"pan"' in told("a pan")[NOT_TAUGHT]
    assert OTHER_WORDS not in told("a pan")


def test_without_the_model_of_meanings_that_is_told(by_words: None) -> None:
    assert "by words alone" in told("a tractor")[NOT_TAUGHT]


def test_what_a_lora_was_taught_is_known_with_it(by_words: None) -> None:
    learned = learned_from(["mimi-the-zebra", "mimi"], style=True)
    _, notices = said_to_starter(request("mimi the zebra, watercolor"), learned)
    assert notices == ()


def test_each_line_for_a_part_is_said_in_its_words(by_words: None) -> None:
    asked = request(
        "ein Hund", negative="blau", improve=[{"what": "faces", "prompts": ["eine Katze"]}]
    )
    wording, _ = said_to_starter(asked, limits.NOTHING_LEARNED)
    assert wording == {"ein Hund": "a dog", "eine Katze": "a cat", "blau": "blue"}


def test_of_a_picture_that_is_kept_nothing_is_told(by_words: None) -> None:
    kept = request("a tractor", start={"picture": "a.png", "strength": 0})
    assert said_to_starter(kept, limits.NOTHING_LEARNED) == ({}, ())


def test_on_wishes_that_were_set_aside_nearly_all_that_is_unknown_is_told(by_words: None) -> None:
    found = judged(wishes(set_aside=True))
    assert found.wishes >= 75
    assert found.recall >= 0.95
    assert found.precision >= 0.85
