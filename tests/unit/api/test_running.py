"""The server itself: its socket, its other parts, its end."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from kizy.core.errors import InputError
from kizy.orchestrator.jobs.keys import KeyStore
from kizy.orchestrator.server.rest.asgi import Part, make_api
from kizy.orchestrator.server.rest.header_timeout import HeadInTime
from kizy.orchestrator.server.rest.running import ApiServer, listen_on, url_of
from kizy.orchestrator.settings import ServeSettings, Settings
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tests.fakes.service import FakeService
from tests.fakes.serving import serving, serving_app

WAIT = 20.0


def test_a_port_that_is_taken_is_told() -> None:
    with listen_on("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(InputError) as refused:
            listen_on("127.0.0.1", taken.getsockname()[1])
    assert refused.value.code == "address_unusable"


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(InputError) as refused:
        listen_on("nobody.invalid", 0)
    assert refused.value.code == "address_unusable"


def test_small_answers_are_sent_at_once() -> None:
    # asyncio switches Nagle's algorithm off on sockets that name their protocol.
    with listen_on("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_the_address_that_is_told_is_the_one_to_call(host: str) -> None:
    try:
        listening = listen_on(host, 0)
    except InputError:
        pytest.skip("this machine has no IPv6")
    with listening:
        port = listening.getsockname()[1]
        shown = f"[{host.strip('[]')}]" if ":" in host else host
        assert url_of(listening, host) == f"http://{shown}:{port}"


def test_connections_are_used_again(fake: FakeService) -> None:
    with serving(fake) as url, requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{url}/healthz", timeout=WAIT).status_code == 200


def test_a_connection_that_does_not_say_what_it_wants_is_closed(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeadInTime, "patience", 0.05)
    with serving(fake) as url:
        parts = urlsplit(url)
        where = (str(parts.hostname), parts.port or 0)
        whole = f"GET /healthz HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        for before in (b"", whole):
            for said in (b"G", whole[:-1]):
                with socket.create_connection(where, WAIT) as connection:
                    if before:
                        connection.sendall(before)
                        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
                    connection.sendall(said)
                    while connection.recv(4096):
                        pass


def test_an_answer_may_take_its_time(
    held: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(HeadInTime, "patience", 0.02)
    job = held.generate(_wish()).id
    with serving(held) as url:
        events = f"{url}/v1/jobs/{job}/events"
        with requests.get(events, stream=True, timeout=WAIT) as stream:
            lines = stream.iter_lines()
            assert b"event: state" in (next(lines) for _ in range(5))
            ending = threading.Timer(0.1, held.finish, [job])
            ending.start()
            assert b"event: end" in list(lines)


def test_the_end_is_told_and_open_streams_end_with_it(held: FakeService) -> None:
    job = held.generate(_wish()).id
    app = make_api(held)
    begun, ended = threading.Event(), threading.Event()
    server = ApiServer(app, begun=begun.set, end=ended.set)
    with listen_on("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        assert begun.wait(WAIT)
        url = f"{url_of(listening, '127.0.0.1')}/v1/jobs/{job}/events"
        with requests.get(url, stream=True, timeout=WAIT) as stream:
            lines = stream.iter_lines()
            assert b"event: state" in (next(lines) for _ in range(5))
            server.should_exit = True
            assert b"event: end" not in list(lines)
        thread.join(WAIT)
    assert not thread.is_alive()
    assert ended.is_set()


def _wish() -> Any:
    from kizy.core.request import GenerationRequest

    return GenerationRequest(prompt="a fox")


@pytest.fixture
def running() -> list[str]:
    """What the other part of the server did."""
    return []


@pytest.fixture
def part(running: list[str]) -> Part:
    @asynccontextmanager
    async def as_long() -> AsyncIterator[None]:
        running.append("begun")
        yield
        running.append("ended")

    class Other:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            body = (await receive()).get("body", b"")
            who = scope["state"]["who"]
            await PlainTextResponse(f"{who.name} {len(body)}")(scope, receive, send)

    return Part("/other", Other(), as_long, 5_000_000)


def test_another_part_runs_as_long_as_the_server(
    fake: FakeService, part: Part, running: list[str]
) -> None:
    with serving_app(make_api(fake, parts=[part])) as url:
        assert running == ["begun"]
        assert requests.post(f"{url}/other", data=b"x", timeout=WAIT).text == "None 1"
    assert running == ["begun", "ended"]


def test_another_part_has_the_servers_keys_and_its_own_limit(
    fake: FakeService, part: Part, keys: KeyStore
) -> None:
    settings = Settings(serve=ServeSettings(host="0.0.0.0"))
    client = TestClient(make_api(fake, settings, keys, parts=[part]))
    assert client.post("/other", content=b"x").json()["code"] == "key_missing"
    headers = {"Authorization": f"Bearer {keys.add('anna')[1]}"}
    assert client.post("/other", content=bytes(4_500_000), headers=headers).status_code == 200
    assert client.post("/other", content=bytes(5_500_000), headers=headers).status_code == 413
