"""What Kizy relies on in ComfyUI. Run against the fake, and against a real one if there is one.

KIZY_TEST_COMFYUI names ComfyUI's folder, KIZY_TEST_COMFYUI_PYTHON its interpreter. The graphs need
no model.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from kizy.core.errors import CancelledError, EngineError
from kizy.orchestrator.engines.comfy.address import Address
from kizy.orchestrator.engines.comfy.client import ComfyClient
from kizy.orchestrator.engines.comfy.events import Done, Vanished
from PIL import Image

from tests.fakes import real_comfyui
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_graphs import Compiled, new_id, node, picture_graph, slow_graph
from tests.fakes.comfyui_raw import WAIT, Socket, get, history, ids, post, wait_for


def _pause(node_class: str, _inputs: object) -> float:
    """On the fake, the graph that is to be slow takes its time; on a real one it does so itself."""
    return 0.01 if node_class == "ImageScale" else 0.0


@pytest.fixture(scope="module", params=["fake", "real"] if real_comfyui.AVAILABLE else ["fake"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "real":
        with real_comfyui.real_comfyui(tmp_path_factory.mktemp("comfyui")) as address:
            yield address
    else:
        with FakeComfyUI(cost=_pause) as fake:
            yield fake.url


@pytest.fixture
def client(url: str) -> Iterator[ComfyClient]:
    client = ComfyClient(Address("the server", url))
    yield client
    client.close()


@pytest.fixture
def open_socket(url: str) -> Iterator[Callable[[str], Socket]]:
    sockets: list[Socket] = []

    def open_one(client_id: str) -> Socket:
        sockets.append(Socket(url, client_id))
        return sockets[-1]

    yield open_one
    for socket in sockets:
        socket.close()


def slow(count: int = 60) -> tuple[dict[str, Any], str]:
    """A slow graph that was never run before, and a prompt id."""
    graph = slow_graph(count)
    graph["0"]["inputs"]["color"] = time.time_ns() % 0xFFFFFF
    return graph, new_id()


def fresh() -> dict[str, Any]:
    return picture_graph(time.time_ns() % 0xFFFFFF)


# Jobs


def test_a_graph_is_taken_under_our_id(url: str) -> None:
    prompt_id = new_id()
    answer = post(url, fresh(), prompt_id)
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
    post(url, fresh(), prompt_id)
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
    post(url, fresh(), prompt_id)
    states = [
        m["data"]["nodes"] for m in socket.until_over(prompt_id) if m["type"] == ("progress_state")
    ]
    assert [sorted(nodes) for nodes in states] == [["1"], ["1"], ["1", "2"], ["1", "2"]]
    assert [nodes[max(nodes)]["state"] for nodes in states] == ["running", "finished"] * 2


def test_in_a_cached_run_only_output_nodes_are_told_of(
    url: str, open_socket: Callable[[str], Socket]
) -> None:
    graph, first, second = fresh(), new_id(), new_id()
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
    graph = {**fresh(), "2": node("PreviewImage", images=["1", 0])}
    post(url, graph, prompt_id)
    (file,) = history(url, prompt_id)["outputs"]["2"]["images"]
    assert file["type"] == "temp"
    assert requests.get(f"{url}/view", params=file, timeout=WAIT).status_code == 200


# Graphs that are refused


def refusal(url: str, graph: dict[str, Any]) -> dict[str, Any]:
    answer = post(url, graph, new_id())
    assert answer.status_code == 400
    return answer.json()


def test_a_missing_node_class_is_refused(url: str) -> None:
    answer = refusal(url, {**fresh(), "9": node("NoSuchNode")})
    assert answer["error"]["type"] == "invalid_prompt"
    assert "NoSuchNode does not exist" in answer["error"]["message"]
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
    graph = {**fresh(), "1": node("LoadImage", image="kizy/none.png")}
    answer = refusal(url, graph)
    (error,) = answer["node_errors"]["1"]["errors"]
    assert error["type"] == "custom_validation_failed"
    assert "Invalid image file: kizy/none.png" in error["details"]


def test_an_input_that_is_not_there_is_refused(url: str) -> None:
    graph = {**fresh(), "1": node("EmptyImage", width=64, height=64, color=0)}
    (error,) = refusal(url, graph)["node_errors"]["1"]["errors"]
    assert (error["type"], error["details"]) == ("required_input_missing", "batch_size")


def test_a_value_out_of_range_is_refused(url: str) -> None:
    graph = {**fresh(), "1": node("EmptyImage", width=0, height=64, batch_size=1, color=0)}
    (error,) = refusal(url, graph)["node_errors"]["1"]["errors"]
    assert error["type"] == "value_smaller_than_min"


def test_a_link_of_another_kind_is_refused(url: str) -> None:
    graph = {
        **fresh(),
        "3": node("VAEDecode", samples=["1", 0], vae=["1", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
        "2": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    errors = refusal(url, graph)["node_errors"]["3"]["errors"]
    assert {error["type"] for error in errors} == {"return_type_mismatch"}


def test_a_graph_without_output_is_refused(url: str) -> None:
    answer = refusal(url, {"1": fresh()["1"]})
    assert answer["error"]["type"] == "prompt_no_outputs"


def test_a_graph_of_which_a_part_is_right_is_queued_with_errors(url: str) -> None:
    prompt_id = new_id()
    graph = {
        **fresh(),
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


# Stopping


def test_a_running_job_is_interrupted_and_the_next_one_is_not(url: str) -> None:
    graph, mine = slow()
    other = new_id()
    post(url, graph, mine)
    post(url, fresh(), other)
    wait_for(lambda: ids(url)[0] == [mine])
    assert ids(url)[1] == [other]

    def stopped() -> Any:
        # Again and again: trap 11.
        requests.post(f"{url}/interrupt", json={"prompt_id": mine}, timeout=WAIT)
        return get(url, f"/history/{mine}")

    status = wait_for(stopped)[mine]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1][0] == "execution_interrupted"
    assert history(url, other)["status"]["status_str"] == "success"


def test_an_interrupt_with_the_id_of_a_job_that_waits_stops_nothing(url: str) -> None:
    graph, mine = slow(40)
    other = new_id()
    post(url, graph, mine)
    post(url, fresh(), other)
    requests.post(f"{url}/interrupt", json={"prompt_id": other}, timeout=WAIT)
    assert history(url, mine)["status"]["status_str"] == "success"
    assert history(url, other)["status"]["status_str"] == "success"


def test_a_job_that_is_deleted_from_the_queue_leaves_no_trace(url: str) -> None:
    graph, first = slow(40)
    mine, other = new_id(), new_id()
    for prompt_id, each in ((first, graph), (mine, fresh()), (other, fresh())):
        post(url, each, prompt_id)
    requests.post(f"{url}/queue", json={"delete": [mine]}, timeout=WAIT)
    assert mine not in ids(url)[1]
    assert history(url, other)["status"]["status_str"] == "success"
    assert get(url, f"/history/{mine}") == {}


def test_old_servers_answer_the_new_cancel_route_with_an_error(url: str) -> None:
    answer = requests.post(f"{url}/api/jobs/{new_id()}/cancel", json={}, timeout=WAIT)
    assert answer.status_code in (200, 404, 405)
    if answer.status_code == 200:
        assert answer.json() == {"cancelled": False}


def test_the_order_of_the_queue_is_that_of_its_numbers(url: str) -> None:
    graph, first = slow(40)
    post(url, graph, first)
    waiting = [new_id() for _ in range(4)]
    for prompt_id in waiting:
        post(url, fresh(), prompt_id)
    queue = get(url, "/queue")["queue_pending"]
    assert [item[1] for item in sorted(queue, key=lambda item: item[0])] == waiting
    assert {item[3]["client_id"] for item in queue} == set(waiting)
    history(url, waiting[-1])


# Files and facts


def upload(url: str, name: str, content: bytes, **fields: str) -> dict[str, Any]:
    answer = requests.post(
        f"{url}/upload/image",
        files={"image": (name, content)},
        data={"type": "input", "subfolder": "kizy", **fields},
        timeout=WAIT,
    )
    answer.raise_for_status()
    return answer.json()


def png(color: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (color, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_same_picture_under_the_same_name_is_stored_once(url: str) -> None:
    name = f"{new_id()}.png"
    stored = {"name": name, "subfolder": "kizy", "type": "input"}
    assert upload(url, name, png(1)) == stored
    assert upload(url, name, png(1)) == stored
    assert upload(url, name, png(2))["name"] == f"{name[:-4]} (1).png"
    assert upload(url, name, png(3), overwrite="true") == stored
    place = {"filename": name, "subfolder": "kizy", "type": "input"}
    head = requests.head(f"{url}/view", params=place, timeout=WAIT)
    assert head.headers["Content-Length"] == str(len(png(3)))


def test_an_uploaded_picture_is_loaded_by_its_name(url: str) -> None:
    prompt_id, name = new_id(), f"{new_id()}.png"
    upload(url, name, png(200))
    post(url, {**fresh(), "1": node("LoadImage", image=f"kizy/{name}")}, prompt_id)
    (file,) = history(url, prompt_id)["outputs"]["2"]["images"]
    answer = requests.get(f"{url}/view", params=file, timeout=WAIT)
    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.size == (8, 8)
        assert picture.convert("RGB").getpixel((0, 0)) == (200, 0, 0)


def test_files_outside_the_folders_are_not_given(url: str) -> None:
    for place in ({"filename": "../main.py"}, {"filename": "main.py", "subfolder": "../.."}):
        answer = requests.get(f"{url}/view", params=place, timeout=WAIT)
        assert answer.status_code in (400, 403)


def test_a_file_that_is_not_there_is_404(url: str) -> None:
    answer = requests.get(f"{url}/view", params={"filename": "none.png"}, timeout=WAIT)
    assert answer.status_code == 404


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_facts_have_their_routes(url: str, prefix: str) -> None:
    stats = get(url, f"{prefix}/system_stats")
    assert stats["system"]["comfyui_version"]
    assert stats["devices"][0]["vram_total"] > 0
    assert get(url, f"{prefix}/features")["supports_preview_metadata"] is True
    assert isinstance(get(url, f"{prefix}/workflow_templates"), dict)
    assert isinstance(get(url, f"{prefix}/models"), list)
    info = get(url, f"{prefix}/object_info/SaveImage")
    assert info["SaveImage"]["output_node"] is True
    assert get(url, f"{prefix}/object_info/NoSuchNode") == {}


def test_all_nodes_are_in_object_info(url: str) -> None:
    info = get(url, "/object_info")
    assert info["EmptyImage"]["output"] == ["IMAGE"]
    assert info["EmptyImage"]["input"]["required"]["width"][1]["min"] == 1
    assert isinstance(info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0], list)


def test_memory_can_be_given_back(url: str) -> None:
    body = {"unload_models": True, "free_memory": True}
    assert requests.post(f"{url}/free", json=body, timeout=WAIT).status_code == 200


# The client on top


def test_the_client_draws_and_fetches(client: ComfyClient, tmp_path: Path) -> None:
    prompt_id, compiled = new_id(), Compiled(picture_graph(time.time_ns() % 0xFFFFFF), ("2",))
    client.submit(compiled.graph, prompt_id)
    *events, done = client.follow(prompt_id, compiled)
    assert isinstance(done, Done)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    target = tmp_path / "picture.png"
    client.download(done.outputs[0], target)
    with Image.open(target) as picture:
        assert picture.size == (64, 48)
    assert client.state(prompt_id) == "done"


def test_the_client_stops_its_own_running_job_alone(client: ComfyClient, url: str) -> None:
    graph, mine = slow()
    other = new_id()
    client.submit(graph, mine)
    client.submit(fresh(), other)
    events = client.follow(mine, Compiled(graph, ("save",)))
    wait_for(lambda: ids(url)[0] == [mine])
    next(events)
    client.cancel(mine)
    with pytest.raises(CancelledError):
        list(events)
    assert history(url, other)["status"]["status_str"] == "success"


def test_the_client_stops_its_own_waiting_job_alone(client: ComfyClient, url: str) -> None:
    graph, first = slow(40)
    mine = new_id()
    post(url, graph, first)
    compiled = Compiled(fresh(), ("2",))
    client.submit(compiled.graph, mine)
    client.cancel(mine)
    with pytest.raises(CancelledError):
        list(client.follow(mine, compiled))
    assert history(url, first)["status"]["status_str"] == "success"
    assert get(url, f"/history/{mine}") == {}


def test_the_client_sees_that_somebody_cleared_the_queue(client: ComfyClient, url: str) -> None:
    graph, first = slow(40)
    mine, compiled = new_id(), Compiled(fresh(), ("2",))
    post(url, graph, first)
    client.submit(compiled.graph, mine)
    requests.post(f"{url}/queue", json={"clear": True}, timeout=WAIT)
    with pytest.raises(Vanished):
        list(client.follow(mine, compiled))
    history(url, first)


def test_the_client_says_what_is_missing(client: ComfyClient) -> None:
    with pytest.raises(EngineError) as caught:
        client.submit({**fresh(), "9": node("NoSuchNode")}, new_id())
    assert caught.value.code == "server_node_missing"
    assert "NoSuchNode" in caught.value.message


def test_the_client_uploads_once(client: ComfyClient, tmp_path: Path) -> None:
    picture = tmp_path / "start.png"
    picture.write_bytes(png(77))
    name = f"kizy/{new_id()}.png"
    assert client.upload(picture, name) == name
    assert client.upload(picture, name) == name
    prompt_id = new_id()
    compiled = Compiled({**fresh(), "1": node("LoadImage", image=name)}, ("2",))
    client.submit(compiled.graph, prompt_id)
    assert isinstance(list(client.follow(prompt_id, compiled))[-1], Done)


def test_a_job_of_an_earlier_process_can_be_followed(client: ComfyClient, url: str) -> None:
    graph, prompt_id = slow(40)
    client.submit(graph, prompt_id)
    client.close()
    later = ComfyClient(Address("the server", url))
    with contextlib.closing(later):
        later.submit(graph, prompt_id, resume=True)
        events = list(later.follow(prompt_id, Compiled(graph, ("save",))))
    assert isinstance(events[-1], Done)
