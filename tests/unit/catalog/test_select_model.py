"""Which model a wish is drawn with."""

from __future__ import annotations

from typing import Any

from kizy.catalog.card import Card
from kizy.catalog.search.select_model import select_model


def model(name: str, family: str | None, **facts: Any) -> Card:
    return Card(**{"key": name, "name": name, "family": family, **facts})


STARTER = model("starter", "starter")
SD15 = model("sd15-base", "sd15")
SDXL = model("sd_xl_base", "sdxl")
PONY = model("ponyThing", "sdxl", variant="pony")
FLUX = model("flux1-dev", "flux1-dev")


def test_a_photo_goes_to_the_model_that_is_best_at_photos() -> None:
    choice = select_model("a photo of a street", [STARTER, SD15, SDXL, PONY, FLUX])
    assert choice.model == FLUX
    assert "You asked for a photo" in choice.why


def test_anime_goes_to_a_model_for_characters() -> None:
    assert select_model("an anime girl", [SDXL, PONY, FLUX]).model == PONY


def test_a_model_that_says_what_it_is_for_wins_in_its_family() -> None:
    real = model("RealisticThings_v4", "sdxl")
    choice = select_model("portrait photo of a man", [SDXL, PONY, real])
    assert choice.model == real
    assert "says it is made for that" in choice.why


def test_what_does_not_fit_the_memory_is_not_taken() -> None:
    choice = select_model("a photo of a street", [SD15, FLUX], memory_gb=6)
    assert choice.model == SD15
    assert "GB of GPU memory" in {card.name: why for card, why in choice.runners_up}["flux1-dev"]


def test_the_starter_is_for_what_it_was_taught() -> None:
    assert select_model("a fox sticker", [STARTER, SD15], starter_can=lambda _: False).model == SD15
    assert select_model("a street at night", [STARTER]).model == STARTER


def test_a_named_lora_decides_the_family() -> None:
    choice = select_model("a photo of a street", [SDXL, FLUX], lora_families={"sdxl"})
    assert choice.model == SDXL
    assert "the LoRA you named" in choice.why


def test_a_model_with_a_problem_or_of_no_known_family_is_not_taken() -> None:
    broken = model("broken", "sdxl", problem="The file is cut short.")
    choice = select_model("a fox", [broken, model("what", None)])
    assert choice.model is None
    assert choice.why == "It cannot be used: The file is cut short."


def test_without_any_model_it_says_so() -> None:
    assert select_model("a fox", []).why == "No model is installed."


def test_the_order_of_the_models_changes_nothing() -> None:
    assert (
        select_model("a castle", [SDXL, FLUX, SD15]).model
        == select_model("a castle", [SD15, FLUX, SDXL]).model
    )
