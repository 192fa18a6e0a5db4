"""A Plan from the graph that drew a picture."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.card import Card
from kizy.catalog.search.select import Picked
from kizy.core.plan import DrawStage, ImproveStage
from kizy.nodes import records
from kizy.nodes.graph_facts import plan_of
from kizy.nodes.model_family import file_of_model

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture
def graph() -> Graph:
    """As ComfyUI's default workflow, with a LoRA."""
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "10": node(
            "LoraLoader",
            model=["4", 0],
            clip=["4", 1],
            lora_name="styles/ink.safetensors",
            strength_model=0.7,
            strength_clip=0.5,
        ),
        "6": node("CLIPTextEncode", text="a fox", clip=["10", 1]),
        "7": node("CLIPTextEncode", text="blurry", clip=["10", 1]),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "3": node(
            "KSampler",
            seed=41,
            steps=20,
            cfg=7.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            denoise=1.0,
            model=["10", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("KizySave", images=["8", 0], filename_prefix="x"),
    }


def test_the_common_nodes_are_read(graph: Graph) -> None:
    plan = plan_of(graph, "9", 512, 768)
    assert plan is not None
    assert (plan.prompt, plan.negative) == ("a fox", "blurry")
    assert (plan.seed, plan.steps, plan.guidance) == (41, 20, 7.5)
    assert (plan.sampler, plan.scheduler) == ("dpmpp_2m", "karras")
    assert (plan.family, plan.model.name) == ("sdxl", "sd_xl_base_1.0.safetensors")
    assert [(lora.file.name, lora.model_weight) for lora in plan.loras] == [("ink", 0.7)]
    assert (plan.width, plan.height) == (512, 768)


def test_linked_texts_and_seeds_are_followed(graph: Graph) -> None:
    graph["20"] = node("PrimitiveString", value="a heron")
    graph["21"] = node("PrimitiveInt", value=99)
    graph["6"]["inputs"]["text"] = ["20", 0]
    graph["3"]["inputs"]["seed"] = ["21", 0]
    plan = plan_of(graph, "9", 512, 768)
    assert plan is not None
    assert (plan.prompt, plan.seed) == ("a heron", 99)


def test_a_sampler_with_noise_and_guider_is_read(graph: Graph) -> None:
    graph |= {
        "30": node("RandomNoise", noise_seed=5),
        "31": node("BasicGuider", model=["4", 0], conditioning=["6", 0]),
        "32": node("BasicScheduler", model=["4", 0], scheduler="simple", steps=8, denoise=1.0),
        "33": node("KSamplerSelect", sampler_name="euler"),
        "34": node(
            "SamplerCustomAdvanced",
            noise=["30", 0],
            guider=["31", 0],
            sampler=["33", 0],
            sigmas=["32", 0],
            latent_image=["5", 0],
        ),
    }
    graph["8"]["inputs"]["samples"] = ["34", 0]
    plan = plan_of(graph, "9", 512, 768)
    assert plan is not None
    assert (plan.seed, plan.steps, plan.sampler, plan.scheduler) == (5, 8, "euler", "simple")
    assert plan.prompt == "a fox"


def test_what_kizy_decided_is_written_down(graph: Graph) -> None:
    graph["10"] = node("KizyLoraByIntent", model=["4", 0], clip=["4", 1], prompt="a fox in ink")
    graph["6"]["inputs"]["text"] = ["10", 2]
    card = Card(key="/loras/ink_v3.safetensors", name="Ink")
    picked = Picked(card, 0.8, 0.8, ("inkwsh",), "It is ink.", 0.9)
    records.remember(graph, "10", prompt="a fox in ink, inkwsh", loras=[(picked, 0.4, 0.4)])
    plan = plan_of(graph, "9", 512, 768)
    assert plan is not None
    assert plan.prompt == "a fox in ink, inkwsh"
    assert [(lora.file.name, lora.model_weight) for lora in plan.loras] == [("ink_v3", 0.4)]
    assert [reason.why for reason in plan.reasons] == ["It is ink."]


def test_what_was_decided_for_another_graph_is_not(graph: Graph) -> None:
    graph["10"] = node("KizyLoraByIntent", model=["4", 0], clip=["4", 1], prompt="an owl")
    records.remember(graph, "10", prompt="an owl, x", loras=[])
    graph["10"]["inputs"]["prompt"] = "two owls"
    assert records.decided(graph, "10") is None


def test_a_picture_from_no_sampler_has_no_plan() -> None:
    graph = {"1": node("LoadImage", image="a.png"), "2": node("KizySave", images=["1", 0])}
    assert plan_of(graph, "2", 64, 64) is None


STAGE = ImproveStage(
    what="faces", amount="normal", strength=0.4, width=512, height=512, multiple=64
)


def detailer(image: list[Any], **inputs: Any) -> dict[str, Any]:
    """As the page sends it: 0 and a name mean what the node finds best."""
    given = {"what": "faces", "amount": "normal", "seed": 7, "steps": 0, "cfg": 0.0}
    given |= {"sampler": "as the model likes it", "scheduler": "as the model likes it"} | inputs
    wires = {"model": ["10", 0], "clip": ["10", 1], "vae": ["4", 2]}
    return node("KizyDetailer", image=image, **wires, positive=["6", 0], negative=["7", 0], **given)


def improve(graph: Graph, image: list[Any]) -> None:
    """Between `image` and what is saved stands a Detailer that has run."""
    graph["11"] = detailer(image)
    graph["9"]["inputs"]["images"] = ["11", 0]
    how = records.Improved("sdxl", 30, 6.0, "euler", "simple", STAGE)
    records.remember_improved(graph, "11", how)


def test_a_picture_that_was_drawn_and_improved_tells_of_both(graph: Graph) -> None:
    improve(graph, ["8", 0])
    plan = plan_of(graph, "9", 512, 768)
    assert plan is not None
    assert (plan.seed, plan.steps, plan.guidance, plan.sampler) == (41, 20, 7.5, "dpmpp_2m")
    assert plan.stages == (DrawStage(), STAGE)


def test_a_given_picture_that_was_improved_tells_what_drew_its_parts(graph: Graph) -> None:
    graph["4"]["inputs"]["ckpt_name"] = "somebodys_mix.safetensors"
    graph["12"] = node("LoadImage", image="a.png")
    improve(graph, ["12", 0])
    plan = plan_of(graph, "9", 512, 768)
    assert plan is not None
    assert (plan.seed, plan.steps, plan.guidance) == (7, 30, 6.0)
    assert (plan.sampler, plan.scheduler, plan.family) == ("euler", "simple", "sdxl")
    assert (plan.prompt, plan.negative) == ("a fox", "blurry")
    assert plan.stages == (STAGE,)


def test_a_circle_ends() -> None:
    graph = {"1": node("A", x=["2", 0]), "2": node("B", x=["1", 0])}
    assert [at for at, _ in records.above(graph, "1")] == ["1", "2"]
    assert file_of_model(graph, "1", "x") is None


def test_the_models_file_is_found_up_the_wire(graph: Graph) -> None:
    assert file_of_model(graph, "3", "model") == "sd_xl_base_1.0.safetensors"
