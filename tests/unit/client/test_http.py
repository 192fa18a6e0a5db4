"""What can be asked again is; the key goes to its server alone; everything else is said."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import EngineError, InputError, KizyError, UnknownNameError
from kizy.core.request import GenerationRequest, TrainingRequest
from kizy.orchestrator.sdk.remote.service import RemoteService
from kizy.orchestrator.sdk.remote.timeouts import Timing
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.service import JobChange, JobQuery, Wish
from kizy.orchestrator.settings import Settings

from tests.fakes.kizy_stub import Answers, Asked, KizyStub, Reply, problem
from tests.fakes.service import FakeService
from tests.fakes.serving import serving_app

Stub = Callable[[Answers], KizyStub]
Client = Callable[..., RemoteService]
Build = Callable[..., dict[str, Any]]
FOX = GenerationRequest(prompt="a fox")


def failing(times: int, first: Reply, then: Reply) -> Answers:
    """`first` so often, then `then`."""
    left = [times]

    def answers(_: Asked) -> Reply:
        left[0] -= 1
        return first if left[0] >= 0 else then

    return answers


QUEUE = Reply(200, {"paused": False, "waiting": 3, "running": 1, "limit": 10})
BUSY = Reply(503, b"<html>no</html>", {"Retry-After": "1"})
CUT = Reply(200, {"waiting": 3}, cut=True)
GATEWAY = Reply(502, b"bad gateway")


class TestAskingAgain:
    @pytest.mark.parametrize("trouble", [BUSY, CUT, GATEWAY], ids=["503", "cut", "502"])
    def test_what_only_reads_is_asked_again(self, stub: Stub, client: Client, trouble) -> None:
        server = stub(failing(2, trouble, QUEUE))
        assert client(server.url).queue().waiting == 3
        assert len(server.asked) == 3

    @pytest.mark.parametrize("trouble", [BUSY, CUT, GATEWAY], ids=["503", "cut", "502"])
    def test_a_drawing_is_handed_in_again_by_the_same_key(
        self, stub: Stub, client: Client, job: Build, trouble: Reply
    ) -> None:
        server = stub(failing(2, trouble, Reply(202, job())))
        client(server.url).generate(FOX)
        keys = {asked.headers["idempotency-key"] for asked in server.asked}
        assert len(server.asked) == 3 and len(keys) == 1

    def test_every_drawing_has_a_key_of_its_own(
        self, stub: Stub, client: Client, job: Build
    ) -> None:
        server = stub(lambda _: Reply(202, job()))
        one = client(server.url)
        one.generate(FOX)
        one.generate(FOX)
        one.generate(FOX, Wish(idempotency_key="mine"))
        keys = [asked.headers["idempotency-key"] for asked in server.asked]
        assert len(set(keys)) == 3 and keys[2] == "mine"

    @pytest.mark.parametrize("trouble", [BUSY, CUT, GATEWAY], ids=["503", "cut", "502"])
    def test_a_retry_whose_answer_is_lost_is_asked_again_with_its_key(
        self, stub: Stub, client: Client, job: Build, trouble: Reply
    ) -> None:
        server = stub(failing(2, trouble, Reply(202, job())))
        client(server.url).retry("a")
        keys = {asked.headers["idempotency-key"] for asked in server.asked}
        assert len(server.asked) == 3 and len(keys) == 1

    def test_a_full_queue_is_said_at_once(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: problem(429, "queue_full", "Ten jobs wait already."))
        with pytest.raises(EngineError, match="Ten jobs") as full:
            client(server.url).generate(FOX)
        assert full.value.code == "queue_full"
        assert len(server.asked) == 1

    def test_a_server_that_stays_busy_is_said_in_its_words(
        self, stub: Stub, client: Client
    ) -> None:
        server = stub(lambda _: problem(503, "server_stopping", "It is being stopped."))
        with pytest.raises(EngineError, match="being stopped") as stopping:
            client(server.url).generate(FOX)
        assert stopping.value.code == "server_stopping"
        assert len(server.asked) == 4

    @pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
    def test_what_is_refused_is_not_asked_again(
        self, stub: Stub, client: Client, status: int
    ) -> None:
        server = stub(lambda _: problem(status, "request_invalid"))
        with pytest.raises(KizyError):
            client(server.url).queue()
        assert len(server.asked) == 1

    def test_pauses_grow_and_a_servers_wish_counts(self, stub: Stub) -> None:
        waited: list[float] = []
        server = stub(failing(3, BUSY, QUEUE))
        timing = Timing(tries=5, pause=0.1, longest=0.5)
        one = RemoteService(server.url, timing=timing, wait=waited.append)
        one.queue()
        one.close()
        assert waited == [0.5, 0.5, 0.5]

    def test_a_line_that_breaks_is_tried_again_after_pauses(self, stub: Stub) -> None:
        waited: list[float] = []
        server = stub(failing(3, CUT, QUEUE))
        timing = Timing(tries=5, pause=0.1, longest=0.3)
        one = RemoteService(server.url, timing=timing, wait=waited.append)
        one.queue()
        one.close()
        assert waited == [0.1, 0.2, 0.3]

    def test_an_upload_is_sent_again_from_its_begin(self, stub: Stub, client: Client) -> None:
        upload = {"id": "a", "name": "x", "media_type": "image/png", "bytes": 7}
        server = stub(failing(1, BUSY, Reply(201, upload)))
        client(server.url).upload("x.png", io.BytesIO(b"picture"))
        assert [b"picture" in asked.body for asked in server.asked] == [True, True]

    def test_what_cannot_be_read_twice_is_kept_while_it_is_sent(
        self, stub: Stub, client: Client
    ) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        upload = {"id": "a", "name": "x", "media_type": "image/png", "bytes": 7}
        server = stub(failing(1, BUSY, Reply(201, upload)))
        client(server.url).upload("x.png", Pipe(b"picture"))
        assert [b"picture" in asked.body for asked in server.asked] == [True, True]


class TestUnreachable:
    def test_no_proxy_stands_between_two_programs_of_this_machine(
        self, stub: Stub, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert client(stub(lambda _: QUEUE).url).queue().waiting == 3

    def test_a_port_where_nothing_listens_is_said(self, client: Client) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EngineError, match="no Kizy server runs there") as away:
            client(url).queue()
        assert (away.value.code, url in away.value.message) == ("server_unreachable", True)

    def test_a_name_that_nobody_has_is_said(self, client: Client) -> None:
        with pytest.raises(EngineError, match="No computer of that name"):
            client("http://nobody.invalid:7433").queue()

    def test_a_server_that_says_nothing_is_said(self, client: Client) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(EngineError, match="does not answer"):
                client(url, read=0.05).queue()

    def test_https_where_there_is_none_is_said(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: QUEUE)
        with pytest.raises(EngineError, match="does not speak HTTPS"):
            client(server.url.replace("http:", "https:")).queue()

    @pytest.mark.parametrize(
        "body", [b"", b"not json", b"[]", b'{"waiting": "many"}', b"[" * 100_000]
    )
    def test_garbage_is_said(self, stub: Stub, client: Client, body: bytes) -> None:
        server = stub(lambda _: Reply(200, body))
        with pytest.raises(EngineError, match="as a Kizy server does") as wrong:
            client(server.url).queue()
        assert wrong.value.code == "server_failed"

    def test_a_web_page_is_said(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: Reply(200, b"<!doctype html><html>Log in</html>"))
        with pytest.raises(EngineError, match="a web page"):
            client(server.url).queue()

    def test_an_older_server_without_a_route_is_said(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: Reply(404, b"Not Found"))
        with pytest.raises(EngineError, match=r"has no /v1/templates") as old:
            client(server.url).templates()
        assert old.value.code == "server_too_old"


class TestKey:
    def test_it_is_sent_as_a_bearer_token(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: QUEUE)
        client(server.url, "secret-key").queue()
        assert server.asked[0].headers["authorization"] == "Bearer secret-key"

    def test_without_one_nothing_is_sent_whatever_netrc_says(
        self, stub: Stub, client: Client, tmp_path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        server = stub(lambda _: QUEUE)
        client(server.url).queue()
        assert "authorization" not in server.asked[0].headers

    def test_it_is_not_sent_to_another_place(self, stub: Stub, client: Client) -> None:
        other = stub(lambda _: QUEUE)
        server = stub(lambda asked: Reply(307, b"", {"Location": f"{other.url}{asked.path}"}))
        assert client(server.url, "secret-key").queue().waiting == 3
        assert "authorization" not in other.asked[0].headers

    def test_it_is_sent_within_the_same_place(self, stub: Stub, client: Client) -> None:
        def answers(asked: Asked) -> Reply:
            return QUEUE if asked.path == "/moved" else Reply(302, b"", {"Location": "/moved"})

        server = stub(answers)
        client(server.url, "secret-key").queue()
        assert server.asked[1].headers["authorization"] == "Bearer secret-key"

    def test_a_wish_is_not_sent_to_another_place(self, stub: Stub, client: Client) -> None:
        other = stub(lambda _: QUEUE)
        server = stub(lambda asked: Reply(307, b"", {"Location": f"{other.url}{asked.path}"}))
        with pytest.raises(EngineError, match="sends us on"):
            client(server.url).generate(FOX)
        assert other.asked == []

    def test_it_is_never_logged_nor_told(
        self, stub: Stub, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server = stub(lambda _: Reply(500, b"you sent secret-key"))
        with pytest.raises(EngineError) as failed:
            client(server.url, "secret-key").queue()
        assert "secret-key" not in f"{caplog.text} {failed.value.as_dict()} {failed.value.raw}"


class TestWhatIsSent:
    """An older server, which refuses fields that it does not know, must understand it."""

    def test_only_what_was_asked_for(self, stub: Stub, client: Client, job: Build) -> None:
        server = stub(lambda _: Reply(202, job()))
        client(server.url).generate(FOX)
        assert server.asked[0].json == {"prompt": "a fox"}

    def test_how_a_job_is_to_be_accepted(self, stub: Stub, client: Client, job: Build) -> None:
        server = stub(lambda _: Reply(202, job()))
        deadline = datetime(2030, 1, 1, tzinfo=UTC)
        client(server.url).generate(FOX, Wish(fresh=True, raw=True, deadline=deadline))
        sent = server.asked[0].json
        assert (sent["fresh"], sent["raw"]) == (True, True)
        assert datetime.fromisoformat(sent["deadline"]) == deadline

    def test_a_time_without_a_zone_gets_one(self, stub: Stub, client: Client, job: Build) -> None:
        server = stub(lambda _: Reply(202, job()))
        client(server.url).generate(FOX, Wish(deadline=datetime(2030, 1, 1)))
        sent = datetime.fromisoformat(server.asked[0].json["deadline"])
        assert sent.tzinfo is not None and sent == datetime(2030, 1, 1).astimezone()

    def test_a_change_says_only_what_changes(self, stub: Stub, client: Client, job: Build) -> None:
        server = stub(lambda _: Reply(200, job()))
        client(server.url).change("a", JobChange(priority=3))
        assert (server.asked[0].method, server.asked[0].json) == ("PATCH", {"priority": 3})

    def test_a_query_names_states_and_cursor(self, stub: Stub, client: Client) -> None:
        server = stub(lambda _: Reply(200, {"jobs": [], "next": None}))
        query = JobQuery(("queued", "running"), "training", "me", 10, "c&d")
        client(server.url).jobs(query)
        assert server.asked[0].path == (
            "/v1/jobs?state=queued&state=running&limit=10&kind=training&owner=me&cursor=c%26d"
        )

    def test_an_id_cannot_leave_its_place_in_the_path(
        self, stub: Stub, client: Client, job: Build
    ) -> None:
        server = stub(lambda _: Reply(200, job()))
        client(server.url).job("../queue?a=b#c")
        assert server.asked[0].path == "/v1/jobs/..%2Fqueue%3Fa%3Db%23c"

    def test_a_picture_that_is_not_there_is_said_before_anything_is_sent(
        self, stub: Stub, client: Client
    ) -> None:
        server = stub(lambda _: QUEUE)
        wish = GenerationRequest.model_validate({"prompt": "x", "start": {"picture": "none.png"}})
        with pytest.raises(UnknownNameError, match=r"none\.png"):
            client(server.url).generate(wish)
        assert server.asked == []

    def test_a_picture_that_is_named_twice_is_handed_over_once(
        self, stub: Stub, client: Client, job: Build, tmp_path: Path
    ) -> None:
        def answers(asked: Asked) -> Reply:
            upload = {"id": "f" * 64, "name": "a", "media_type": "image/png", "bytes": 1}
            return Reply(201, upload) if asked.path == "/v1/uploads" else Reply(202, job())

        (tmp_path / "a.png").write_bytes(b"picture")
        server, path = stub(answers), str(tmp_path / "a.png")
        wish = {"prompt": "x", "start": {"picture": path}, "mask": {"picture": path}}
        client(server.url).generate(GenerationRequest.model_validate(wish))
        assert [asked.path for asked in server.asked] == ["/v1/uploads", "/v1/generations"]
        assert server.asked[1].json["mask"]["picture"] == "f" * 64

    def test_a_training_names_ids_as_texts(self, stub: Stub, client: Client, job: Build) -> None:
        request = {"files": ["a"], "name": "mimi"}
        server = stub(lambda _: Reply(202, job(kind="training", request=request)))
        wish = TrainingRequest(files=("0" * 64,), name="mimi", steps=10)
        client(server.url).train(wish, Wish(fresh=True))
        body = server.asked[0].body.decode()
        assert 'name="files"\r\n\r\n' + "0" * 64 in body
        assert 'name="steps"\r\n\r\n10' in body
        assert "fresh" not in body and "quality" not in body


def test_requests_at_once_from_many_threads_are_answered(stub: Stub, client: Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = stub(lambda _: QUEUE)
    one = client(server.url)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: one.queue().waiting, range(40)))
    assert found == [3] * 40


def test_a_wrong_address_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InputError) as refused:
        RemoteService("ftp://x")
    assert refused.value.code == "settings_invalid"


def test_a_file_that_is_too_large_for_the_server_is_said(client: Client, tmp_path: Path) -> None:
    settings = Settings.model_validate({"serve": {"upload_mb": 1, "training_mb": 1}})
    app = make_api(FakeService(tmp_path / "fake"), settings)
    with serving_app(app) as url, pytest.raises(InputError) as large:
        client(url).upload("a.png", io.BytesIO(bytes(10_000_000)))
    assert large.value.code == "upload_too_large"
