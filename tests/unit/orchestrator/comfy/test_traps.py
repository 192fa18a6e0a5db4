"""The traps of ComfyUI's API that have bitten other drivers; each has a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.orchestrator.engines.comfy.client import ComfyClient
from kizy.orchestrator.engines.comfy.events import Done, Vanished

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
    node,
    picture,
    picture_graph,
)

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
