"""`kizy serve` as a process: it says where it listens, serves, and ends well."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

WAIT = 60.0
CODE = "from kizy.orchestrator.cli.main import main; main()"


@pytest.fixture
def server(kizy_home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(the process, the one line that it said)."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "serve", "--port", "0"],
        cwd=kizy_home,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_serves_and_ends_well(
    server: tuple[subprocess.Popen[str], str], number: int
) -> None:
    process, said = server
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found is not None, said
    assert "curl" in said
    url = found[0]
    assert requests.get(f"{url}/readyz", timeout=WAIT).json() == {"status": "ok"}
    assert requests.get(f"{url}/v1/models", timeout=WAIT).json()["data"][0]["id"] == "starter"
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-03-26",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    mcp = requests.post(f"{url}/mcp", json=hello, headers=accept, timeout=WAIT)
    assert mcp.status_code == 200
    assert "Kizy" in mcp.text
    asked = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT)
    assert (process.returncode, out, err) == (0, "", "")
    assert time.monotonic() - asked < 10


def test_a_second_server_on_the_same_database_is_refused(
    server: tuple[subprocess.Popen[str], str], kizy_home: Path
) -> None:
    again = subprocess.run(
        [sys.executable, "-c", CODE, "serve", "--port", "0"],
        cwd=kizy_home,
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    assert (again.returncode, "server_runs_already" in again.stderr) == (2, True)
