"""A job is followed to its end, whatever happens to the line and to the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import Any

import pytest
from kizy.core.errors import EngineError, InputError, UnknownNameError
from kizy.core.job import EndEvent, JobEvent, StateEvent
from kizy.core.request import GenerationRequest
from kizy.orchestrator.sdk.remote.service import RemoteService
from kizy.orchestrator.service import Numbered

from tests.fakes.kizy_server import KizyServer
from tests.fakes.kizy_stub import Answers, Asked, KizyStub, Reply, event, events, problem
from tests.fakes.line import Line
from tests.fakes.service import FakeService

Stub = Callable[[Answers], KizyStub]
Client = Callable[..., RemoteService]
Build = Callable[..., dict[str, Any]]

ID = "5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11"
ARTIFACT = {"id": "f" * 64, "name": "x.png", "media_type": "image/png", "bytes": 3}
END = event({"kind": "end", "job_id": ID, "state": "succeeded"}, 9)
FILE = event({"kind": "artifact", "job_id": ID, "artifact": ARTIFACT}, 5)
NOTE = event({"kind": "notice", "job_id": ID, "code": "a", "text": "b"}, 4)
PROGRESS = event({"kind": "progress", "job_id": ID, "fraction": 0.5, "doing": "drawing"})
HEARTBEAT = b": heartbeat\n\n"


def kinds(found: list[JobEvent]) -> list[str]:
    return [one.kind for one in found]


def heard(client: RemoteService, after: int | None = None) -> list[JobEvent]:
    return [numbered.event for numbered in client.follow(ID, after)]


@pytest.fixture
def state(job: Build) -> Callable[..., bytes]:
    """state(...): the event that tells of the job."""
    return lambda **values: event({"kind": "state", "job": job(**values)})


State = Callable[..., bytes]


def in_turn(*replies: Reply) -> Answers:
    """Each once, then the last one again and again."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


class TestStream:
    def test_events_come_in_order_with_their_numbers(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        server = stub(lambda _: events(state(), PROGRESS, NOTE, FILE, HEARTBEAT, END))
        found = list(client(server.url).follow(ID))
        assert kinds([one.event for one in found]) == [
            "state",
            "progress",
            "notice",
            "artifact",
            "end",
        ]
        assert [one.id for one in found] == [None, None, 4, 5, 9]

    def test_they_come_as_soon_as_they_are_sent(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        go = threading.Event()

        def slowly() -> Iterator[bytes]:
            yield state()
            assert go.wait(10)
            yield END

        for plain in (False, True):
            go.clear()
            headers = {"Content-Type": "text/event-stream"}
            parts = Reply(200, headers=headers, parts=slowly(), plain=plain)
            following = client(stub(lambda _, parts=parts: parts).url, silence=5.0).follow(ID)
            assert isinstance(next(following).event, StateEvent)
            go.set()
            assert isinstance(next(following).event, EndEvent)

    def test_what_was_heard_is_told_to_the_server(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        server = stub(lambda _: events(state(), END))
        heard(client(server.url))
        heard(client(server.url), after=7)
        assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "7"]

    def test_kinds_that_are_not_known_and_garbage_are_passed_over(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        garbage = [b"data: {\n\n", b"data: [1]\n\n", b'data: {"kind": "song"}\n\n', b"\xff\n\n"]
        server = stub(lambda _: events(state(), *garbage, END))
        assert kinds(heard(client(server.url))) == ["state", "end"]

    def test_a_server_that_has_told_all_is_asked_for_the_end(
        self, stub: Stub, client: Client, job: Build
    ) -> None:
        def answers(asked: Asked) -> Reply:
            if asked.path.endswith("/events"):
                return Reply(204, b"")
            return Reply(200, job(state="failed", error={"code": "c", "message": "m", "fix": "f"}))

        found = heard(client(stub(answers).url), after=9)
        assert kinds(found) == ["state", "end"]
        assert isinstance(found[1], EndEvent) and found[1].error is not None


class TestCutLines:
    def test_a_stream_without_an_end_is_taken_up_where_it_broke(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        first = events(state(), NOTE, cut=True)
        server = stub(in_turn(first, events(state(), FILE, END)))
        found = heard(client(server.url))
        assert kinds(found) == ["state", "notice", "state", "artifact", "end"]
        assert server.asked[1].headers["last-event-id"] == "4"

    def test_nothing_is_missed_if_nothing_had_a_number_before(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        server = stub(in_turn(events(state(), PROGRESS, cut=True), events(state(), END)))
        heard(client(server.url))
        assert server.asked[1].headers["last-event-id"] == "0"

    def test_what_comes_again_is_told_once(self, stub: Stub, client: Client, state: State) -> None:
        with_file = state(artifacts=[ARTIFACT])
        first = events(state(), NOTE, FILE)
        server = stub(in_turn(first, events(with_file, NOTE, FILE, END)))
        assert kinds(heard(client(server.url))) == ["state", "notice", "artifact", "state", "end"]

    def test_what_the_first_state_tells_is_not_told_again(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        with_file = state(artifacts=[ARTIFACT], notices=[{"code": "a", "text": "b"}])
        server = stub(in_turn(events(with_file), events(with_file, NOTE, FILE, END)))
        assert kinds(heard(client(server.url))) == ["state", "state", "end"]

    def test_a_job_whose_end_got_lost_ends(self, stub: Stub, client: Client, state: State) -> None:
        over = state(state="succeeded", artifacts=[ARTIFACT])
        server = stub(in_turn(events(state()), events(over)))
        assert kinds(heard(client(server.url))) == ["state", "state", "artifact", "end"]

    def test_a_server_that_is_away_for_a_while_is_waited_for(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        replies = (
            events(state(), cut=True),
            Reply(503, b"starting"),
            problem(503, "server_stopping"),
            Reply(502, b"bad gateway"),
            events(state(), END),
        )
        assert heard(client(stub(in_turn(*replies)).url))[-1].kind == "end"

    def test_a_server_that_stays_away_is_said_in_plain_words(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        server = stub(in_turn(events(state(), cut=True), Reply(503, b"no")))
        following = client(server.url, away=0.05).follow(ID)
        assert isinstance(next(following).event, StateEvent)
        with pytest.raises(EngineError, match="the job is not lost") as away:
            list(following)
        assert away.value.code == "server_unreachable"
        assert f"kizy jobs watch {ID}" in away.value.fix

    def test_a_server_that_was_never_there_is_said_soon(self, client: Client) -> None:
        one = client("http://127.0.0.1:9", longest=0.01, away=60.0)
        began = time.monotonic()
        with pytest.raises(EngineError, match="no Kizy server runs there"):
            heard(one)
        assert time.monotonic() - began < 30

    def test_a_job_that_is_not_known_is_said_at_once(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: problem(404, "job_unknown", "There is no such job."))
        with pytest.raises(UnknownNameError, match="no such job"):
            heard(client(server.url))
        assert len(server.asked) == 1

    def test_a_key_that_is_withdrawn_meanwhile_is_said(
        self, stub: Stub, client: Client, state: State
    ) -> None:
        server = stub(in_turn(events(state()), problem(401, "key_wrong", "It was withdrawn.")))
        with pytest.raises(InputError, match="withdrawn"):
            heard(client(server.url))


class TestLooking:
    """Where events do not come through, the job itself is looked at."""

    @pytest.mark.parametrize(
        "broken",
        [
            Reply(200, b"<html>", {"Content-Type": "text/html"}),
            events(),
            events(HEARTBEAT, HEARTBEAT),
            Reply(
                200,
                headers={"Content-Type": "text/event-stream"},
                parts=repeat(b"data: no\n\n" * 50),
            ),
            events(b"data: " + b"x" * 20_000_000),
        ],
        ids=["a web page", "nothing", "heartbeats", "garbage", "endless"],
    )
    def test_a_stream_that_brings_nothing(
        self, stub: Stub, client: Client, job: Build, broken: Reply
    ) -> None:
        jobs = [
            job(state="queued", place=2),
            job(state="running", progress=0.5),
            job(state="running", progress=0.5, notices=[{"code": "a", "text": "b"}]),
            job(state="succeeded", progress=1.0, artifacts=[ARTIFACT]),
        ]

        def answers(asked: Asked) -> Reply:
            if asked.path.endswith("/events"):
                return broken
            return Reply(200, jobs.pop(0) if len(jobs) > 1 else jobs[0])

        found = heard(client(stub(answers).url))
        assert kinds(found) == [
            "state",
            "state",
            "progress",
            "state",
            "notice",
            "state",
            "progress",
            "artifact",
            "end",
        ]

    def test_a_stream_that_a_proxy_holds_back(self, stub: Stub, client: Client, job: Build) -> None:
        never = threading.Event()

        def held_back() -> Iterator[bytes]:
            never.wait(2)
            yield HEARTBEAT

        def answers(asked: Asked) -> Reply:
            if asked.path.endswith("/events"):
                headers = {"Content-Type": "text/event-stream"}
                return Reply(200, headers=headers, parts=held_back())
            return Reply(200, job(state="succeeded"))

        found = heard(client(stub(answers).url, silence=0.02))
        never.set()
        assert kinds(found) == ["state", "end"]

    def test_a_server_that_forgets_to_tell_the_end(
        self, stub: Stub, client: Client, job: Build, state: State
    ) -> None:
        def alive() -> Iterator[bytes]:
            yield state()
            for _ in range(1000):
                threading.Event().wait(0.002)
                yield HEARTBEAT

        def answers(asked: Asked) -> Reply:
            if asked.path.endswith("/events"):
                headers = {"Content-Type": "text/event-stream"}
                return Reply(200, headers=headers, parts=alive())
            return Reply(200, job(state="cancelled"))

        found = kinds(heard(client(stub(answers).url, silence=0.05)))
        assert (found[0], found[-1]) == ("state", "end")
        assert found.count("end") == 1

    def test_a_server_that_goes_away_meanwhile_is_waited_for(
        self, stub: Stub, client: Client, job: Build
    ) -> None:
        looks = count()

        def answers(asked: Asked) -> Reply:
            if asked.path.endswith("/events"):
                return events()
            return Reply(503, b"") if next(looks) < 3 else Reply(200, job(state="succeeded"))

        assert kinds(heard(client(stub(answers).url))) == ["state", "end"]

    def test_a_job_that_cannot_be_read_is_said(self, stub: Stub, client: Client) -> None:
        def answers(asked: Asked) -> Reply:
            return events() if asked.path.endswith("/events") else Reply(200, b"{}")

        with pytest.raises(EngineError, match="as a Kizy server does"):
            heard(client(stub(answers).url))


class TestRealServer:
    def test_it_is_followed_over_a_restart_of_the_server(
        self, fake: FakeService, server: KizyServer, client: Client
    ) -> None:
        one = client(server.url, away=20.0)
        job = one.generate(GenerationRequest(prompt="a fox"))
        following = one.follow(job.id)
        assert isinstance(next(following).event, StateEvent)
        server.stop()
        fake.begin(job.id)
        fake.note(job.id, "a", "Told while nobody could listen.")
        fake.finish(job.id)
        threading.Timer(0.05, server.start).start()
        rest = list(following)
        told = kinds([one.event for one in rest])
        assert told[-1] == "end"
        assert (told.count("artifact"), told.count("notice"), told.count("end")) == (1, 1, 1)

    def test_it_is_followed_over_cut_lines(
        self, fake: FakeService, server: KizyServer, client: Client
    ) -> None:
        line = Line(server.url)
        one = client(line.url, away=20.0, silence=5.0)
        job = one.generate(GenerationRequest(prompt="a fox"))
        found: list[Numbered] = []
        fake.begin(job.id)
        for step, numbered in enumerate(one.follow(job.id)):
            found.append(numbered)
            if step < 4:
                line.cut()
                fake.note(job.id, "a", f"Note {step}.")
                line.mend()
            elif step == 4:
                fake.finish(job.id)
        line.close()
        notes = [one.event.text for one in found if one.event.kind == "notice"]
        assert notes == [f"Note {number}." for number in range(len(notes))] and notes
        assert [one.event.kind for one in found].count("artifact") == 1
        assert found[-1].event.kind == "end"

    def test_who_stops_following_is_forgotten_by_the_server(
        self, fake: FakeService, server: KizyServer, client: Client
    ) -> None:
        one = client(server.url)
        job = one.generate(GenerationRequest(prompt="a fox"))
        following = one.follow(job.id)
        next(following)
        assert fake.followers == 1
        following.close()  # type: ignore[attr-defined]
        for _ in range(1000):
            if fake.followers == 0:
                return
            threading.Event().wait(0.005)
        raise AssertionError("the server still tells a client that has gone")


def test_previews_come_through(stub: Stub, client: Client, state: State) -> None:
    preview = {"kind": "preview", "job_id": ID, "index": 0, "png": "aGVsbG8="}
    server = stub(lambda _: events(state(), event(preview), END))
    assert heard(client(server.url))[1].png == b"hello"  # type: ignore[union-attr]
