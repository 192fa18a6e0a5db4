"""What happens to a job, heard as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from kizy.core.job import EndEvent, NoticeEvent, PreviewEvent, ProgressEvent, StateEvent
from kizy.core.request import GenerationRequest
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.server.rest.event_streams import EventStream, as_text
from kizy.orchestrator.server.rest.mailbox import Mailbox, listen
from kizy.orchestrator.server.rest.shutdown import Closing
from kizy.orchestrator.service import Numbered
from starlette.testclient import TestClient

from tests.fakes.service import FakeService
from tests.fakes.serving import serving_app

WAIT = 20.0


def read(text: str) -> list[dict[str, Any]]:
    """The events of a stream: `event`, `id` and `data`, which is JSON."""
    found: list[dict[str, Any]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_a_job_that_is_over_is_told_and_the_stream_ends(both: TestClient) -> None:
    job = both.post("/v1/generations", json={"prompt": "a fox"}).json()["id"]
    events = read(both.get(f"/v1/jobs/{job}/events").text)
    assert kinds(events)[0] == "state"
    assert kinds(events)[-1] == "end"
    assert events[-1]["data"] == {"kind": "end", "job_id": job, "state": "succeeded", "error": None}


def test_the_state_is_the_job_as_it_is_told_elsewhere(api: TestClient) -> None:
    job = api.post("/v1/generations", json={"prompt": "a fox"}).json()["id"]
    state = read(api.get(f"/v1/jobs/{job}/events").text)[0]["data"]["job"]
    assert state == api.get(f"/v1/jobs/{job}").json()


def test_what_came_since_the_last_event_follows_the_state(both: TestClient) -> None:
    job = both.post("/v1/generations", json={"prompt": "a fox", "count": 3}).json()["id"]
    path = f"/v1/jobs/{job}/events"
    while both.get(f"/v1/jobs/{job}").json()["state"] != "succeeded":
        pass
    all_of_it = read(both.get(path, headers={"Last-Event-ID": "0"}).text)
    assert kinds(all_of_it) == ["state", "artifact", "artifact", "artifact", "end"]
    heard = all_of_it[2]["id"]
    since = read(both.get(path, headers={"Last-Event-ID": heard}).text)
    assert kinds(since) == ["state", "artifact", "end"]
    assert since[1:] == all_of_it[3:]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "", "٣"])
def test_a_last_event_that_is_none_brings_the_state_alone(api: TestClient, last: str) -> None:
    job = api.post("/v1/generations", json={"prompt": "a fox"}).json()["id"]
    headers = [(b"Last-Event-ID", last.encode())]
    answer = api.get(f"/v1/jobs/{job}/events", headers=headers)
    assert kinds(read(answer.text)) == ["state", "end"]


def test_nothing_on_the_way_may_hold_events_back(api: TestClient) -> None:
    job = api.post("/v1/generations", json={"prompt": "a fox"}).json()["id"]
    headers = api.get(f"/v1/jobs/{job}/events").headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    assert "content-length" not in headers


def test_an_event_is_one_line_of_ascii_whatever_it_holds() -> None:
    event = NoticeEvent(job_id="1", code="x", text="two\nlines\r and \u2028 a 🦊")
    text = as_text(Numbered(7, event)).decode("ascii")
    assert text.count("\n") == 4
    assert read(text)[0]["data"]["text"] == event.text
    assert "id: 7\n" in text


def test_all_that_happens_is_heard_as_it_happens(held: FakeService) -> None:
    app = make_api(held)
    job = held.generate(GenerationRequest(prompt="a fox")).id
    with serving_app(app) as url:
        answer = requests.get(f"{url}/v1/jobs/{job}/events", stream=True, timeout=WAIT)
        lines = (line.decode() for line in answer.iter_lines())
        heard: list[str] = []

        def until(kind: str) -> None:
            for line in lines:
                if line.startswith("event: "):
                    heard.append(line.removeprefix("event: "))
                    if heard[-1] == kind:
                        return

        until("state")
        held.begin(job)
        until("state")
        held.advance(job, 0.5)
        until("progress")
        held.preview(job)
        until("preview")
        held.note(job, "memory_low", "Slower, to save memory.")
        until("notice")
        held.finish(job)
        until("end")
        assert list(lines)[-1:] in ([], [""])
    assert heard[:5] == ["state", "state", "progress", "preview", "notice"]
    assert heard[-3:] == ["artifact", "state", "end"]


def test_two_hundred_follow_at_once_and_all_hear_the_end(held: FakeService) -> None:
    job = held.generate(GenerationRequest(prompt="a fox")).id
    ends = asyncio.run(_many(held, job, 200))
    assert ends == ["end"] * 200
    assert held.followers == 0


async def _many(service: FakeService, job: str, many: int) -> list[str]:
    async def one() -> str:
        channel = Channel()
        mailbox, leave = await listen(service, job)
        await channel.run(EventStream(mailbox, leave, Closing()))
        return kinds(read(channel.text))[-1]

    tasks = [asyncio.create_task(one()) for _ in range(many)]
    async with asyncio.timeout(WAIT):
        while service.followers < many:
            await asyncio.sleep(0.001)
        service.begin(job)
        service.advance(job, 0.5)
        service.finish(job)
        return list(await asyncio.gather(*tasks))


@dataclass
class Channel:
    """ASGI's receive and send. `blocked`: the client reads nothing until it is set."""

    sent: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    may_send: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_send.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.may_send.wait()
        self.sent.append(message.get("body", b""))

    async def run(self, response: EventStream) -> None:
        await response({"type": "http"}, self.receive, self.send)

    @property
    def text(self) -> str:
        return b"".join(self.sent).decode()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not true():
                await asyncio.sleep(0.001)


def progress(fraction: float) -> Numbered:
    return Numbered(None, ProgressEvent(job_id="1", fraction=fraction, doing="drawing"))


def preview(index: int) -> Numbered:
    return Numbered(None, PreviewEvent(job_id="1", index=index, png=b"x"))


def notice(number: int) -> Numbered:
    return Numbered(number, NoticeEvent(job_id="1", code="x", text=str(number)))


def end(number: int) -> Numbered:
    return Numbered(number, EndEvent(job_id="1", state="succeeded"))


async def waiting_in(*events: Numbered) -> list[Numbered]:
    mailbox = Mailbox()
    for event in events:
        mailbox.put(event)
    await mailbox.wait()
    await asyncio.sleep(0)
    return mailbox.take()


def test_of_progress_and_previews_only_the_newest_waits() -> None:
    many = [progress(i / 1000) for i in range(1000)] + [preview(i % 3) for i in range(300)]
    left = asyncio.run(waiting_in(*many))
    assert left == [many[999], *many[-3:]]


def test_of_states_only_the_newest_waits(fake: FakeService) -> None:
    states = [
        Numbered(None, StateEvent(job=fake.generate(GenerationRequest(prompt=f"{i}"))))
        for i in range(3)
    ]
    assert asyncio.run(waiting_in(*states)) == states[2:]


def test_nothing_that_counts_is_left_out_nor_its_order_changed() -> None:
    events = [notice(1), progress(0.1), notice(2), progress(0.2), end(3)]
    assert asyncio.run(waiting_in(*events)) == [events[0], events[3], events[2], events[4]]


def test_the_state_stays_first_and_nothing_comes_behind_the_end(fake: FakeService) -> None:
    job = fake.generate(GenerationRequest(prompt="a fox"))
    first, newer, stale = (
        Numbered(None, StateEvent(job=job.model_copy(update={"attempts": n}))) for n in range(3)
    )
    left = asyncio.run(waiting_in(first, notice(1), newer, end(2), stale, notice(3)))
    assert left == [newer, notice(1), end(2)]


def test_silence_is_filled_with_heartbeats() -> None:
    async def scene() -> str:
        channel, mailbox = Channel(), Mailbox()
        stream = EventStream(mailbox, lambda: None, Closing(), heartbeat=0.001)
        task = asyncio.create_task(channel.run(stream))
        await channel.until(lambda: channel.text.count(": heartbeat\n\n") >= 3)
        mailbox.put(end(1))
        await task
        return channel.text

    assert kinds(read(asyncio.run(scene()))) == ["end"]


def test_a_follower_that_goes_is_forgotten() -> None:
    left: list[str] = []

    async def scene() -> None:
        channel = Channel()
        stream = EventStream(Mailbox(), lambda: left.append("left"), Closing())
        task = asyncio.create_task(channel.run(stream))
        await channel.until(lambda: bool(channel.sent))
        channel.gone.set()
        async with asyncio.timeout(WAIT):
            await task

    asyncio.run(scene())
    assert left == ["left"]


def test_when_the_server_stops_streams_end_without_an_end_event() -> None:
    async def scene() -> str:
        channel, closing = Channel(), Closing()
        task = asyncio.create_task(channel.run(EventStream(Mailbox(), lambda: None, closing)))
        await channel.until(lambda: bool(channel.sent))
        await asyncio.to_thread(closing.begin)
        async with asyncio.timeout(WAIT):
            await task
        return channel.text

    assert read(asyncio.run(scene())) == []


def test_a_follower_that_reads_nothing_is_left_after_a_while() -> None:
    async def scene() -> bool:
        channel = Channel()
        channel.may_send.clear()
        stream = EventStream(Mailbox(), lambda: None, Closing(), patience=0.001)

        async def send(message: Any) -> None:
            if message["type"] != "http.response.start":
                await channel.send(message)

        async with asyncio.timeout(WAIT):
            await stream({"type": "http"}, channel.receive, send)
        return True

    assert asyncio.run(scene())
