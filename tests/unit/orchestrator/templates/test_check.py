from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.plan import Plan
from kizy.orchestrator.backends.comfyui.workflows.compile import compile_plan
from kizy.orchestrator.backends.comfyui.workflows.library import template_for
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from kizy.orchestrator.backends.comfyui.workflows.validate import problems

Graph = dict[str, dict[str, Any]]


@pytest.fixture
def graph(make_plan: Callable[..., Plan], server: ServerFacts) -> Graph:
    plan = make_plan("sdxl")
    return compile_plan(plan, template_for(plan, server), server).graph


def test_a_good_graph_has_no_problems(graph: Graph, server: ServerFacts) -> None:
    assert problems(graph, server) == []


@pytest.mark.parametrize(
    ("node", "name", "value", "said"),
    [
        ("1", "ckpt_name", "other.safetensors", "not in the list"),
        ("5", "steps", 0, "steps is 0, below 1"),
        ("5", "cfg", 101.0, "cfg is 101.0, above 100"),
        ("5", "seed", 0.5, "seed wants INT"),
        ("5", "seed", True, "seed wants INT"),
        ("5", "sampler_name", "oiler", "not in the list"),
        ("5", "model", ["1", 1], "model wants MODEL, but gets CLIP"),
        ("5", "model", ["99", 0], "node 99, which is not there"),
        ("5", "model", ["1", 3], "output 3 of node 1"),
        ("5", "model", "a model", "wants a link of kind MODEL"),
        ("5", "colour", "red", "there is no input colour"),
    ],
)
def test_each_fault_is_found(
    graph: Graph, server: ServerFacts, node: str, name: str, value: Any, said: str
) -> None:
    graph[node]["inputs"][name] = value
    found = problems(graph, server)
    assert len(found) == 1
    assert said in found[0]


def test_a_missing_input_is_found(graph: Graph, server: ServerFacts) -> None:
    del graph["5"]["inputs"]["seed"]
    assert problems(graph, server) == ["5 (KSampler): seed is missing"]


def test_an_unknown_node_is_found(graph: Graph, server: ServerFacts) -> None:
    graph["5"]["class_type"] = "KSamplerDeluxe"
    assert "5 (KSamplerDeluxe): the server has no such node" in problems(graph, server)


def test_links_in_a_circle_are_found(graph: Graph, server: ServerFacts) -> None:
    for node, source in (("2", "3"), ("3", "2")):
        graph[node] = {
            "class_type": "ConditioningZeroOut",
            "inputs": {"conditioning": [source, 0]},
        }
    assert problems(graph, server) == ["the links go in a circle through 2 and 3"]


def test_a_graph_without_a_result_is_found(graph: Graph, server: ServerFacts) -> None:
    del graph["7"]
    assert problems(graph, server) == ["no node gives a result"]


def test_a_picture_to_load_may_come_later(server: ServerFacts) -> None:
    load = {"class_type": "LoadImage", "inputs": {"image": "kizy/later.png"}}
    save = {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "x"},
    }
    assert problems({"1": load, "2": save}, server) == []
