from __future__ import annotations

import pytest
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.workflows.library import fragment, load_templates
from kizy.orchestrator.backends.comfyui.workflows.splice import Assembly


def begin() -> Assembly:
    return Assembly.begin(load_templates()["sdxl-checkpoint"], {"prompt": "a fox"})


def titles(work: Assembly) -> list[str]:
    return [node["_meta"]["title"] for node in work.pruned().values()]


def node(work: Assembly, title: str) -> str:
    return next(key for key, n in work.graph.items() if n["_meta"]["title"] == title)


def test_parameters_go_to_their_places() -> None:
    work = begin()
    assert work.graph[node(work, "Positive prompt")]["inputs"]["text"] == "a fox"


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(EngineError, match="sdxl-checkpoint has no parameter colour"):
        Assembly.begin(load_templates()["sdxl-checkpoint"], {"colour": "red"})


def test_all_users_of_a_port_move_to_the_fragment() -> None:
    work = begin()
    work.splice(fragment("lora"), {})
    lora = node(work, "Apply LoRA")
    graph = work.pruned()
    assert graph[node(work, "Sample")]["inputs"]["model"] == [lora, 0]
    assert graph[node(work, "Positive prompt")]["inputs"]["clip"] == [lora, 1]
    assert graph[node(work, "Negative prompt")]["inputs"]["clip"] == [lora, 1]
    assert graph[lora]["inputs"]["model"] == ["1", 0]


def test_fragments_of_one_kind_chain_in_order() -> None:
    work = begin()
    for _ in range(3):
        work.splice(fragment("lora"), {})
    first, second, third = (node(work, f"Apply LoRA{n}") for n in ("", " 2", " 3"))
    assert work.graph[second]["inputs"]["model"] == [first, 0]
    assert work.graph[third]["inputs"]["clip"] == [second, 1]
    assert work.graph[node(work, "Sample")]["inputs"]["model"] == [third, 0]


def test_what_nothing_uses_any_more_is_dropped() -> None:
    work = begin()
    work.splice(fragment("start"), {})
    assert "Empty latent" in [n["_meta"]["title"] for n in work.graph.values()]
    assert "Empty latent" not in titles(work)


def test_a_fragment_without_its_port_is_refused() -> None:
    work = begin()
    with pytest.raises(EngineError, match="takes the port start"):
        work.splice(fragment("mask"), {})


def test_a_node_that_the_fragment_builds_on_keeps_its_link() -> None:
    work = Assembly.begin(load_templates()["flux1-schnell-split"], {})
    work.splice(fragment("control-vae"), {})
    said, apply = node(work, "Positive prompt"), node(work, "Apply ControlNet")
    unsaid = node(work, "No negative prompt")
    assert work.graph[unsaid]["inputs"]["conditioning"] == [said, 0]
    assert work.graph[apply]["inputs"]["negative"] == [unsaid, 0]
    assert work.graph[node(work, "Sample")]["inputs"]["positive"] == [apply, 0]


def test_the_template_itself_stays_as_it_was() -> None:
    before = load_templates()["sdxl-checkpoint"].model_dump_json()
    work = begin()
    work.splice(fragment("lora"), {"lora": "a.safetensors"})
    work.pruned()["1"]["inputs"]["ckpt_name"] = "changed"
    assert load_templates()["sdxl-checkpoint"].model_dump_json() == before
