"""The traps of ComfyUI's API that have bitten other drivers; each has a test."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import CancelledError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done, Vanished
from kizy.orchestrator.backends.comfyui.run.backend import ComfyEngine
from kizy.orchestrator.backends.comfyui.run.pool import Pool
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import (
    begin,
    codes,
    draw,
    failure_of,
    step_until_a_preview,
    wait_until,
)
from tests.fakes.comfyui_graphs import (
    Compiled,
    drawing,
    drawing_graph,
    new_id,
    node,
    picture,
    picture_graph,
)
from tests.unit.orchestrator.comfy.builders import CHECKPOINT, end_of, plan_of

Connect = Callable[..., ComfyClient]
Follow = Callable[..., Any]


@pytest.mark.parametrize("reads", [1, 5])
def test_trap_1_the_history_comes_after_the_success_message(
    fake: FakeComfyUI, client: ComfyClient, reads: int
) -> None:
    fake.faults.history_late = reads
    assert isinstance(draw(client, picture())[-1], Done)


def test_trap_1_also_when_the_last_message_never_comes(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.history_late = 3
    fake.faults.missing_messages = {"executing"}
    assert isinstance(draw(client, picture())[-1], Done)


def test_trap_1_also_for_errors(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.faults.history_late = 3
    fake.faults.disk_full()
    assert failure_of(client, picture()).code == "server_disk_full"


def test_trap_2_a_blocked_branch_does_not_end_the_job(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    graph = {**picture_graph(), "3": node("PreviewImage", images=["1", 0])}
    fake.faults.block = {"PreviewImage"}
    events = draw(client, Compiled(graph, ("2",)))
    assert codes(events) == ["branch_not_run"]
    assert isinstance(events[-1], Done)


def test_trap_2_a_job_of_which_nothing_is_left_says_why(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.block = {"SaveImage"}
    error = failure_of(client, picture())
    assert error.code == "server_failed"
    assert "nothing to do here" in error.message


def test_trap_3_a_reconnection_that_is_evicted_is_made_again(
    fake: FakeComfyUI, connect: Connect, following: Follow
) -> None:
    client = connect(silence=5.0)
    fake.pace.hold("step")
    prompt_id = begin(client, drawing(steps=200))
    job = following(client.follow(prompt_id, drawing(steps=200)))
    fake.pace.wait()
    fake.faults.evict_reconnect = 1
    fake.drop_sockets()
    wait_until(lambda: fake.faults.evict_reconnect == 0)
    step_until_a_preview(fake, job)
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


def test_trap_3_the_end_is_heard_of_though_every_reconnection_is_evicted(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    fake.pace.wait()
    fake.faults.evict_reconnect = 10_000
    fake.drop_sockets()
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


def test_trap_4_a_job_that_ended_while_the_socket_was_down_is_found(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    fake.pace.wait()
    fake.faults.no_socket = True
    fake.drop_sockets()
    fake.pace.release()
    events = job.end()
    assert isinstance(events[-1], Done)


def test_trap_4_a_job_of_which_no_message_comes_is_found(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.missing_messages = {
        "status", "execution_start", "execution_cached", "executing", "progress_state",
        "executed", "execution_success",
    }  # fmt: skip
    assert isinstance(draw(client, picture())[-1], Done)


def test_trap_5_a_dead_worker_is_noticed_by_those_who_wait(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect(stuck_idle=0.1)
    fake.faults.dead_worker = "before"
    assert failure_of(client, picture()).code == "server_stuck"


def test_trap_5_a_worker_that_died_in_our_job_is_noticed(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect(stuck_running=0.1)
    fake.faults.dead_worker = "during"
    assert failure_of(client, picture()).code == "server_stuck"


def test_trap_5_a_worker_that_died_in_somebody_elses_job_is_noticed(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect(stuck_behind=0.1)
    fake.faults.dead_worker = "during"
    fake.add_foreign_job()
    wait_until(fake.at_work)
    assert failure_of(client, picture()).code == "server_stuck"


def test_trap_5_a_node_that_takes_long_is_no_death(
    fake: FakeComfyUI, connect: Connect, following: Follow
) -> None:
    client = connect(stuck_running=0.05, stuck_idle=0.05, stuck_node=30)
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    fake.pace.wait()
    before = fake.requests.count("GET /queue")
    wait_until(lambda: fake.requests.count("GET /queue") > before + 8)
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


@pytest.mark.parametrize("point", ["node", "step"])
def test_trap_6_a_restarted_server_knows_nothing_of_the_job(
    fake: FakeComfyUI, client: ComfyClient, following: Follow, point: Any
) -> None:
    fake.pace.hold(point)
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing()))
    fake.pace.wait()
    fake.restart()
    fake.pace.release()
    error = job.failure()
    assert isinstance(error, Vanished)
    assert error.prompt_id == prompt_id
    # Whoever hears it submits once more, under the same id.
    client.submit(drawing_graph(), prompt_id, resume=True)
    assert isinstance(list(client.follow(prompt_id, drawing()))[-1], Done)
    assert fake.ran(prompt_id) == 1


def test_trap_7_outputs_of_a_cached_run_are_those_of_the_first(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    first, second = draw(client, drawing())[-1], draw(client, drawing())[-1]
    assert first == second
    assert len([step for step in fake.steps if step.endswith("SaveImage")]) == 1


def test_trap_7_outputs_are_read_from_the_history_and_not_from_messages(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.missing_messages = {"executed"}
    assert len(draw(client, drawing())[-1].outputs) == 1


def test_trap_8_outputs_are_not_lost_on_versions_that_lose_them_without_a_client_id(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.lose_cached_outputs = True
    first, second = draw(client, picture(5))[-1], draw(client, picture(5))[-1]
    assert first == second


def test_trap_9_what_was_fetched_stays_on_the_server_for_later_cached_runs(
    fake: FakeComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    first = draw(client, drawing())[-1].outputs[0]
    client.download(first, tmp_path / "first.png")
    again = draw(client, drawing())[-1].outputs[0]
    client.download(again, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "first.png").read_bytes()
    assert again == first


@pytest.mark.parametrize("given", ["localhost", "http://localhost:8188", "ws://LOCALHOST:8188/"])
def test_trap_10_this_machine_is_asked_by_its_number(given: str) -> None:
    assert Address("here", given).url == "http://127.0.0.1:8188"
    assert Address("here", given).socket_url("x").startswith("ws://127.0.0.1:8188/")


@pytest.mark.parametrize("newer", [False, True])
def test_trap_11_an_interrupt_that_is_lost_before_the_start_is_repeated(
    newer: bool, connect: Connect, following: Follow
) -> None:
    with FakeComfyUI(newer=newer) as fake:
        client = connect(url=fake.url)
        fake.pace.hold("dequeued")
        prompt_id = new_id()
        client.submit(drawing_graph(), prompt_id)
        job = following(client.follow(prompt_id, drawing()))
        fake.pace.wait()
        client.cancel(prompt_id)
        fake.pace.hold("step")
        assert isinstance(job.failure(), CancelledError)
        assert fake.ran(prompt_id) == 0


def test_trap_12_a_lora_that_did_not_fit_is_told_after_the_job_at_the_latest(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    # Before it, catalog and offer tell those that Kizy has read (test_comfy_offer.py): the server
    # gives a file's metadata and not its tensors.
    text = "mat1 and mat2 shapes cannot be multiplied (77x768 and 2048x640)"
    fake.faults.fail_node("LoraLoader", "RuntimeError", text)
    assert failure_of(client, drawing(lora="detail.safetensors")).code == "lora_other_family"


def test_trap_13_one_job_of_ours_waits_on_the_server_and_the_rest_with_us(
    fake: FakeComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    fake.models["checkpoints"] = [CHECKPOINT]
    engine = ComfyEngine(Pool([client]), [client], PictureFolder(tmp_path, "0").save_png)
    fake.pace.hold("node")
    handles = [engine.start(plan_of(seed=n), str(uuid.uuid4())) for n in range(5)]
    wait_until(lambda: len(fake.at_work()) == 1 and len(fake.pending()) == 1)
    assert fake.requests.count("POST /prompt") == 2
    fake.pace.release()
    for handle in handles:
        assert end_of(list(engine.follow(handle))).state == "succeeded"
    assert all(fake.ran(handle.job_id) == 1 for handle in handles)
