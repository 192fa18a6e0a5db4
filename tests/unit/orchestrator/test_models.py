"""The one rule for the model: what a plan takes, and what `why` says that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.families.family import family
from kizy.catalog.index.models import ModelEntry
from kizy.core.errors import KizyError
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.backends.comfyui.protocol.listed_models import entry
from kizy.orchestrator.comfy_side import ComfySide
from kizy.orchestrator.planning.models import Available, pick, starter_can
from kizy.orchestrator.settings import ServerSettings, Settings

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.diffusers_folders import sd15_folder

STARTER = ModelEntry(
    name="starter", family="starter", path=None, kind="builtin", size=0, drawable_here=True
)
SDXL = entry("sd_xl_base_1.0.safetensors", "sdxl")
PONY = entry("ponyDiffusionV6XL.safetensors", "sdxl")
FLUX = entry("flux1-dev.safetensors", "flux1-dev")


def available(*models: ModelEntry, memory: float | None = None, **more: Any) -> list[Available]:
    return [Available(model, "studio", memory, **more) for model in models]


def wish(prompt: str, **values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": prompt, **values})


def taken(prompt: str, models: list[Available], **more: Any) -> str | None:
    chosen = pick(wish(prompt), models, **more)
    assert chosen.choice.why
    return chosen.taken.entry.name if chosen.taken is not None else None


def test_a_photo_is_drawn_by_what_is_best_at_photos() -> None:
    assert taken("a photo of a street", available(SDXL, FLUX, PONY)) == FLUX.name


def test_a_drawn_character_goes_to_the_model_that_was_made_for_them() -> None:
    assert taken("anime girl in the rain", available(SDXL, FLUX, PONY)) == PONY.name


def test_what_does_not_fit_the_memory_is_left_out() -> None:
    assert taken("a photo of a street", available(SDXL, FLUX, memory=12.0)) == SDXL.name


def test_of_two_servers_with_a_model_the_larger_counts() -> None:
    models = [*available(FLUX, memory=8.0), *available(FLUX, memory=48.0), *available(SDXL)]
    assert taken("a photo of a street", models) == FLUX.name
    assert taken("a photo of a street", models[::-1]) == FLUX.name


def test_a_named_lora_decides_the_family() -> None:
    models = available(SDXL, FLUX)
    assert taken("a photo of a street", models, lora_families={"sdxl"}) == SDXL.name


def test_a_model_that_cannot_be_drawn_with_is_left_out() -> None:
    models = [*available(SDXL), *available(FLUX, problem="it is cut short")]
    assert taken("a photo of a street", models) == SDXL.name


def test_the_starter_gives_way_to_a_larger_model() -> None:
    assert taken("a red fox", available(STARTER, SDXL)) == SDXL.name
    assert taken("a red fox", available(STARTER, memory=0.0)) == "starter"


def test_without_a_gpu_the_starter_is_taken_for_what_it_was_taught() -> None:
    models = available(STARTER, SDXL, slow=True)
    assert taken("a fox", models) == "starter"
    assert taken("a photo of a street", models) == SDXL.name
    chosen = pick(wish("a fox"), models)
    assert "without a GPU" in chosen.choice.why
    assert [card.name for card, _ in chosen.choice.runners_up] == [SDXL.name]


def test_what_changes_pictures_is_taken_where_one_is_given() -> None:
    models = available(entry("flux1-kontext-dev.safetensors", "flux1-kontext"))
    assert taken("a fox", models) is None
    request = wish("a fox", start={"picture": "fox.png"})
    assert pick(request, models).taken is not None


class Install:
    """What is installed: an App with these files on a server, and these models here."""

    def __init__(self, tmp_path: Path, fake: FakeComfyUI | None, **settings: Any) -> None:
        servers = (ServerSettings(name="studio", url=fake.url),) if fake is not None else ()
        values = {"engine": "auto", **settings, "servers": servers}
        self.app = App(pictures=tmp_path / "out", settings=Settings.model_validate(values))
        if fake is None:
            side = ComfySide(
                self.app.settings, self.app.pictures, self.app.shelf, find=lambda _: []
            )
            self.app.comfy = side

    def __enter__(self) -> App:
        return self.app

    def __exit__(self, *_failure: object) -> None:
        self.app.close()


SETS = {
    "the starter alone": ["kizy-starter.safetensors"],
    "an old model": ["v1-5-pruned-emaonly-fp16.safetensors", "kizy-starter.safetensors"],
    "many": [
        "sd_xl_base_1.0.safetensors",
        "ponyDiffusionV6XL.safetensors",
        "flux1-dev-fp8.safetensors",
        "kizy-starter.safetensors",
        "somebody-elses.safetensors",
    ],
    "one that changes pictures": ["flux1-dev-kontext_fp8_scaled.safetensors"],
    "unknown ones": ["somebody-elses.safetensors"],
}
PROMPTS = (
    "a red fox",
    "a photo of a street at night",
    "anime girl in the rain",
    "a fox sticker",
    'a sign that says "open"',
    "an oil painting of a storm",
)


@pytest.mark.parametrize("engine", ["auto", "comfyui", "embedded"])
@pytest.mark.parametrize("installed", SETS)
def test_why_names_what_a_plan_takes(engine: str, installed: str, tmp_path: Path) -> None:
    lists = {"checkpoints": SETS[installed], "diffusion_models": [], "loras": []}
    with FakeComfyUI(models=lists) as fake, Install(tmp_path, fake, engine=engine) as app:
        for prompt in PROMPTS:
            assert why(app, prompt) == planned(app, prompt), prompt


def test_why_names_what_a_plan_takes_of_this_machine(tmp_path: Path, kizy_home: Path) -> None:
    sd15_folder(kizy_home / "models" / "photo15")
    with Install(tmp_path, None) as app:
        for prompt in PROMPTS:
            assert why(app, prompt) == planned(app, prompt), prompt


@pytest.mark.parametrize("model", ["starter", "sd_xl_base_1.0", "none"])
def test_why_names_the_model_of_the_settings_as_a_plan_does(tmp_path: Path, model: str) -> None:
    lists = {"checkpoints": SETS["many"], "diffusion_models": [], "loras": []}
    with FakeComfyUI(models=lists) as fake, Install(tmp_path, fake, model=model) as app:
        assert why(app, "a photo of a street") == planned(app, "a photo of a street")


def planned(app: App, prompt: str) -> tuple[str, ...]:
    """(engine, model, why), or the code of what was raised."""
    try:
        plan = app.plan(wish(prompt))
    except KizyError as error:
        return (error.code,)
    reason = next(reason for reason in plan.reasons if reason.choice == "model")
    return str(plan.engine), plan.model.name, reason.why


def why(app: App, prompt: str) -> tuple[str, ...]:
    try:
        taken = app.model_for(wish(prompt))
    except KizyError as error:
        return (error.code,)
    return taken.engine, taken.entry.name, taken.why


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
