"""Following a job as it should be, and when messages are lost or come twice."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.orchestrator.backends.comfyui.protocol import listener as listener_module
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import (
    Done,
    Notice,
    Preview,
    Progress,
)
from PIL import Image

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import (
    begin,
    codes,
    draw,
    failure_of,
    of,
    step_until_a_preview,
    wait_until,
)
from tests.fakes.comfyui_graphs import (
    drawing,
    picture,
)

Connect = Callable[..., ComfyClient]
Follow = Callable[..., Any]


# As it should be


def test_a_drawing_ends_with_its_files(client: ComfyClient) -> None:
    events = draw(client, drawing())
    assert isinstance(events[-1], Done)
    assert len(of(events, Done)) == 1
    assert [file.node for file in events[-1].outputs] == ["7"]


def test_progress_grows_to_one_and_tells_the_steps(client: ComfyClient) -> None:
    events = draw(client, drawing(steps=4))
    fractions = [event.fraction for event in of(events, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    doing = [event.doing for event in of(events, Progress)]
    for step in range(1, 5):
        assert f"drawing, step {step} of 4" in doing


def test_a_second_drawing_knows_its_time_left(client: ComfyClient) -> None:
    draw(client, drawing(seed=1))
    events = draw(client, drawing(seed=2))
    assert any(event.left is not None for event in of(events, Progress)[:3])


def test_previews_come_with_metadata(client: ComfyClient) -> None:
    previews = of(draw(client, drawing(steps=3)), Preview)
    assert [(p.format, p.node) for p in previews] == [("jpeg", "5")] * 3
    with Image.open(BytesIO(previews[0].data)) as opened:
        assert opened.size == (16, 16)


def test_previews_come_without_metadata_from_servers_that_know_none(
    fake: FakeComfyUI, client: ComfyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing(steps=3))
    fake.pace.wait()
    fake._run.routes.flags[prompt_id] = {}
    fake.pace.release()
    previews = of(list(client.follow(prompt_id, drawing(steps=3))), Preview)
    assert [(p.format, p.node) for p in previews] == [("jpeg", None)] * 3


def test_a_text_for_people_is_a_notice(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing()))
    fake.pace.wait()
    fake._run.routes.send_bytes(b"\0\0\0\3\0\0\0\x015hello", prompt_id)
    job.wait_for(lambda: job.of(Notice))
    fake.pace.release()
    assert Notice("server_text", "hello") in job.end()


def test_a_job_that_waits_tells_its_place(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("node")
    for _ in range(2):
        fake.add_foreign_job()
    fake.pace.wait()
    job = following(client.follow(begin(client, picture()), picture()))
    job.wait_for(lambda: any("behind 2 jobs" in event.doing for event in job.of(Progress)))
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)


def test_a_shared_client_id_works_too(fake: FakeComfyUI) -> None:
    client = ComfyClient(Address("studio", fake.url), client_id="shared")
    assert isinstance(draw(client, drawing())[-1], Done)
    client.close()


def test_the_socket_ends_with_the_generator(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.pace.hold("step")
    events = client.follow(begin(client, drawing()), drawing())
    next(events)
    assert len(fake.client_ids()) == 1
    events.close()
    wait_until(lambda: fake.client_ids() == [])
    fake.pace.release()


def test_a_job_can_be_followed_again_after_its_follower_was_closed(
    fake: FakeComfyUI, client: ComfyClient
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    events = client.follow(prompt_id, drawing())
    next(events)
    events.close()
    fake.pace.release()
    assert isinstance(list(client.follow(prompt_id, drawing()))[-1], Done)


# Messages that are lost or come twice


def test_messages_that_come_twice_change_nothing(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.faults.duplicate_messages = True
    events = draw(client, drawing(steps=4))
    fractions = [event.fraction for event in of(events, Progress)]
    assert fractions == sorted(fractions)
    assert len(of(events, Done)) == 1


@pytest.mark.parametrize(
    "kind",
    ["status", "execution_start", "execution_cached", "executing", "progress_state", "progress",
     "executed", "execution_success"],
)  # fmt: skip
def test_no_message_is_needed(fake: FakeComfyUI, client: ComfyClient, kind: str) -> None:
    fake.faults.missing_messages = {kind}
    events = draw(client, drawing())
    assert isinstance(events[-1], Done)
    fractions = [event.fraction for event in of(events, Progress)]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("kind", ["execution_error", "executing"])
def test_no_message_is_needed_for_a_failure(
    fake: FakeComfyUI, client: ComfyClient, kind: str
) -> None:
    fake.faults.missing_messages = {kind}
    fake.faults.out_of_memory()
    assert failure_of(client, drawing()).code == "out_of_memory"


def test_a_socket_that_breaks_is_opened_again(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.pace.hold("step")
    prompt_id = begin(client, drawing(steps=200))
    job = following(client.follow(prompt_id, drawing(steps=200)))
    for _ in range(3):
        fake.pace.wait()
        opened = fake.requests.count("GET /ws")
        fake.drop_sockets()
        wait_until(lambda opened=opened: fake.requests.count("GET /ws") > opened)
        step_until_a_preview(fake, job)
    fake.pace.release()
    events = job.end()
    fractions = [event.fraction for event in of(events, Progress)]
    assert fractions == sorted(fractions)
    assert isinstance(events[-1], Done)


def test_without_a_socket_it_works_and_says_that_it_is_blind(
    fake: FakeComfyUI, client: ComfyClient, following: Follow
) -> None:
    fake.faults.no_socket = True
    fake.pace.hold("step")
    job = following(client.follow(begin(client, drawing()), drawing()))
    job.wait_for(lambda: "no_live_progress" in codes(job.events))
    fake.pace.release()
    events = job.end()
    assert codes(events) == ["no_live_progress"]
    assert isinstance(events[-1], Done)


def test_a_frame_of_absurd_length_ends_the_socket_and_not_the_job(
    fake: FakeComfyUI, client: ComfyClient, following: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_MAX_FRAME", 100_000)
    fake.pace.hold("step")
    prompt_id = begin(client, drawing())
    job = following(client.follow(prompt_id, drawing()))
    fake.pace.wait()
    opened = fake.requests.count("GET /ws")
    fake._run.routes.send_bytes(b"x" * 200_000, prompt_id)
    wait_until(lambda: fake.requests.count("GET /ws") > opened)
    fake.pace.release()
    assert isinstance(job.end()[-1], Done)
