"""Which model is drawn with if the request names none."""

from __future__ import annotations

import pytest
from kizy.catalog.family import family
from kizy.catalog.models import ModelEntry
from kizy.orchestrator.engines.comfy.models import entry
from kizy.orchestrator.model_choice import choose_model, starter_can

STARTER = ModelEntry(
    name="starter", family="starter", path=None, kind="builtin", size=0, drawable_here=True
)
SDXL = entry("sd_xl_base_1.0.safetensors", "sdxl")
PONY = entry("ponyDiffusionV6XL.safetensors", "sdxl")
FLUX = entry("flux1-dev.safetensors", "flux1-dev")


def taken(prompt: str, *models: ModelEntry, memory: float | None = None, **more) -> str | None:
    memories = {model.name: memory for model in models}
    choice = choose_model(prompt, models, memory=memories, **more)
    assert choice.why
    return choice.model.key if choice.model is not None else None


def test_a_photo_is_drawn_by_what_is_best_at_photos() -> None:
    assert taken("a photo of a street", SDXL, FLUX, PONY) == FLUX.name


def test_a_drawn_character_goes_to_the_model_that_was_made_for_them() -> None:
    assert taken("anime girl in the rain", SDXL, FLUX, PONY) == PONY.name


def test_what_does_not_fit_the_memory_is_left_out() -> None:
    assert taken("a photo of a street", SDXL, FLUX, memory=12.0) == SDXL.name


def test_a_named_lora_decides_the_family() -> None:
    assert taken("a photo of a street", SDXL, FLUX, lora_families={"sdxl"}) == SDXL.name


def test_a_model_that_cannot_be_drawn_with_is_left_out() -> None:
    problems = {FLUX.name: "it is cut short"}
    assert taken("a photo of a street", SDXL, FLUX, problems=problems) == SDXL.name


def test_the_starter_gives_way_to_a_larger_model() -> None:
    assert taken("a red fox", STARTER, SDXL) == SDXL.name
    assert taken("a red fox", STARTER) == "starter"


@pytest.mark.parametrize(
    ("prompt", "can"),
    [
        ("a red fox on a blue background", True),
        ("two pizzas", True),
        ("a photo of a fox", False),
        ("a street at night", False),
        ("a foxglove", False),
    ],
)
def test_the_starter_can_what_it_was_taught(prompt: str, can: bool) -> None:
    assert starter_can(prompt) is can


def test_a_variant_has_settings_and_words_of_its_own() -> None:
    pony = family("sdxl").as_variant("pony")
    assert pony.quality_tags.startswith("score_9") and pony.sampler == "euler_ancestral"
    assert pony.steps["balanced"] == 25 and pony.steps["draft"] < 25 < pony.steps["best"]
    assert pony.id == "sdxl" and pony.name == "Pony Diffusion"
    assert family("sdxl").as_variant(None) is family("sdxl")
