from __future__ import annotations

import pytest
from kizy.trainer.trigger import is_rare, trigger_for, trigger_of


@pytest.mark.parametrize(
    ("name", "trigger"),
    [
        ("Mimi the cat", "mimicat"),
        ("m1mi", "m1mi"),
        ("ink lines", "inklines"),
        ("grandmother's garden", "grangarden"),
        ("Lena v2", "lenav2"),
        ("Żółć Æther", "zolcaether"),
    ],
)
def test_a_name_is_written_as_one_short_word(name: str, trigger: str) -> None:
    assert trigger_for(name) == trigger


@pytest.mark.parametrize(
    "name", ["Fox", "Mimi", "water color", "Sun flower", "Bauhaus", "style", "The", "Otto", "dogs"]
)
def test_words_that_mean_something_already_get_an_ending(name: str) -> None:
    found = trigger_for(name)
    assert found.endswith("zu")
    assert is_rare(found)


@pytest.mark.parametrize("name", ["Whiskers", "Gandalf", "Blobs", "Zorblax"])
def test_one_word_alone_may_be_known_and_gets_an_ending(name: str) -> None:
    assert trigger_for(name) == f"{name.lower()}zu"


@pytest.mark.parametrize("word", ["fox", "foxes", "the", "1girl", "watercolor", "painted", "otto"])
def test_words_of_models_and_prompts_are_not_rare(word: str) -> None:
    assert not is_rare(word)


@pytest.mark.parametrize("name", ["木漏れ日", "12345", "👽", "!!!", "猫", "a"])
def test_names_in_other_letters_get_a_word_that_can_be_spoken(name: str) -> None:
    found = trigger_for(name)
    assert found.isascii()
    assert found.isalpha()
    assert found == trigger_for(name)
    assert found != trigger_for(f"{name}?")


def test_a_trigger_of_another_lora_is_not_taken_again() -> None:
    assert trigger_for("Mimi the cat", {"MimiCat "}) == "mimicatzu"
    assert trigger_for("Fox", {"foxzu", "foxvi"}) == "foxko"


def test_there_is_always_one_more_trigger() -> None:
    taken: set[str] = set()
    for _ in range(200):
        found = trigger_for("Fox", taken)
        assert found not in taken
        taken.add(found)


def test_captions_that_all_begin_with_a_rare_word_have_a_trigger() -> None:
    assert trigger_of(["m1mi, a cat", "m1mi on a sofa", "m1mi"]) == "m1mi"
    assert trigger_of(["M1mi, a cat"] * 4 + ["a dog"]) == "M1mi"


@pytest.mark.parametrize(
    "captions",
    [
        [],
        ["m1mi, a cat", "m1mi, a dog"],
        ["a cat", "a dog", "a horse"],
        ["cat, x", "cat, y", "cat, z"],
        ["1girl, x", "1girl, y", "1girl, z"],
        ["m1mi, x", "zorblax", "qwib"],
    ],
)
def test_other_captions_have_none(captions: list[str]) -> None:
    assert trigger_of(captions) is None
