"""Over stdin and stdout, with the SDK's own client and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).parents[3]
LIMIT = 60.0


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., StdioServerParameters]:
    """program(*options): a fake service's tools in a process of their own."""

    def program(*options: str) -> StdioServerParameters:
        arguments = ["-m", "tests.fakes.mcp_stdio", str(tmp_path / "store"), *options]
        path = os.pathsep.join([str(ROOT), *sys.path])
        environment = {"PYTHONPATH": path, "KIZY_HOME": str(tmp_path)}
        return StdioServerParameters(
            command=sys.executable, args=arguments, env=environment, cwd=ROOT
        )

    return program


def test_a_drawing_comes_over_stdio(program: Any, told: Any, mode: str, conversed: Any) -> None:
    async def conversation(client: Client) -> None:
        listed = await client.list_tools()
        assert "generate" in [tool.name for tool in listed.tools]
        answer = await conversed(client, "generate", told, prompt="a fox", size="96x64")
        assert [picture.size for picture in answer.pictures] == [(96, 64)]
        # What the program printed meanwhile went elsewhere.
        assert not (await conversed(client, "explain_plan", prompt="a fox")).failed

    _have(program(), mode, conversation)
    assert told.done[-1] == 1.0


def test_a_long_drawing_over_stdio_gives_its_id_and_is_cancelled(
    program: Any, mode: str, conversed: Any
) -> None:
    async def conversation(client: Client) -> None:
        begun = await conversed(client, "generate", prompt="a fox")
        assert begun.facts["state"] == "queued"
        stopped = await conversed(client, "cancel_job", job_id=begun.facts["job_id"])
        assert stopped.data["state"] == "cancelled"

    _have(program("--held"), mode, conversation)


def test_cancelling_the_call_over_stdio_cancels_its_job(program: Any, conversed: Any) -> None:
    async def conversation(client: Client) -> None:
        begun = await conversed(client, "generate", prompt="a dog", wait=False)
        with anyio.move_on_after(0.1):
            await client.call_tool("generate", {"prompt": "a fox"})
        with anyio.fail_after(LIMIT):
            while True:
                titles = [one.title for one in (await client.list_resources()).resources]
                if titles[0] == "cancelled: a fox":
                    break
                await anyio.sleep(0.01)
        assert begun.facts["state"] == "queued"

    _have(program("--held"), "legacy", conversation)


def test_nothing_but_the_protocol_is_on_stdout_and_it_ends_with_stdin(program: Any) -> None:
    started = program()
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "a test", "version": "1"},
    }
    call = {"name": "explain_plan", "arguments": {"prompt": "a fox"}}
    messages = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]
    process = _started(started)
    assert process.stdin is not None
    assert process.stdout is not None
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
    answers = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [answer["id"] for answer in answers] == [1, 2]
    rest, errors = process.communicate(timeout=LIMIT)
    assert (rest, process.returncode) == ("", 0)
    assert "This is no message of the protocol." in errors


def test_half_an_emoji_is_answered(program: Any) -> None:
    process = _started(program())
    assert process.stdin is not None
    assert process.stdout is not None
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "a test", "version": "1"},
    }
    call = {"name": "explain_plan", "arguments": {"prompt": "a fox \ud83e"}}
    for number, (method, params) in enumerate((("initialize", hello), ("tools/call", call))):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
    assert answer["id"] == 1
    assert "a fox \ufffd" in json.dumps(answer["result"], ensure_ascii=False)
    process.communicate(timeout=LIMIT)


def test_it_ends_in_silence_with_a_client_that_died(program: Any) -> None:
    process = _started(program())
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n' * 2)
    process.stdin.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(LIMIT) == 0
    process.stderr.close()


def _started(program: StdioServerParameters) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program.command, *program.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(program.env or {})},
        cwd=program.cwd,
        text=True,
    )


def _have(program: StdioServerParameters, mode: str, conversation: Any) -> None:
    async def have() -> None:
        with anyio.fail_after(LIMIT):
            async with Client(program, mode=mode) as client:
                await conversation(client)

    anyio.run(have)
