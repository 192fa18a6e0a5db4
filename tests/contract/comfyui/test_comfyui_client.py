"""Kizy's client against the fake, and against a real ComfyUI if there is one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
import requests
from kizy.core.comfyui_address import Address
from kizy.core.errors import CancelledError, EngineError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done, Progress, Vanished
from PIL import Image

from tests.fakes.comfyui_graphs import (
    Compiled,
    new_id,
    new_picture_graph,
    new_slow_graph,
    node,
    picture_graph,
    plain_png,
)
from tests.fakes.comfyui_raw import WAIT, get, history, ids, post, wait_for


def test_the_client_draws_and_fetches(client: ComfyClient, tmp_path: Path) -> None:
    prompt_id, compiled = new_id(), Compiled(picture_graph(time.time_ns() % 0xFFFFFF), ("2",))
    client.submit(compiled.graph, prompt_id)
    *events, done = client.follow(prompt_id, compiled)
    assert isinstance(done, Done)
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    target = tmp_path / "picture.png"
    client.download(done.outputs[0], target)
    with Image.open(target) as picture:
        assert picture.size == (64, 48)
    assert client.state(prompt_id) == "done"


def test_the_client_stops_its_own_running_job_alone(client: ComfyClient, url: str) -> None:
    graph, mine = new_slow_graph()
    other = new_id()
    client.submit(graph, mine)
    client.submit(new_picture_graph(), other)
    events = client.follow(mine, Compiled(graph, ("save",)))
    wait_for(lambda: ids(url)[0] == [mine])
    next(events)
    client.cancel(mine)
    with pytest.raises(CancelledError):
        list(events)
    assert history(url, other)["status"]["status_str"] == "success"


def test_the_client_stops_its_own_waiting_job_alone(client: ComfyClient, url: str) -> None:
    graph, first = new_slow_graph(40)
    mine = new_id()
    post(url, graph, first)
    compiled = Compiled(new_picture_graph(), ("2",))
    client.submit(compiled.graph, mine)
    client.cancel(mine)
    with pytest.raises(CancelledError):
        list(client.follow(mine, compiled))
    assert history(url, first)["status"]["status_str"] == "success"
    assert get(url, f"/history/{mine}") == {}


def test_the_client_sees_that_somebody_cleared_the_queue(client: ComfyClient, url: str) -> None:
    graph, first = new_slow_graph(40)
    mine, compiled = new_id(), Compiled(new_picture_graph(), ("2",))
    post(url, graph, first)
    client.submit(compiled.graph, mine)
    requests.post(f"{url}/queue", json={"clear": True}, timeout=WAIT)
    with pytest.raises(Vanished):
        list(client.follow(mine, compiled))
    history(url, first)


def test_the_client_says_what_is_missing(client: ComfyClient) -> None:
    with pytest.raises(EngineError) as caught:
        client.submit({**new_picture_graph(), "9": node("NoSuchNode")}, new_id())
    assert caught.value.code == "server_node_missing"
    assert "NoSuchNode" in caught.value.message


def test_the_client_uploads_once(client: ComfyClient, tmp_path: Path) -> None:
    picture = tmp_path / "start.png"
    picture.write_bytes(plain_png(77))
    name = f"kizy/{new_id()}.png"
    assert client.upload(picture, name) == name
    assert client.upload(picture, name) == name
    prompt_id = new_id()
    compiled = Compiled({**new_picture_graph(), "1": node("LoadImage", image=name)}, ("2",))
    client.submit(compiled.graph, prompt_id)
    assert isinstance(list(client.follow(prompt_id, compiled))[-1], Done)


def test_a_job_of_an_earlier_process_can_be_followed(client: ComfyClient, url: str) -> None:
    graph, prompt_id = new_slow_graph(40)
    client.submit(graph, prompt_id)
    client.close()
    later = ComfyClient(Address("the server", url))
    with contextlib.closing(later):
        later.submit(graph, prompt_id, resume=True)
        events = list(later.follow(prompt_id, Compiled(graph, ("save",))))
    assert isinstance(events[-1], Done)
