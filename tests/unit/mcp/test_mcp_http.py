"""Over streamable HTTP on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
import requests
from kizy.core.surrogates import whole
from kizy.orchestrator.server.mcp.over_http import LOCAL, MAX_BODY, make_http_app, standalone
from kizy.orchestrator.server.mcp.protocol_server import Terms
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client

HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "a test", "version": "1"},
    },
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
LIMIT = 30.0
Serving = Callable[..., str]


@pytest.fixture
def serving(served: Any) -> Serving:
    """serving(service, terms, security): an address; X-Owner says who asks."""

    def serving(service: Any, terms: Terms | None = None, security: Any = None) -> str:
        app = make_http_app(
            lambda scope: service.seen_by(owner(scope)),
            terms or Terms(owner=owner),
            security=security,
        )
        return f"{served(standalone(app))}/mcp"

    return serving


def owner(scope: Any) -> str | None:
    """What a server's key would have told."""
    return next((v.decode() for k, v in scope["headers"] if k == b"x-owner"), None)


@asynccontextmanager
async def connected(url: str, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=LIMIT) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def test_a_drawing_comes_over_http_with_its_progress(
    serving: Serving, service: Any, told: Any, mode: str, conversed: Any
) -> None:
    url = serving(service)

    async def have() -> None:
        async with connected(url, mode) as client:
            assert len((await client.list_tools()).tools) == 8
            answer = await conversed(client, "generate", told, prompt="a fox", count=4)
            assert len(answer.pictures) == 4

    anyio.run(have)
    assert told.done[-1] == 1.0


def test_a_long_drawing_over_http_gives_its_id_and_job_status_ends_it(
    serving: Serving, held: Any, mode: str, conversed: Any
) -> None:
    url = serving(held, Terms(patience=0.05))

    async def have() -> None:
        async with connected(url, mode) as client:
            begun = await conversed(client, "generate", prompt="a fox")
            held.finish(begun.facts["job_id"])
            done = await conversed(client, "job_status", job_id=begun.facts["job_id"])
            assert len(done.pictures) == 1

    anyio.run(have)


def test_cancelling_the_call_over_http_cancels_its_job(
    serving: Serving, held: Any, mode: str
) -> None:
    url = serving(held)

    async def have() -> None:
        async with connected(url, mode) as client:
            with anyio.fail_after(LIMIT):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.call_tool, "generate", {"prompt": "a fox"})
                    while not held.jobs().jobs:
                        await anyio.sleep(0.005)
                    tasks.cancel_scope.cancel()
                while held.jobs().jobs[0].state != "cancelled":
                    await anyio.sleep(0.005)

    anyio.run(have)


def test_a_server_that_stops_leaves_the_jobs_of_its_calls(
    serving_at: Any, held: Any, mode: str
) -> None:
    app = standalone(make_http_app(lambda _scope: held, Terms(stopping=lambda: held.stopping)))

    async def ask(url: str) -> None:
        async with connected(url, mode) as client:
            await client.call_tool("generate", {"prompt": "a fox"})

    def asking(url: str) -> None:
        # The connection breaks off: how that ends is the client's own matter.
        try:
            anyio.run(ask, url)
        except BaseException:
            return

    with serving_at(app) as address:
        client = threading.Thread(target=asking, args=(f"{address}/mcp",), daemon=True)
        client.start()
        until = time.monotonic() + LIMIT
        while not held.jobs().jobs and time.monotonic() < until:
            time.sleep(0.005)
        # As `kizy serve` does before it lets go of its connections.
        held.close()
    client.join(LIMIT)
    assert held.jobs().jobs[0].state == "queued"


def test_each_owner_has_jobs_of_their_own(
    serving: Serving, service: Any, mode: str, conversed: Any
) -> None:
    url = serving(service)

    async def have() -> None:
        async with connected(url, mode, **{"X-Owner": "ada"}) as ada:
            drawn = await conversed(ada, "generate", prompt="a fox")
        async with connected(url, mode, **{"X-Owner": "ben"}) as ben:
            seen = await conversed(ben, "job_status", job_id=drawn.facts["job_id"])
            taken = await conversed(
                ben, "edit", picture=drawn.facts["files"][0]["id"], prompt="a dog"
            )
        assert (seen.code, taken.code) == ("job_unknown", "upload_unknown")

    anyio.run(have)
    assert service.jobs().jobs[0].owner == "ada"


def test_nobody_speaks_in_anothers_session(serving: Serving, service: Any) -> None:
    url = serving(service)
    opened = requests.post(url, json=HELLO, headers={**HEADERS, "X-Owner": "ada"}, timeout=LIMIT)
    session = {**HEADERS, "Mcp-Session-Id": opened.headers["mcp-session-id"]}
    status = {
        name: requests.post(
            url, json=LIST, headers={**session, "X-Owner": name}, timeout=LIMIT
        ).status_code
        for name in ("ada", "ben")
    }
    assert status == {"ada": 200, "ben": 404}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_web_pages_of_others_are_refused_on_loopback(
    serving: Serving, service: Any, headers: dict[str, str], status: int
) -> None:
    url = serving(service, security=LOCAL)
    answer = requests.post(url, json=HELLO, headers={**HEADERS, **headers}, timeout=LIMIT)
    assert answer.status_code == status


def test_half_an_emoji_is_answered_over_http(serving: Serving, service: Any) -> None:
    url = serving(service)
    headers = {**HEADERS, "Content-Type": "application/json"}
    opened = requests.post(url, json=HELLO, headers=headers, timeout=LIMIT)
    headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
    call = {"name": "explain_plan", "arguments": {"prompt": "a fox \ud83e"}}
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call}
    answer = requests.post(url, data=json.dumps(body), headers=headers, timeout=LIMIT)
    assert answer.status_code == 200
    assert "a fox \ufffd" in answer.content.decode()


def test_what_comes_back_is_made_of_whole_characters() -> None:
    result = types.CallToolResult(
        content=[types.TextContent(text="caf\udce9")], structured_content={"a": ["\ud83e"]}
    )
    assert whole(result).model_dump_json(by_alias=True)
    assert whole(result).structured_content == {"a": ["\ufffd"]}


def test_a_slash_behind_the_address_is_no_matter(serving: Serving, service: Any) -> None:
    url = serving(service)
    answer = requests.post(f"{url}/", json=HELLO, headers=HEADERS, timeout=LIMIT)
    assert answer.status_code == 200


def test_a_message_over_the_limit_is_refused_unread(serving: Serving, service: Any) -> None:
    url = serving(service)
    headers = {**HEADERS, "Content-Type": "application/json", "Content-Length": str(MAX_BODY + 1)}
    with requests.Session() as session:
        request = requests.Request("POST", url, headers=headers, data=b"{}").prepare()
        request.headers["Content-Length"] = str(MAX_BODY + 1)
        assert session.send(request, timeout=LIMIT).status_code == 413


def test_a_picture_in_a_message_over_http_is_begun_with(
    serving: Serving, service: Any, picture: Any, as_url: Any, conversed: Any
) -> None:
    url = serving(service)

    async def have() -> None:
        async with connected(url) as client:
            answer = await conversed(client, "edit", picture=as_url(picture()), prompt="a fox")
            assert not answer.failed, answer.text
            answer = await conversed(client, "edit", picture="/etc/passwd", prompt="a fox")
            assert answer.code == "path_refused"

    anyio.run(have)
