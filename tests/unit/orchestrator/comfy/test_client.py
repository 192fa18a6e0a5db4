"""Sending graphs, and what a server tells of itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import done_of, draw_outputs, refusal_of
from tests.fakes.comfyui_graphs import (
    Compiled,
    drawing_graph,
    new_id,
    node,
    picture,
    picture_graph,
)

Connect = Callable[..., ComfyClient]


# The server


def test_a_server_tells_its_version_and_devices(client: ComfyClient) -> None:
    stats = client.stats()
    assert stats.version == "0.3.64"
    (device,) = stats.devices
    assert (device.name, device.total, device.free) == ("cuda:0 Fake", 24 * 10**9, 20 * 10**9)


def test_the_queue_is_told_in_its_order(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.pace.hold("node")
    ids = [new_id() for _ in range(4)]
    for number, prompt_id in enumerate(ids):
        client.submit(picture_graph(number), prompt_id)
        if number == 0:
            fake.pace.wait()
    queue = client.queue()
    assert (queue.running, queue.pending) == ((ids[0],), tuple(ids[1:]))
    fake.pace.release()


def test_memory_is_given_back(fake: FakeComfyUI, client: ComfyClient) -> None:
    client.free()
    assert "POST /free" in fake.requests


# Sending


def test_a_job_has_our_id_and_a_client_id(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.pace.hold("node")
    prompt_id = new_id()
    client.submit(picture_graph(), prompt_id)
    fake.pace.wait()
    assert fake.at_work() == [prompt_id]
    # Trap 8: never without a client id.
    assert prompt_id in fake.client_ids()
    fake.pace.release()


def test_a_newer_server_takes_our_ids() -> None:
    with FakeComfyUI(newer=True) as fake:
        client = ComfyClient(Address("studio", fake.url))
        assert draw_outputs(client, picture()).outputs
        client.close()


def test_a_server_that_gives_ids_of_its_own_is_too_old(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.own_prompt_ids = True
    fake.pace.hold("node")
    assert refusal_of(lambda: client.submit(picture_graph(), new_id())).code == "server_too_old"
    fake.pace.release()
    assert fake.pending() == []


def test_a_graph_that_is_right_in_part_is_refused_and_not_drawn(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.pace.hold("node")
    graph = {
        **picture_graph(),
        "3": node("LoadImage", image="kizy/none.png"),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    prompt_id = new_id()
    error = refusal_of(lambda: client.submit(graph, prompt_id))
    assert "kizy/none.png" in error.message
    assert fake.pending() == []
    assert fake.at_work() == []
    assert fake.ran(prompt_id) == 0


def test_a_missing_model_is_told_with_what_is_there(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.models["checkpoints"] = [f"model-{n}.safetensors" for n in range(30)]
    client.facts()
    graph = drawing_graph(checkpoint="model-x7.safetensors")
    error = refusal_of(lambda: client.submit(graph, new_id()))
    assert error.code == "server_model_missing"
    # The answer itself does not hold a list as long as this one.
    assert 'Did you mean "model-7.safetensors"?' in error.message
    assert error.raw is not None
    assert "value_not_in_list" in error.raw


def test_a_graph_is_sent_once_though_the_answer_was_lost(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.lose_prompt_answers = 1
    prompt_id = new_id()
    client.submit(picture_graph(), prompt_id)
    assert done_of(client, prompt_id, picture()).outputs
    assert fake.requests.count("POST /prompt") == 1
    assert fake.ran(prompt_id) == 1


def test_a_graph_that_was_lost_on_its_way_is_sent_again(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.lose_prompts = 1
    assert draw_outputs(client, picture()).outputs
    assert fake.requests.count("POST /prompt") == 2


def test_a_graph_is_not_sent_again_when_the_server_only_is_slow(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect(read=0.05, connect=0.05)
    fake.faults.mute = True
    assert refusal_of(lambda: client.submit(picture_graph(), new_id())).code == (
        "server_unreachable"
    )
    assert fake.requests.count("POST /prompt") == 1


@pytest.mark.parametrize("where", ["waiting", "running", "over"])
def test_resuming_sends_nothing_that_the_server_knows(
    fake: FakeComfyUI, connect: Connect, where: str
) -> None:
    if where != "over":
        fake.pace.hold("node")
    if where == "waiting":
        fake.add_foreign_job()
        fake.pace.wait()
    prompt_id = new_id()
    first = connect()
    first.submit(picture_graph(), prompt_id)
    if where == "over":
        done_of(first, prompt_id, picture())
    first.close()
    later = connect()
    later.submit(picture_graph(), prompt_id, resume=True)
    fake.pace.release()
    assert done_of(later, prompt_id, picture()).outputs
    assert fake.requests.count("POST /prompt") == 1


def test_resuming_sends_what_the_server_does_not_know(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    prompt_id = new_id()
    client.submit(picture_graph(), prompt_id, resume=True)
    assert done_of(client, prompt_id, picture()).outputs


def test_the_state_of_a_job(fake: FakeComfyUI, client: ComfyClient) -> None:
    first, second = new_id(), new_id()
    assert client.state(first) == "unknown"
    fake.pace.hold("node")
    client.submit(picture_graph(1), first)
    fake.pace.wait()
    client.submit(picture_graph(2), second)
    assert (client.state(first), client.state(second)) == ("running", "pending")
    fake.pace.release()
    done_of(client, second, picture(2))
    assert client.state(first) == "done"
    fake.faults.out_of_memory("EmptyImage")
    third = new_id()
    client.submit(picture_graph(3), third)
    with pytest.raises(EngineError):
        list(client.follow(third, picture(3)))
    assert client.state(third) == "failed"


def test_many_threads_may_use_one_client(fake: FakeComfyUI, client: ComfyClient) -> None:
    results: list[Done] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(draw_outputs(client, picture(n))))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({done.outputs for done in results}) == 12


def test_the_graph_is_sent_as_it_is(fake: FakeComfyUI, client: ComfyClient) -> None:
    graph = picture_graph()
    before = json.dumps(graph)
    draw_outputs(client, Compiled(graph, ("2",)))
    assert json.dumps(graph) == before
