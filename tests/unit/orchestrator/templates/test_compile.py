from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.families.family import load_families
from kizy.core.errors import EngineError, InputError
from kizy.core.plan import (
    DrawStage,
    ModelFile,
)
from kizy.orchestrator.backends.comfyui.workflows.compile import compile_plan
from kizy.orchestrator.backends.comfyui.workflows.library import load_templates
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from kizy.orchestrator.backends.comfyui.workflows.validate import problems

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

GRAPHS = Path(__file__).parents[3] / "data" / "graphs"


TEMPLATE_MODELS = {
    "starter-checkpoint": "starter",
    "sd15-checkpoint": "v1-5-pruned-emaonly-fp16.safetensors",
    "sdxl-checkpoint": "sd_xl_base_1.0.safetensors",
    "sd35-checkpoint": "sd3.5_large_fp8_scaled.safetensors",
    "sd35-encoders": "sd3.5_large.safetensors",
    "sd35-split": "sd3.5_large.safetensors",
    "sd35-medium-checkpoint": "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
    "sd35-medium-encoders": "sd3.5_medium.safetensors",
    "sd35-medium-split": "sd3.5_medium.safetensors",
    "flux1-kontext-split": "flux1-dev-kontext_fp8_scaled.safetensors",
    "flux1-dev-checkpoint": "flux1-dev-fp8.safetensors",
    "flux1-dev-split": "flux1-dev.safetensors",
    "flux1-schnell-checkpoint": "flux1-schnell-fp8.safetensors",
    "flux1-schnell-split": "flux1-schnell.safetensors",
}


def fragment_sets() -> Iterator[dict[str, Any]]:
    """Every sensible set: any of LoRAs, second pass, control, enlarge, tiles; start and mask."""
    for start in ({}, {"start": 0.6}, {"start": 1.0, "mask": 0}, {"start": 0.7, "mask": 9}):
        for bits in range(32):
            chosen: dict[str, Any] = dict(start)
            if bits & 1:
                chosen["loras"] = (("nadia", 0.8), ("watercolour", 1.0))
            if bits & 2:
                chosen["controls"] = ("canny", "depth")
            stages = [DrawStage(), *([SECOND] * bool(bits & 4)), *([ENLARGE] * bool(bits & 8))]
            chosen["stages"] = tuple(stages)
            chosen["tiled_decode"] = bool(bits & 16)
            yield chosen


def test_all_text_to_image_templates_are_tried_here() -> None:
    known = {key for key, template in load_templates().items() if not template.is_fragment}
    assert known == set(TEMPLATE_MODELS)


@pytest.mark.parametrize("template", TEMPLATE_MODELS)
def test_every_template_with_every_set_of_fragments_fits_the_server(
    template: str, make_plan: MakePlan, server: ServerFacts
) -> None:
    read = load_templates()[template]
    for chosen in fragment_sets():
        tiled = chosen.pop("tiled_decode")
        if load_families()[read.family or ""].comfyui.control is None:
            chosen.pop("controls", None)
        enlarged = ENLARGE in chosen["stages"]
        plan = make_plan(read.family, model=ModelFile(name=TEMPLATE_MODELS[template]), **chosen)
        grown = 2 if enlarged else 1
        plan = plan.model_copy(
            update={
                "output_width": plan.width * grown,
                "output_height": plan.height * grown,
            }
        )
        compiled = compile_plan(plan, read, server, tiled_decode=tiled)
        assert problems(compiled.graph, server) == [], chosen
        shown = titles(compiled)
        assert len(set(shown)) == len(shown)
        assert len(compiled.outputs) == 1
        assert ("Decode in tiles" in shown) == tiled
        assert ("Empty latent" in shown) == (plan.start is None)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        (
            "sdxl-loras-mask",
            {
                "name": "sdxl",
                "loras": (("nadia", 0.8), ("watercolour", 0.5)),
                "start": 1.0,
                "mask": 8,
                "output_width": 1000,
                "output_height": 1000,
            },
        ),
        (
            "flux1-dev-split-control",
            {"name": "flux1-dev", "controls": ("canny",), "width": 1152, "height": 896},
        ),
        ("sdxl-start-second-pass", {"name": "sdxl", "start": 0.6, "stages": (DrawStage(), SECOND)}),
    ],
)
def test_a_graph_is_what_it_was(
    name: str, chosen: dict[str, Any], make_plan: MakePlan, server: ServerFacts
) -> None:
    graph = compiled_on(server, make_plan(**chosen)).graph
    assert graph == json.loads((GRAPHS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_same_plan_gives_the_same_graph(make_plan: MakePlan, server: ServerFacts) -> None:
    chosen: dict[str, Any] = {"loras": (("nadia", 0.8),), "start": 0.5, "mask": 9}
    first = compiled_on(server, make_plan("sdxl", **chosen))
    first.graph["1"]["inputs"]["ckpt_name"] = "changed by somebody"
    second = compiled_on(server, make_plan("sdxl", **chosen))
    third = compiled_on(server, make_plan("sdxl", **chosen))
    assert json.dumps(second.graph) == json.dumps(third.graph)
    assert second.graph["1"]["inputs"]["ckpt_name"] == "sd_xl_base_1.0.safetensors"


def test_everything_of_the_plan_reaches_the_sampler(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    plan = make_plan("sdxl", seed=2**63, steps=31, guidance=5.5, sampler="euler")
    compiled = compiled_on(server, plan, prefix="kizy/abc")
    given = node(compiled, "Sample")["inputs"]
    assert (given["seed"], given["steps"], given["cfg"]) == (2**63, 31, 5.5)
    assert (given["sampler_name"], given["scheduler"]) == ("euler", "karras")
    assert node(compiled, "Positive prompt")["inputs"]["text"] == "a fox in the snow"
    assert node(compiled, "Negative prompt")["inputs"]["text"] == "blurry"
    assert node(compiled, "Save picture")["inputs"]["filename_prefix"] == "kizy/abc"
    assert compiled.samplers == {"5": 31}
    assert compiled.template == "sdxl-checkpoint"
    assert compiled.uploads == ()


def test_distilled_guidance_goes_to_its_own_node_and_cfg_stays_1(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    compiled = compiled_on(server, make_plan("flux1-dev", guidance=2.5))
    assert node(compiled, "Guidance")["inputs"]["guidance"] == 2.5
    assert node(compiled, "Sample")["inputs"]["cfg"] == 1.0
    assert source(compiled, "Sample", "positive") == "Guidance"
    assert source(compiled, "Sample", "negative") == "No negative prompt"
    assert node(compiled, "Empty latent")["class_type"] == "EmptySD3LatentImage"


def test_flux_schnell_takes_neither_guidance_nor_negative(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    compiled = compiled_on(server, make_plan("flux1-schnell", guidance=3.0))
    assert node(compiled, "Sample")["inputs"]["cfg"] == 1.0
    assert "Guidance" not in titles(compiled)


def test_text_encoders_are_found_under_their_other_names(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    encoders = ["flux\\clip_l.safetensors", "t5/t5xxl_fp8_e4m3fn.safetensors"]
    server = server_with(
        DualCLIPLoader__clip_name1=encoders,
        DualCLIPLoader__clip_name2=encoders,
        VAELoader__vae_name=["FLUX1/ae.safetensors"],
    )
    compiled = compiled_on(server, make_plan("flux1-dev"))
    given = node(compiled, "Load text encoders")["inputs"]
    assert (given["clip_name1"], given["clip_name2"]) == (encoders[0], encoders[1])
    assert node(compiled, "Load VAE")["inputs"]["vae_name"] == "FLUX1/ae.safetensors"


def test_a_missing_text_encoder_says_where_to_get_it(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(DualCLIPLoader__clip_name2=["clip_l.safetensors"])
    with pytest.raises(EngineError, match=r"no text encoder called \"t5xxl_fp16") as caught:
        compiled_on(server, make_plan("flux1-dev"))
    assert caught.value.code == "server_model_missing"
    assert "comfyanonymous/flux_text_encoders" in caught.value.fix
    assert "models/text_encoders" in caught.value.fix


def test_a_missing_vae_says_the_name_to_save_it_under(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(
        CheckpointLoaderSimple__ckpt_name=[], VAELoader__vae_name=["ae.safetensors"]
    )
    plan = make_plan("sd35", model=ModelFile(name="sd3.5_large.safetensors"))
    with pytest.raises(EngineError, match="no VAE") as caught:
        compiled_on(server, plan)
    assert "sd3.5_vae.safetensors" in caught.value.fix
    assert "vae/diffusion_pytorch_model.safetensors" in caught.value.fix


def test_a_missing_lora_is_answered_with_the_nearest(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    with pytest.raises(EngineError, match='Did you mean "nadia"') as caught:
        compiled_on(server, make_plan("sdxl", loras=(("nadja", 1.0),)))
    assert caught.value.code == "server_model_missing"
    assert "models/loras" in caught.value.fix


def test_loras_are_chained_in_the_plans_order(make_plan: MakePlan, server: ServerFacts) -> None:
    plan = make_plan("sdxl", loras=(("nadia", 0.8), ("watercolour", 1.0)))
    compiled = compiled_on(server, plan)
    first = node(compiled, "Apply LoRA")["inputs"]
    assert first["lora_name"] == "people/nadia.safetensors"
    assert (first["strength_model"], first["strength_clip"]) == (0.8, 0.4)
    assert source(compiled, "Apply LoRA", "model") == "Load checkpoint"
    assert source(compiled, "Apply LoRA 2", "model") == "Apply LoRA"
    assert source(compiled, "Sample", "model") == "Apply LoRA 2"
    assert source(compiled, "Negative prompt", "clip") == "Apply LoRA 2"


@pytest.mark.parametrize(
    ("without", "said", "fix"),
    [
        ("FluxGuidance", "no node FluxGuidance, which belongs to ComfyUI itself", "0.3.64"),
        ("UNETLoader", "no node UNETLoader", "0.3.64"),
    ],
)
def test_a_missing_node_says_whose_it_is(
    without: str, said: str, fix: str, make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(without=(without,))
    with pytest.raises(EngineError, match=said) as caught:
        compile_plan(make_plan("flux1-dev"), load_templates()["flux1-dev-split"], server)
    assert caught.value.code == "server_node_missing"
    assert fix in caught.value.fix


def test_a_missing_node_of_a_fragment_is_found_too(
    make_plan: MakePlan, server_with: ServerWith
) -> None:
    server = server_with(without=("LoraLoader",))
    with pytest.raises(EngineError) as caught:
        compiled_on(server, make_plan("sdxl", loras=(("nadia", 1.0),)))
    assert caught.value.code == "server_node_missing"


def test_a_sampler_that_the_server_lacks_is_refused(
    make_plan: MakePlan, server: ServerFacts
) -> None:
    with pytest.raises(InputError, match='no sampler "oiler"') as caught:
        compiled_on(server, make_plan("sdxl", sampler="oiler"))
    assert caught.value.code == "request_invalid"
    with pytest.raises(InputError, match=r'no scheduler "karas".*"karras"'):
        compiled_on(server, make_plan("sdxl", scheduler="karas"))


def test_a_template_of_another_family_is_refused(make_plan: MakePlan, server: ServerFacts) -> None:
    with pytest.raises(EngineError) as caught:
        compile_plan(make_plan("sdxl"), load_templates()["sd15-checkpoint"], server)
    assert caught.value.code == "template_invalid"


def test_what_break_parts_is_encoded_one_by_one(make_plan: MakePlan, server: ServerFacts) -> None:
    plan = make_plan(
        "sdxl",
        prompt="a fox BREAK a (tree:1.2) BREAK snow",
        negative="blurry BREAK dark",
        loras=(("nadia", 0.8),),
        controls=("canny",),
    )
    compiled = compiled_on(server, plan)
    assert problems(compiled.graph, server) == []
    words = [n["inputs"]["text"] for n in compiled.graph.values() if "text" in n["inputs"]]
    assert words == ["a fox", "blurry", "a (tree:1.2)", "snow", "dark"]
    last = "Parts one behind the other"
    assert source(compiled, "Apply ControlNet", "positive") == f"{last} 2"
    assert source(compiled, f"{last} 2", "conditioning_to") == last
    assert source(compiled, last, "conditioning_to") == "Positive prompt"
    assert source(compiled, "Apply ControlNet", "negative") == f"{last} 3"
    assert source(compiled, f"{last} 3", "conditioning_to") == "Negative prompt"
    assert source(compiled, "Next part", "clip") == "Apply LoRA"


@pytest.mark.parametrize("name", ["flux1-dev", "sd35", "starter"])
def test_families_without_rows_have_one_part(
    name: str, make_plan: MakePlan, server: ServerFacts
) -> None:
    compiled = compiled_on(server, make_plan(name, prompt="a fox BREAK a tree"))
    words = [n["inputs"]["text"] for n in compiled.graph.values() if "text" in n["inputs"]]
    assert words[0] == "a fox BREAK a tree"
    assert "Next part" not in titles(compiled)
