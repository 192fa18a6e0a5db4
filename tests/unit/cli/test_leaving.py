"""Ctrl-C twice: what computes hears nothing of the first, and the second leaves all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WAIT = 60.0
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

LOADING = """
import signal, sys, threading
from pathlib import Path
from rich.console import Console
from kizy.core.files import replacing
from kizy.core.job import ProgressEvent
from kizy.orchestrator.backends.base import Handle
from kizy.orchestrator.cli import draw
from kizy.orchestrator.cli.outcome import View
from kizy.orchestrator.settings import Settings

class Loading:
    def __init__(self, **how):
        pass

    def close(self):
        threading.Event().wait(60)

    # A model loads: its thread hears of nothing, and has a file under way.
    def load(self):
        with replacing(Path(sys.argv[1]) / "picture.png") as temporary:
            temporary.write_bytes(b"half")
            self.written.set()
            threading.Event().wait(60)

    def follow(self, handle):
        yield ProgressEvent(job_id="a", fraction=0.1, doing="loading", left=None)
        if not hasattr(self, "written"):
            self.written = threading.Event()
            threading.Thread(target=self.load, daemon=True).start()
            self.written.wait(60)
            print("loading", flush=True)
        threading.Event().wait(60)

    def cancel(self, handle):
        print("asked", flush=True)
        if sys.argv[2] == "hangs":
            threading.Event().wait(60)

# As at a terminal: what is started in the background may have Ctrl-C turned off.
signal.signal(signal.SIGINT, signal.default_int_handler)
draw.App = Loading
view = View(out=None, as_json=True, open_them=False, debug=False)
with draw._app(view, Settings()) as app:
    draw._follow(app, Handle("a"), Console(stderr=True))
"""

SERVING = """
import os, threading
from pathlib import Path
from kizy.orchestrator.server.rest.running import ApiServer, listen_on
from kizy.orchestrator.server.rest.asgi import make_api
from tests.fakes.service import FakeService

def end():
    print("ending", flush=True)
    threading.Event().wait(60)

listening = listen_on("127.0.0.1", 0)
app = make_api(FakeService(Path(os.environ["KIZY_HOME"])))
ApiServer(app, begun=lambda: print("serves", flush=True), end=end).run(sockets=[listening])
"""


def told_twice(
    command: list[str], number: signal.Signals, begun: str, asked: str, home: Path
) -> tuple[int, str, str]:
    """Exit status, last stdout and stderr of a process that is told at each of these lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", *command],
        cwd=ROOT,
        env={**os.environ, "KIZY_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        # The process ends by itself after a minute: no line is waited for without an end.
        assert process.stdout.readline() == f"{begun}\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{asked}\n"
        process.send_signal(number)
        rest, errors = process.communicate(timeout=WAIT)
    finally:
        process.kill()
        process.wait()
    return process.returncode, rest, errors


@pytest.mark.parametrize("cancel", ["returns", "hangs"])
def test_a_second_ctrl_c_leaves_while_a_model_loads(tmp_path: Path, cancel: str) -> None:
    folder = tmp_path / "pictures"
    command = [LOADING, str(folder), cancel]
    status, rest, errors = told_twice(command, signal.SIGINT, "loading", "asked", tmp_path)
    assert status == 130
    assert "Ctrl-C again leaves at once" in errors and "Left at once" in errors
    assert json.loads(rest)["error"]["code"] == "cancelled"
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_a_second_signal_ends_a_server_that_cannot_end_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    status, _, errors = told_twice([SERVING], number, "serves", "ending", tmp_path)
    assert status == 128 + number
    assert "Traceback" not in errors
