"""Following a job while its server is away, shared with others, or fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.errors import CancelledError, EngineError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done, Vanished

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_faults import PATIENCE
from tests.fakes.comfyui_following import (
    begin,
    codes,
    draw,
    failure_of,
    wait_until,
)
from tests.fakes.comfyui_graphs import (
    drawing,
    new_id,
    picture,
    picture_graph,
)

Connect = Callable[..., ComfyClient]
Follow = Callable[..., Any]


# A server that is away


def test_a_server_that_is_away_is_waited_for(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing()))
    fake.pace.wait()
    fake.stop()
    job.wait_for(lambda: "server_away" in codes(job.events))
    fake.pace.release()
    fake.start()
    assert isinstance(job.failure(), Vanished)
    assert codes(job.events) == ["server_away", "server_back"]


def test_a_server_that_stays_away_is_given_up(fake: FakeComfyUI, connect: Connect) -> None:
    client = connect(away=0.1)
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    fake.pace.wait()
    fake.stop()
    with pytest.raises(EngineError) as caught:
        list(client.follow(prompt_id, drawing()))
    assert caught.value.code == "server_unreachable"


@pytest.mark.parametrize("others", [True, False])
def test_a_server_that_ended_is_given_up_soon_where_another_one_could_draw(
    fake: FakeComfyUI, connect: Connect, following: Follow, others: bool
) -> None:
    client = connect(gone=0.05, away=PATIENCE)
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing(), elsewhere=lambda: others))
    fake.pace.wait()
    fake.stop()
    if others:
        error = job.failure()
        assert isinstance(error, EngineError) and error.code == "server_unreachable"
    else:
        job.wait_for(lambda: "server_away" in codes(job.events))
        fake.pace.release()
        fake.start()
        assert isinstance(job.failure(), Vanished)


def test_a_line_that_is_cut_is_waited_for_though_another_server_could_draw(
    fake: FakeComfyUI, connect: Connect, following: Follow
) -> None:
    client = connect(gone=0.0)
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing(), elsewhere=lambda: True))
    fake.pace.wait()
    fake.faults.status = 502
    fake.drop_sockets()
    job.wait_for(lambda: "server_away" in codes(job.events))
    fake.faults.status = None
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


def test_a_proxy_that_says_bad_gateway_for_a_while_is_waited_out(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    fake.pace.wait()
    fake.faults.status = 502
    fake.drop_sockets()
    job.wait_for(lambda: "server_away" in codes(job.events))
    fake.faults.status = None
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


def test_a_key_that_is_no_longer_good_is_told_at_once(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    fake.pace.wait()
    fake.faults.status = 401
    fake.drop_sockets()
    error = job.failure()
    fake.pace.release()
    assert isinstance(error, EngineError)
    assert error.code == "server_refused"


def test_stopping_does_not_wait_for_a_server_that_is_away(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing()))
    fake.pace.wait()
    fake.stop()
    client.cancel(prompt_id)
    assert isinstance(job.failure(), CancelledError)


def test_stopping_does_not_wait_for_a_server_that_hangs(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect(stuck_running=0.1)
    fake.faults.dead_worker = "during"
    prompt_id = begin(client, picture())
    client.cancel(prompt_id)
    with pytest.raises(CancelledError):
        list(client.follow(prompt_id, picture()))


# Others on the same server


def test_a_queue_that_somebody_cleared_makes_the_job_vanish(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("node")
    fake.add_foreign_job()
    fake.pace.wait()
    prompt_id = begin(client, picture())
    job = following(client.follow(prompt_id, picture()))
    fake.clear_queue()
    assert isinstance(job.failure(), Vanished)
    fake.pace.release()
    assert fake.ran(prompt_id) == 0


def test_a_history_that_somebody_cleared_makes_the_job_vanish_and_a_second_run_is_cached(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.pace.hold("history")
    prompt_id = begin(client, picture())
    fake.pace.wait()
    fake.pace.release()
    wait_until(fake.history)
    fake.clear_history()
    with pytest.raises(Vanished):
        list(client.follow(prompt_id, picture()))
    client.submit(picture_graph(), prompt_id)
    assert isinstance(list(client.follow(prompt_id, picture()))[-1], Done)
    assert fake.ran(prompt_id) == 1


def test_an_error_is_told_though_somebody_cleared_the_history(
    fake: FakeComfyUI, client: ComfyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.faults.disk_full()
    prompt_id = begin(client, picture())
    wait_until(fake.history)
    fake.clear_history()
    with pytest.raises(EngineError) as caught:
        list(client.follow(prompt_id, picture()))
    assert caught.value.code == "server_disk_full"


def test_a_job_that_somebody_else_stopped_is_cancelled_and_says_so(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    fake.pace.wait()
    fake.interrupt()
    error = job.failure()
    assert isinstance(error, CancelledError)
    assert "Somebody" in error.message


def test_messages_of_other_jobs_are_not_ours(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing()))
    fake.pace.wait()
    about = {"prompt_id": new_id(), "exception_type": "ValueError", "exception_message": "not ours"}
    fake._run.routes.send("execution_error", about, None)
    fake._run.routes.send("execution_interrupted", about, None)
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


# Failures


@pytest.mark.parametrize(
    ("arrange", "code"),
    [
        (lambda faults: faults.out_of_memory(), "out_of_memory"),
        (lambda faults: faults.out_of_memory("VAEDecode"), "out_of_memory"),
        (lambda faults: faults.disk_full(), "server_disk_full"),
        (lambda faults: faults.fail_node("KSampler", "ValueError", "odd"), "server_failed"),
    ],
)
def test_a_failure_is_told_in_plain_words_with_the_raw_error(
    fake: FakeComfyUI, client: ComfyClient, arrange: Callable[..., None], code: str
) -> None:
    arrange(fake.faults)
    error = failure_of(client, drawing())
    assert error.code == code
    assert error.raw is not None
    assert "exception_type" in error.raw


def test_memory_that_did_not_suffice_once_may_suffice_the_next_time(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.faults.out_of_memory("VAEDecode", times=1)
    assert failure_of(client, drawing()).code == "out_of_memory"
    assert isinstance(draw(client, drawing())[-1], Done)


def test_ctrl_c_gets_through(fake: FakeComfyUI, client: ComfyClient) -> None:
    """No wait in `follow` is longer than a slice, so a signal is heard after half a second."""
    import _thread
    import threading

    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    fake.pace.wait()
    events = client.follow(prompt_id, drawing())
    timer = threading.Timer(0.05, _thread.interrupt_main)
    begun = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in events:
            pass
    assert time.monotonic() - begun < 0.5
    timer.join()
    events.close()
    wait_until(lambda: fake.client_ids() == [])
    fake.pace.release()
