"""What Kizy relies on in ComfyUI: how it refuses graphs."""

from __future__ import annotations

from typing import Any

import requests

from tests.fakes.comfyui_graphs import (
    new_id,
    new_picture_graph,
    node,
)
from tests.fakes.comfyui_raw import WAIT, history, post


def refusal(url: str, graph: dict[str, Any]) -> dict[str, Any]:
    answer = post(url, graph, new_id())
    assert answer.status_code == 400
    return answer.json()


def test_a_missing_node_class_is_refused(url: str) -> None:
    answer = refusal(url, {**new_picture_graph(), "9": node("NoSuchNode")})
    # Newer versions have a type of its own for it.
    assert answer["error"]["type"] in ("invalid_prompt", "missing_node_type")
    assert "NoSuchNode" in answer["error"]["message"]
    # 0.3.64 gives a list here.
    assert not answer["node_errors"]


def test_a_missing_model_is_refused(url: str) -> None:
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="no-such-model.safetensors"),
        "2": node("VAEEncode", pixels=["3", 0], vae=["1", 2]),
        "3": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        "4": node("VAEDecode", samples=["2", 0], vae=["1", 2]),
        "5": node("SaveImage", images=["4", 0], filename_prefix="Kizy/none"),
    }
    answer = refusal(url, graph)
    assert answer["error"]["type"] == "prompt_outputs_failed_validation"
    (error,) = answer["node_errors"]["1"]["errors"]
    assert answer["node_errors"]["1"]["class_type"] == "CheckpointLoaderSimple"
    assert error["type"] == "value_not_in_list"
    assert error["extra_info"]["input_name"] == "ckpt_name"
    assert error["extra_info"]["received_value"] == "no-such-model.safetensors"
    assert sorted(answer["node_errors"]) == ["1"]


def test_a_picture_that_was_not_sent_is_refused(url: str) -> None:
    graph = {**new_picture_graph(), "1": node("LoadImage", image="kizy/none.png")}
    answer = refusal(url, graph)
    (error,) = answer["node_errors"]["1"]["errors"]
    assert error["type"] == "custom_validation_failed"
    assert "Invalid image file: kizy/none.png" in error["details"]


def test_an_input_that_is_not_there_is_refused(url: str) -> None:
    graph = {**new_picture_graph(), "1": node("EmptyImage", width=64, height=64, color=0)}
    (error,) = refusal(url, graph)["node_errors"]["1"]["errors"]
    assert (error["type"], error["details"]) == ("required_input_missing", "batch_size")


def test_a_value_out_of_range_is_refused(url: str) -> None:
    graph = {
        **new_picture_graph(),
        "1": node("EmptyImage", width=0, height=64, batch_size=1, color=0),
    }
    (error,) = refusal(url, graph)["node_errors"]["1"]["errors"]
    assert error["type"] == "value_smaller_than_min"


def test_a_link_of_another_kind_is_refused(url: str) -> None:
    graph = {
        **new_picture_graph(),
        "3": node("VAEDecode", samples=["1", 0], vae=["1", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
        "2": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    errors = refusal(url, graph)["node_errors"]["3"]["errors"]
    assert {error["type"] for error in errors} == {"return_type_mismatch"}


def test_a_graph_without_output_is_refused(url: str) -> None:
    answer = refusal(url, {"1": new_picture_graph()["1"]})
    assert answer["error"]["type"] == "prompt_no_outputs"


def test_a_graph_of_which_a_part_is_right_is_queued_with_errors(url: str) -> None:
    prompt_id = new_id()
    graph = {
        **new_picture_graph(),
        "3": node("LoadImage", image="kizy/none.png"),
        "4": node("SaveImage", images=["3", 0], filename_prefix="Kizy/none"),
    }
    answer = post(url, graph, prompt_id)
    assert answer.status_code == 200
    assert sorted(answer.json()["node_errors"]) == ["3"]
    assert sorted(history(url, prompt_id)["outputs"]) == ["2"]


def test_no_graph_is_refused(url: str) -> None:
    answer = requests.post(f"{url}/prompt", json={}, timeout=WAIT)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "no_prompt"
