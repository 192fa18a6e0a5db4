"""`kizy mcp` as clients start it, and MCP beside `kizy serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import requests
from kizy.orchestrator.cli import serve
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.server.rest.signed_links import FileLinks
from kizy.orchestrator.settings import Settings
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

LIMIT = 90.0
MAIN = "from kizy.orchestrator.cli.main import main; main()"


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., StdioServerParameters]:
    """command(*options, **environment): `kizy mcp`."""

    def command(*options: str, **environment: str) -> StdioServerParameters:
        names = ("KIZY_HOME", "KIZY_ENGINE", "KIZY_LORAS__BACKGROUND")
        kept = {name: os.environ[name] for name in names}
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        return StdioServerParameters(
            command=sys.executable,
            args=["-c", MAIN, "mcp", *options],
            env={**path, **kept, **environment},
            cwd=tmp_path,
        )

    return command


@dataclass
class Key:
    """What a server knows about a key."""

    name: str
    admin: bool = False


class Keys:
    """The keys of a server: each is its owner's name."""

    def find(self, key: str) -> Any:
        name = key.removeprefix("kizy_")
        return Key(name) if name in ("ada", "ben") else None


@pytest.fixture
def rest(served: Any, service: Any) -> str:
    """A Kizy server with a fake queue and the keys "kizy_ada" and "kizy_ben"; its address."""
    links = FileLinks()
    parts = [serve._mcp(service, links)]
    return served(make_api(service, Settings(), Keys(), parts=parts, links=links))


def test_in_process_it_answers_and_opens_no_file_of_others(
    command: Any, conversed: Any, kizy_home: Path, picture: Any
) -> None:
    pictures = kizy_home / "pictures"
    pictures.mkdir()
    (pictures / "secret.png").write_text("no picture")

    async def conversation(client: Client) -> None:
        assert str(pictures) in (client.instructions or "")
        assert "Jobs end when this client does" in (client.instructions or "")
        found = await conversed(client, "find_loras")
        assert found.data == {"loras": [], "more": 0}
        for path, code in (
            ("/etc/passwd", "path_refused"),
            (str(pictures / "secret.png"), "picture_unreadable"),
            (str(kizy_home / "kizy.toml"), "path_refused"),
        ):
            answer = await conversed(client, "edit", picture=path, prompt="a fox")
            assert answer.code == code, answer.text
        unknown = await conversed(client, "job_status", job_id="nobodys")
        assert unknown.code == "job_unknown"

    _have(command(), conversation)


def test_with_a_server_pictures_are_drawn_there_and_saved_here(
    command: Any, conversed: Any, kizy_home: Path, folder: Path, rest: str, picture: Any, told: Any
) -> None:
    (folder / "cat.png").write_bytes(picture())

    async def conversation(client: Client) -> None:
        assert "Jobs end" not in (client.instructions or "")
        answer = await conversed(client, "generate", told, prompt="a red fox", size="96x64")
        assert [one.size for one in answer.pictures] == [(96, 64)]
        saved = list((kizy_home / "shown").glob("*-a-red-fox-*.png"))
        assert [str(path) for path in saved] == [answer.facts["files"][0]["link"]]
        edited = await conversed(
            client, "edit", picture=str(folder / "cat.png"), prompt="a cat", wait=False
        )
        assert not edited.failed, edited.text

    options = ("--allow", str(folder))
    settings = {
        "KIZY_SERVER": rest,
        "KIZY_SERVER_KEY": "kizy_ada",
        "KIZY_PICTURES": str(kizy_home / "shown"),
    }
    _have(command(*options, **settings), conversation)
    assert told.done[-1] == 1.0


def test_a_server_that_is_away_is_an_error_in_words(command: Any, conversed: Any) -> None:
    async def conversation(client: Client) -> None:
        answer = await conversed(client, "find_loras")
        assert answer.failed
        assert answer.code == "server_unreachable"

    _have(command(KIZY_SERVER="http://127.0.0.1:9"), conversation)


@pytest.mark.parametrize(
    ("options", "code"), [(["--allow", "nowhere"], "path_refused"), (["--port", "x"], "")]
)
def test_what_cannot_be_is_said_on_stderr_alone(
    command: Any, options: list[str], code: str
) -> None:
    finished = _started(command(*options)).communicate(timeout=LIMIT)
    assert finished[0] == ""
    assert code in finished[1]
    assert "Error:" in finished[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_more(command: Any, number: int) -> None:
    process = _started(command())
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
    process.stdin.flush()
    assert '"id":1' in process.stdout.readline()
    process.send_signal(number)
    assert process.wait(LIMIT) == 128 + number
    process.communicate()


def test_over_http_it_serves_this_machine_alone(command: Any, conversed: Any) -> None:
    process = _started(command("--http", "--port", "0"))
    assert process.stderr is not None
    address = process.stderr.readline().removeprefix("MCP: ").strip()
    try:
        assert address.startswith("http://127.0.0.1:")
        evil = requests.post(address, json={}, headers={"Origin": "http://evil"}, timeout=LIMIT)
        assert evil.status_code in (400, 403)

        async def have() -> None:
            async with Client(address) as client:
                refused = await conversed(client, "edit", picture="/etc/passwd", prompt="a fox")
                assert "no files are read" in refused.text

        anyio.run(have)
    finally:
        process.terminate()
        out, errors = process.communicate(timeout=LIMIT)
    assert out == ""
    assert "Traceback" not in errors


def test_beside_the_rest_api_each_key_sees_its_own(rest: str, conversed: Any) -> None:
    url = f"{rest}/mcp"

    async def have() -> None:
        drawn: Any = None
        for name in ("ada", "ben"):
            headers = {"Authorization": f"Bearer kizy_{name}"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=LIMIT) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                if drawn is None:
                    drawn = await conversed(client, "generate", prompt="a fox")
                seen = await conversed(client, "job_status", job_id=drawn.facts["job_id"])
                assert seen.failed is (name == "ben")
        link = drawn.facts["files"][0]["link"]
        assert link.startswith(f"{rest}/v1/artifacts/{drawn.facts['files'][0]['id']}?")
        # As a browser elsewhere would ask, without a key.
        shown = requests.get(link, headers={"X-Forwarded-For": "10.0.0.1"}, timeout=LIMIT)
        assert shown.headers["Content-Type"] == "image/png"

    anyio.run(have)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer kizy_wrong"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"X-Forwarded-For": "10.0.0.1"}, 401),
    ],
)
def test_beside_the_rest_api_the_same_checks_hold(
    rest: str, headers: dict[str, str], status: int
) -> None:
    for path in ("/mcp", "/mcp/"):
        answer = requests.post(f"{rest}{path}", json={}, headers=headers, timeout=LIMIT)
        assert answer.status_code == status


def test_beside_the_rest_api_a_slash_is_no_matter(rest: str) -> None:
    headers = {"Authorization": "Bearer kizy_ada", "Accept": "application/json, text/event-stream"}
    answers = [
        requests.post(f"{rest}{path}", json={"jsonrpc": "2.0"}, headers=headers, timeout=LIMIT)
        for path in ("/mcp", "/mcp/")
    ]
    assert answers[0].status_code == answers[1].status_code != 404


def _started(program: StdioServerParameters) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program.command, *program.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(program.env or {}), "COLUMNS": "200"},
        cwd=program.cwd,
        text=True,
    )


def _have(program: StdioServerParameters, conversation: Any) -> None:
    async def have() -> None:
        with anyio.fail_after(LIMIT):
            async with Client(program) as client:
                await conversation(client)

    anyio.run(have)
