"""A folder that looks like ComfyUI: real processes, with a stand-in for its main.py."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kizy.orchestrator.backends.comfyui.launcher import server_records as records
from kizy.orchestrator.backends.comfyui.launcher.installation import find_installation
from kizy.orchestrator.backends.comfyui.launcher.managed_servers import Options
from kizy.orchestrator.backends.comfyui.launcher.process import Launch, Waits
from kizy.orchestrator.backends.comfyui.launcher.restart_rule import Rules

STANDIN = Path(__file__).with_name("standin_comfyui")
QUICK = Waits(ready=20.0, answer=2.0, poll=0.01, end=5.0, look=0.01, say=0.0)
SOON = Rules(hangs=0.0, silent_looks=1, ready=20.0, limit=2, first_pause=0.0)
LIMIT = 20.0


class Standin:
    """A folder that looks like ComfyUI; how it behaves can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(shutil.copytree(STANDIN, folder))

    def behave(self, **how: Any) -> None:
        temporary = self.folder / "behaviour.new"
        temporary.write_text(json.dumps(how))
        temporary.replace(self.folder / "behaviour.json")

    def options(self, **changes: Any) -> Options:
        values = {"folder": self.folder, "gpus": "none", "port": free_port()}
        return Options.model_validate(values | changes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(true: Callable[[], object]) -> None:
    """Wait for it, milliseconds as a rule."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def pid_of(server: int = 0) -> int:
    fleet = records.read_fleet()
    assert fleet is not None
    found = fleet.servers[server].process
    assert found is not None
    return found.pid


def launch(comfyui: Standin, **changes: Any) -> Launch:
    """How that folder's ComfyUI is started."""
    values: dict[str, Any] = {"port": free_port(), "device": "cpu"} | changes
    found = find_installation(comfyui.folder)
    return Launch(installation=found, home=records.comfyui_home(), **values)
