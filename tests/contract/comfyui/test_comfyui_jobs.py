"""What Kizy relies on in ComfyUI: graphs that are taken, messages, and the history."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import requests
from PIL import Image

from tests.fakes.comfyui_graphs import (
    new_id,
    new_picture_graph,
    node,
    picture_graph,
)
from tests.fakes.comfyui_raw import WAIT, Socket, get, history, post


def test_a_graph_is_taken_under_our_id(url: str) -> None:
    prompt_id = new_id()
    answer = post(url, new_picture_graph(), prompt_id)
    assert answer.status_code == 200
    assert answer.json()["prompt_id"] == prompt_id
    assert answer.json()["node_errors"] == {}
    assert history(url, prompt_id)["status"]["status_str"] == "success"


def test_the_history_names_the_files_and_view_gives_them(url: str) -> None:
    prompt_id = new_id()
    post(url, picture_graph(0x102030), prompt_id)
    (file,) = history(url, prompt_id)["outputs"]["2"]["images"]
    assert file["type"] == "output"
    assert file["subfolder"] == "Kizy"
    answer = requests.get(f"{url}/view", params=file, timeout=WAIT)
    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.size == (64, 48)
        assert picture.convert("RGB").getpixel((0, 0)) == (0x10, 0x20, 0x30)


def test_an_unknown_job_has_no_history(url: str) -> None:
    assert get(url, f"/history/{new_id()}") == {}


def test_messages_come_in_order_and_the_last_after_the_history(
    url: str, open_socket: Callable[[str], Socket]
) -> None:
    prompt_id = new_id()
    socket = open_socket(prompt_id)
    post(url, new_picture_graph(), prompt_id)
    messages = socket.until_over(prompt_id)
    # Trap 1: only this last message says that the history is there.
    assert get(url, f"/history/{prompt_id}") != {}
    kinds = [m["type"] for m in messages if m["type"] != "progress_state"]
    assert kinds == [
        "execution_start",
        "execution_cached",
        "executing",
        "executing",
        "executed",
        "execution_success",
        "executing",
    ]
    assert [m["data"]["node"] for m in messages if m["type"] == "executing"] == ["1", "2", None]


def test_the_progress_state_holds_only_nodes_that_have_begun(
    url: str, open_socket: Callable[[str], Socket]
) -> None:
    prompt_id = new_id()
    socket = open_socket(prompt_id)
    post(url, new_picture_graph(), prompt_id)
    states = [
        m["data"]["nodes"] for m in socket.until_over(prompt_id) if m["type"] == ("progress_state")
    ]
    assert [sorted(nodes) for nodes in states] == [["1"], ["1"], ["1", "2"], ["1", "2"]]
    assert [nodes[max(nodes)]["state"] for nodes in states] == ["running", "finished"] * 2


def test_in_a_cached_run_only_output_nodes_are_told_of(
    url: str, open_socket: Callable[[str], Socket]
) -> None:
    graph, first, second = new_picture_graph(), new_id(), new_id()
    post(url, graph, first)
    files = history(url, first)["outputs"]["2"]
    socket = open_socket(second)
    post(url, graph, second)
    messages = socket.until_over(second)
    cached = next(m["data"]["nodes"] for m in messages if m["type"] == "execution_cached")
    assert sorted(cached) == ["1", "2"]
    assert [m["data"]["node"] for m in messages if m["type"] == "executed"] == ["2"]
    assert [m["data"]["node"] for m in messages if m["type"] == "executing"] == [None]
    # Trap 7: the history has them all.
    assert history(url, second)["outputs"]["2"] == files


def test_a_socket_is_greeted_with_the_length_of_the_queue(
    open_socket: Callable[[str], Socket],
) -> None:
    client_id = new_id()
    socket = open_socket(client_id)
    hello = socket.next()
    assert hello["type"] == "status"
    assert hello["data"]["sid"] == client_id
    assert isinstance(hello["data"]["status"]["exec_info"]["queue_remaining"], int)
    assert socket.next()["type"] == "feature_flags"


def test_texts_are_in_the_history(url: str) -> None:
    prompt_id = new_id()
    graph = {
        "1": node("PrimitiveString", value="hello"),
        "2": node("PreviewAny", source=["1", 0]),
    }
    assert post(url, graph, prompt_id).status_code == 200
    assert history(url, prompt_id)["outputs"]["2"]["text"] == ["hello"]


def test_previews_of_pictures_are_temporary_files(url: str) -> None:
    prompt_id = new_id()
    graph = {**new_picture_graph(), "2": node("PreviewImage", images=["1", 0])}
    post(url, graph, prompt_id)
    (file,) = history(url, prompt_id)["outputs"]["2"]["images"]
    assert file["type"] == "temp"
    assert requests.get(f"{url}/view", params=file, timeout=WAIT).status_code == 200
