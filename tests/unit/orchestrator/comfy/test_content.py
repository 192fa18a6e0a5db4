"""What a graph loads on a server, told by size and time."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.content import CONTENT_INPUT, loaded, marked
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.model_files import FileStamp, stamps
from kizy.orchestrator.backends.comfyui.workflows.compile import Compiled

from tests.fakes.comfyui import FakeComfyUI

GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "2": {
        "class_type": "LoraLoader",
        "inputs": {"model": ["1", 0], "clip": ["1", 1], "lora_name": "b.safetensors"},
    },
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["2", 1]}},
}
OLD, NEW = FileStamp(10, 1.0, 1.0), FileStamp(10, 2.0, 2.0)


def with_files(checkpoint: FileStamp | None, lora: FileStamp | None) -> dict[str, dict[str, Any]]:
    listed = {
        "checkpoints": {"a.safetensors": checkpoint} if checkpoint else {},
        "loras": {"b.safetensors": lora} if lora else None,
    }
    return marked(Compiled(GRAPH, ("3",), (), {}, "t"), listed.get).graph  # type: ignore[arg-type]


def test_what_a_graph_loads() -> None:
    assert list(loaded(GRAPH)) == [
        ("1", "checkpoints", "a.safetensors"),
        ("2", "loras", "b.safetensors"),
    ]


def test_a_replaced_file_changes_what_the_cache_keys_on_and_nothing_else() -> None:
    before, after = with_files(OLD, OLD), with_files(NEW, OLD)
    assert before == with_files(OLD, OLD)
    changed = {node for node in before if before[node] != after[node]}
    assert changed == {"1"}
    assert before["1"]["inputs"][CONTENT_INPUT] != after["1"]["inputs"][CONTENT_INPUT]


def test_a_replaced_lora_gets_another_node_and_all_links_go_there() -> None:
    before, after = with_files(OLD, OLD), with_files(OLD, NEW)
    (old,) = (node for node in before if node.startswith("2-"))
    (new,) = (node for node in after if node.startswith("2-"))
    assert old != new and before["3"]["inputs"]["clip"] == [old, 1]
    assert after["3"]["inputs"]["clip"] == [new, 1] and after[new]["inputs"]["model"] == ["1", 0]


def test_what_a_server_does_not_tell_is_not_marked() -> None:
    assert with_files(None, None) == GRAPH


def test_the_first_place_of_a_name_counts_and_what_is_no_file_is_passed_over() -> None:
    told = [
        {"name": "a", "pathIndex": 1, "size": 2, "modified": 2.0, "created": 2.0},
        {"name": "a", "pathIndex": 0, "size": 1, "modified": 1.5, "created": 1.0},
        {"name": "b", "pathIndex": 0, "size": "much", "modified": 1.0, "created": 1.0},
        {"size": 1},
        "c",
    ]
    assert stamps(told) == {"a": FileStamp(1, 1.5, 1.0)}
    with pytest.raises(EngineError):
        stamps({"error": "no"})


def test_a_server_tells_its_files_or_that_it_does_not(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.models["loras"] = ["nadia.safetensors"]
    usual = client.model_files("loras")
    fake.replace_file("loras", "nadia.safetensors")
    now = client.model_files("loras")
    assert usual is not None and now is not None and usual.keys() == now.keys()
    assert usual["nadia.safetensors"] != now["nadia.safetensors"]
    fake.faults.no_model_files = True
    assert client.model_files("loras") is None
