from __future__ import annotations

from typing import Any

import pytest
from kizy.orchestrator.backends.comfyui.workflows.graph import Graph
from kizy.orchestrator.backends.comfyui.workflows.node_types import MODEL_FOLDERS, NODE_TYPES
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts


def loader(graph: Graph) -> Any:
    return graph.add("CheckpointLoaderSimple", "Load checkpoint", ckpt_name="a.safetensors")


def test_a_graph_becomes_the_api_format_with_titles_and_groups() -> None:
    graph = Graph()
    with graph.group("Model"):
        checkpoint = loader(graph)
    graph.add("CLIPTextEncode", "Positive prompt", text="a fox", clip=checkpoint[1])
    assert graph.to_api() == {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "a.safetensors"},
            "_meta": {"title": "Load checkpoint", "group": "Model"},
        },
        "2": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": "a fox", "clip": ["1", 1]},
            "_meta": {"title": "Positive prompt", "group": ""},
        },
    }


def test_nodes_keep_their_order_and_groups() -> None:
    graph = Graph()
    with graph.group("A"):
        loader(graph)
        with graph.group("B"):
            loader(graph)
        loader(graph)
    assert [(node.id, node.group) for node in graph.nodes] == [("1", "A"), ("2", "B"), ("3", "A")]


def test_a_link_of_a_wrong_kind_is_refused() -> None:
    graph = Graph()
    checkpoint = loader(graph)
    with pytest.raises(TypeError, match=r"CLIPTextEncode\.clip wants CLIP, not MODEL"):
        graph.add("CLIPTextEncode", "Prompt", text="a fox", clip=checkpoint[0])


@pytest.mark.parametrize(
    ("text", "clip"), [(3, None), (True, None), ("a fox", "a.safetensors"), (None, None)]
)
def test_a_value_of_a_wrong_kind_is_refused(text: Any, clip: Any) -> None:
    graph = Graph()
    with pytest.raises(TypeError, match="wants"):
        graph.add("CLIPTextEncode", "Prompt", text=text, clip=clip or loader(graph)[1])


def test_a_yes_is_no_number() -> None:
    with pytest.raises(TypeError, match="wants INT"):
        Graph().add("EmptyLatentImage", "Empty", width=True, height=8, batch_size=1)


def test_unknown_and_missing_names_are_refused() -> None:
    graph = Graph()
    with pytest.raises(ValueError, match="needs clip"):
        graph.add("CLIPTextEncode", "Prompt", text="a fox")
    with pytest.raises(ValueError, match="no input texts"):
        graph.add("CLIPTextEncode", "Prompt", texts="a fox")
    with pytest.raises(ValueError, match="Nowhere"):
        graph.add("Nowhere", "Prompt")
    with pytest.raises(ValueError, match="no input seed"):
        loader(graph).place("seed")


def test_what_a_fragment_takes_is_listed_and_left_out_of_the_graph() -> None:
    graph = Graph()
    graph.add("VAEDecode", "Decode", samples=graph.take("samples"), vae=graph.take("vae"))
    assert graph.takes() == {"vae": ("1.vae",), "samples": ("1.samples",)}
    assert graph.to_api()["1"]["inputs"] == {}


@pytest.mark.parametrize("node_class", NODE_TYPES)
def test_the_table_of_nodes_agrees_with_a_real_server(
    node_class: str, recorded: dict[str, Any], server: ServerFacts
) -> None:
    known, entry = NODE_TYPES[node_class], recorded[node_class]
    assert list(known.outputs) == entry["output"]
    required = set(entry["input"].get("required", {}))
    assert required == set(known.inputs) - known.optional
    for name, kind in known.inputs.items():
        found = server.input(node_class, name)
        assert found is not None
        assert kind == ("COMBO" if isinstance(found[0], list) else found[0])


@pytest.mark.parametrize(("node_class", "name"), MODEL_FOLDERS)
def test_inputs_that_name_model_files_list_them(
    node_class: str, name: str, server: ServerFacts
) -> None:
    assert all("." in file or file == "pixel_space" for file in server.choices(node_class, name))
