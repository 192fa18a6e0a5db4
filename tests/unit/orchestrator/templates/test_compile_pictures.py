"""Compiling Plans with pictures given and stages behind drawing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.errors import EngineError, KizyError, PictureError
from kizy.core.plan import (
    DrawStage,
    EnlargeStage,
    ImproveStage,
    InputPicture,
    ModelFile,
    PlannedStart,
)
from kizy.orchestrator.backends.comfyui.workflows.compile import drawn_steps
from kizy.orchestrator.backends.comfyui.workflows.mask_fragment import softness
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts

from tests.unit.orchestrator.templates.builders import (
    ENLARGE,
    SECOND,
    MakePlan,
    ServerWith,
    compiled_on,
    node,
    source,
    titles,
)


def test_a_start_picture_takes_the_place_of_the_empty_latent(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    compiled = compiled_on(server, make_plan("sdxl", start=0.6))
    sample = node(compiled, "Sample")["inputs"]
    assert (sample["steps"], sample["denoise"]) == (15, 0.6)
    assert source(compiled, "Sample", "latent_image") == "Encode start picture"
    assert "Empty latent" not in titles(compiled)
    scaled = node(compiled, "Scale to drawing size")["inputs"]
    assert (scaled["width"], scaled["height"], scaled["crop"]) == (1024, 1024, "disabled")
    assert [upload.name for upload in compiled.uploads] == [f"kizy/{'a' * 64}.png"]
    assert compiled.samplers == {"5": 15}


def test_kontext_sees_the_start_picture_beside_the_noise(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    """As ComfyUI's own template: CLIPTextEncode, ReferenceLatent and FluxGuidance into KSampler."""
    compiled = compiled_on(server, make_plan("flux1-kontext", start=1.0))
    assert source(compiled, "Sample", "positive") == "Picture to change"
    assert source(compiled, "Picture to change", "conditioning") == "Guidance"
    assert source(compiled, "Picture to change", "latent") == "Encode picture to change"
    scale = "Scale to a size that the model knows"
    assert source(compiled, "Encode picture to change", "pixels") == scale
    assert source(compiled, scale, "image") == "Start picture on white"
    assert source(compiled, "Sample", "latent_image") == "Encode start picture"
    assert node(compiled, "Sample")["inputs"]["denoise"] == 1.0
    assert len(compiled.uploads) == 1


def test_kontext_without_a_picture_draws_from_text(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(without=("ReferenceLatent",))
    compiled = compiled_on(server, make_plan("flux1-kontext"))
    assert source(compiled, "Sample", "positive") == "Guidance"
    with pytest.raises(EngineError, match="no node ReferenceLatent"):
        compiled_on(server, make_plan("flux1-kontext", start=1.0))


def test_other_families_only_begin_with_the_start_picture(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    assert "Picture to change" not in titles(compiled_on(server, make_plan("sdxl", start=0.6)))


def test_a_picture_that_is_used_twice_is_uploaded_once(
    make_plan: MakePlan, server: ServerFacts, picture: Callable[..., InputPicture]
) -> None:
    start = PlannedStart(picture=picture("0", "JPG"), strength=0.5)
    plan = make_plan("sdxl", controls=("canny",)).model_copy(update={"start": start})
    names = [upload.name for upload in compiled_on(server, plan).uploads]
    assert names == [f"kizy/{'0' * 64}.jpg", f"kizy/{'0' * 64}.png"]
    twice = make_plan("sdxl", controls=("canny",)).controls * 2
    plan = make_plan("sdxl").model_copy(update={"controls": twice})
    assert len(compiled_on(server, plan).uploads) == 1


def test_a_mask_needs_a_start_picture(make_plan: MakePlan, server: ServerFacts) -> None:
    with pytest.raises(PictureError) as caught:
        compiled_on(server, make_plan("sdxl", mask=8))
    assert caught.value.code == "mask_unusable"


def test_the_mask_is_put_back_behind_every_other_stage(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    plan = make_plan("sdxl", start=1.0, mask=0, stages=(DrawStage(), ENLARGE))
    plan = plan.model_copy(update={"output_width": 2000, "output_height": 1990})
    compiled = compiled_on(server, plan)
    assert source(compiled, "Save picture", "images") == "Keep all outside the mask"
    assert source(compiled, "Keep all outside the mask", "source") == "Scale to final size"
    original = node(compiled, "Start picture at final size")["inputs"]
    assert (original["width"], original["height"]) == (2000, 1990)
    latent = node(compiled, "Scale mask to the latent")["inputs"]
    assert (latent["width"], latent["height"]) == (128, 128)
    assert source(compiled, "Sample", "latent_image") == "Draw only inside the mask"


@pytest.mark.parametrize("size", [(16, 16), (64, 2000), (1024, 1024), (8192, 8192)])
@pytest.mark.parametrize("feather", [1, 2, 8, 18, 100, 512])
def test_a_soft_border_stays_within_what_the_nodes_take(
    size: tuple[int, int], feather: int
) -> None:
    soft = softness(*size, feather)
    assert 1 <= soft.radius <= 31
    assert soft.radius < min(soft.width, soft.height)
    assert 0.1 <= soft.sigma <= 10
    assert soft.erode < 0 < soft.reach <= 31


def test_controls_are_chained_and_get_the_vae_where_it_is_needed(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    compiled = compiled_on(server, make_plan("flux1-dev", controls=("canny", "depth")))
    assert source(compiled, "Apply ControlNet", "vae") == "Load VAE"
    assert source(compiled, "Apply ControlNet", "positive") == "Guidance"
    assert source(compiled, "Apply ControlNet 2", "negative") == "Apply ControlNet"
    assert source(compiled, "Sample", "positive") == "Apply ControlNet 2"
    given = node(compiled, "Apply ControlNet")["inputs"]
    assert (given["strength"], given["start_percent"], given["end_percent"]) == (0.8, 0.0, 0.9)


def test_a_union_controlnet_is_told_the_kind(make_plan: MakePlan, server: ServerFacts) -> None:
    compiled = compiled_on(server, make_plan("sdxl", controls=("depth",)))
    assert node(compiled, "Kind of map")["inputs"]["type"] == "depth"
    assert source(compiled, "Apply ControlNet", "control_net") == "Kind of map"


def test_a_second_pass_samples_again_at_a_multiple(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    plan = make_plan("sdxl", stages=(DrawStage(), SECOND), output_width=1536, output_height=1536)
    compiled = compiled_on(server, plan)
    larger = node(compiled, "Enlarge latent")["inputs"]
    assert (larger["width"], larger["height"]) == (1536, 1536)
    again = node(compiled, "Sample again")["inputs"]
    assert (again["steps"], again["denoise"], again["cfg"]) == (8, 0.4, 7.0)
    assert source(compiled, "Decode", "samples") == "Sample again"
    assert sorted(compiled.samplers.values()) == [8, 25]
    assert "Scale to final size" not in titles(compiled)


def test_enlarging_ends_at_the_planned_size(make_plan: MakePlan, server: ServerFacts) -> None:
    plan = make_plan("starter", stages=(DrawStage(), ENLARGE), output_width=250, output_height=260)
    compiled = compiled_on(server, plan)
    assert node(compiled, "Load enlarger")["inputs"]["model_name"] == "kizy-enlarger-x4.safetensors"
    final = node(compiled, "Scale to final size")["inputs"]
    assert (final["width"], final["height"]) == (250, 260)


def test_above_four_times_the_enlarger_runs_twice(make_plan: MakePlan, server: ServerFacts) -> None:
    stage = EnlargeStage(factor=6, model=ModelFile(name="starter-enlarger-x4"))
    plan = make_plan("starter", stages=(DrawStage(), stage), output_width=770, output_height=768)
    compiled = compiled_on(server, plan)
    between = node(compiled, "Scale to final size")["inputs"]
    assert (between["width"], between["height"]) == (193, 192)
    final = node(compiled, "Scale to final size 2")["inputs"]
    assert (final["width"], final["height"]) == (770, 768)


def test_a_size_that_was_not_drawn_is_scaled_to(make_plan: MakePlan, server: ServerFacts) -> None:
    compiled = compiled_on(server, make_plan("sdxl", output_width=1000, output_height=1010))
    assert source(compiled, "Save picture", "images") == "Scale to final size"
    assert node(compiled, "Scale to final size")["inputs"]["height"] == 1010


def test_a_missing_enlarger_of_kizy_needs_the_pack(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(UpscaleModelLoader__model_name=[])
    with pytest.raises(EngineError) as caught:
        compiled_on(server, make_plan("sdxl", stages=(DrawStage(), ENLARGE)))
    assert caught.value.code == "server_model_missing"
    assert "ComfyUI-Kizy" in caught.value.fix


@pytest.mark.parametrize(
    "stages",
    [
        (
            DrawStage(),
            ImproveStage(
                what="faces", amount="normal", strength=0.4, width=1024, height=1024, multiple=64
            ),
        ),
        (DrawStage(), ENLARGE, SECOND),
    ],
)
def test_what_cannot_be_done_is_said(
    stages: tuple[Any, ...], make_plan: MakePlan, server: ServerFacts
) -> None:
    with pytest.raises(KizyError) as caught:
        compiled_on(server, make_plan("sdxl", stages=stages))
    assert caught.value.code == "feature_unavailable"


def test_tiled_decode_takes_the_place_of_decode(make_plan: MakePlan, server: ServerFacts) -> None:
    compiled = compiled_on(server, make_plan("sdxl"), tiled_decode=True)
    assert source(compiled, "Save picture", "images") == "Decode in tiles"
    assert "Decode" not in titles(compiled)


def test_ksampler_draws_the_same_steps_as_the_embedded_engine() -> None:
    for steps in range(1, 61):
        for percent in range(1, 101):
            strength = percent / 100
            drawn, denoise = drawn_steps(steps, strength)
            assert drawn == max(1, min(steps, round(steps * strength)))
            assert (int(drawn / denoise) if denoise <= 0.9999 else drawn) == steps


def test_a_strength_of_nothing_samples_nothing(make_plan: MakePlan, server: ServerFacts) -> None:
    compiled = compiled_on(server, make_plan("sdxl", start=0.0))
    assert node(compiled, "Sample")["inputs"]["denoise"] == 0.0
    assert compiled.samplers == {}


def test_a_picture_that_is_only_enlarged_is_not_sampled(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    given = PlannedStart(picture=InputPicture(path="given.png", sha256="1" * 64), strength=0)
    plan = make_plan(
        "starter", start=0.0, stages=(ENLARGE,), output_width=200, output_height=120
    ).model_copy(update={"start": given})
    compiled = compiled_on(server, plan)
    assert "Sample" not in titles(compiled)
    assert source(compiled, "Enlarge", "image") == "Start picture on white"
    final = node(compiled, "Scale to final size")["inputs"]
    assert (final["width"], final["height"]) == (200, 120)
    assert compiled.samplers == {}


def test_a_file_that_is_picture_and_mask_is_uploaded_as_both(
    make_plan: MakePlan, server: ServerFacts, picture: Callable[..., InputPicture]
) -> None:
    given = picture("0", "png")
    plan = make_plan("sdxl", start=1.0, mask=0)
    assert plan.start is not None and plan.mask is not None
    update = {
        "start": plan.start.model_copy(update={"picture": given}),
        "mask": plan.mask.model_copy(update={"picture": given}),
    }
    uploads = compiled_on(server, plan.model_copy(update=update)).uploads
    assert [(upload.name, upload.mask) for upload in uploads] == [
        (f"kizy/{'0' * 64}.png", False),
        (f"kizy/{'0' * 64}-mask.png", True),
    ]
