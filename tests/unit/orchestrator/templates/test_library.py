from __future__ import annotations

from collections.abc import Callable

import pytest
from kizy.core.errors import EngineError, InputError, UnknownNameError
from kizy.core.plan import ModelFile, Plan
from kizy.orchestrator.backends.comfyui.workflows.library import template_for
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts

MakePlan = Callable[..., Plan]
ServerWith = Callable[..., ServerFacts]


@pytest.mark.parametrize(
    ("name", "file", "template"),
    [
        ("starter", "starter", "starter-checkpoint"),
        ("sd15", "v1-5-pruned-emaonly-fp16", "sd15-checkpoint"),
        ("sdxl", "sd_xl_base_1.0.safetensors", "sdxl-checkpoint"),
        ("sd35", "sd3.5_large_fp8_scaled.safetensors", "sd35-checkpoint"),
        ("sd35", "sd3.5_medium_incl_clips_t5xxlfp8scaled", "sd35-checkpoint"),
        ("sd35", "sd3.5_large.safetensors", "sd35-encoders"),
        ("sd35-medium", "sd3.5_medium_incl_clips_t5xxlfp8scaled", "sd35-medium-checkpoint"),
        ("sd35-medium", "sd3.5_medium.safetensors", "sd35-medium-encoders"),
        ("flux1-kontext", "flux1-dev-kontext_fp8_scaled.safetensors", "flux1-kontext-split"),
        ("flux1-dev", "flux1-dev-fp8.safetensors", "flux1-dev-checkpoint"),
        ("flux1-dev", "flux1-dev.safetensors", "flux1-dev-split"),
        ("flux1-schnell", "flux1-schnell-fp8.safetensors", "flux1-schnell-checkpoint"),
        ("flux1-schnell", "flux1-schnell", "flux1-schnell-split"),
    ],
)
def test_the_form_is_that_of_the_loader_that_lists_the_model(
    name: str, file: str, template: str, make_plan: MakePlan, server: ServerFacts
) -> None:
    plan = make_plan(name, model=ModelFile(name=file))
    assert template_for(plan, server).id == template


def test_a_diffusion_model_without_text_encoders_takes_the_split_form(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(CheckpointLoaderSimple__ckpt_name=[])
    plan = make_plan("sd35", model=ModelFile(name="sd3.5_large.safetensors"))
    assert template_for(plan, server).id == "sd35-split"


def test_a_missing_model_is_answered_with_the_nearest_and_where_to_get_it(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    plan = make_plan("sdxl", model=ModelFile(name="sd_xl_base_0.9.safetensors"))
    with pytest.raises(EngineError, match=r'Did you mean "sd_xl_base_1\.0"') as caught:
        template_for(plan, server)
    assert caught.value.code == "server_model_missing"
    assert "stabilityai/stable-diffusion-xl-base-1.0" in caught.value.fix
    assert "models/checkpoints" in caught.value.fix


def test_a_server_without_the_starter_needs_the_pack(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(CheckpointLoaderSimple__ckpt_name=["sd_xl_base_1.0.safetensors"])
    with pytest.raises(EngineError, match="kizy-starter") as caught:
        template_for(make_plan("starter"), server)
    assert caught.value.code == "server_model_missing"
    assert "ComfyUI-Kizy" in caught.value.fix


def test_a_model_that_could_be_several_files_lists_them(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(CheckpointLoaderSimple__ckpt_name=["a/mine.safetensors", "b/mine.sft"])
    plan = make_plan("sdxl", model=ModelFile(name="mine"))
    with pytest.raises(InputError, match=r"a/mine\.safetensors, b/mine\.sft"):
        template_for(plan, server)


def test_an_unknown_family_is_named(make_plan: MakePlan, server: ServerFacts) -> None:
    with pytest.raises(UnknownNameError) as caught:
        template_for(make_plan("sdxl", family="sdlx"), server)
    assert caught.value.code == "family_unknown"
