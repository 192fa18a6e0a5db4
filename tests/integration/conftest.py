"""A real ComfyUI for the tests that need one, with Kizy's folder as one of its custom nodes.

| variable | what it names |
|---|---|
| KIZY_TEST_COMFYUI | ComfyUI's folder; without it these tests are skipped |
| KIZY_TEST_COMFYUI_PYTHON | the interpreter that has what ComfyUI needs; else the tests' own |
| KIZY_TEST_COMFYUI_PATH | folders in front of that interpreter's own, as in PYTHONPATH |

It runs on the CPU, listens on 127.0.0.1 alone and keeps all files in a throw-away base directory.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

# Read now: no test sees variables that begin with KIZY_.
FOLDER = os.environ.get("KIZY_TEST_COMFYUI")
PYTHON = os.environ.get("KIZY_TEST_COMFYUI_PYTHON", sys.executable)
PYTHON_PATH = os.environ.get("KIZY_TEST_COMFYUI_PATH")

START_SECONDS = 300.0
JOB_SECONDS = 300.0
POLL_SECONDS = 0.05

_NOWHERE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
_NOT_AT_THE_ROOT = frozenset({"build", "dist", "tests", "benchmarks", "docs", "runs"})


def _left_out(pack: Path) -> Callable[[str, list[str]], set[str]]:
    """What is not part of an installed pack: of its own folders only those at its root."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        found = set(_NOWHERE(folder, names))
        return found | (_NOT_AT_THE_ROOT & set(names) if Path(folder) == pack else set())

    return left_out


class ComfyUIError(AssertionError):
    """ComfyUI did not start, or a graph failed there."""


@dataclass(frozen=True)
class RunningComfyUI:
    """A started server. Files put below `base` / "models" or "input" are seen at once."""

    url: str
    base: Path
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    def kill(self) -> None:
        """End it as a crash does."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def start_again(self) -> None:
        """After `kill`: at the same address, with the same files."""
        self.processes.append(_start(self.url, self.base, self.log))

    def get(self, path: str, **params: str) -> requests.Response:
        """GET; raises for an error status."""
        answer = requests.get(f"{self.url}{path}", params=params, timeout=60)
        answer.raise_for_status()
        return answer

    def put_model(self, kind: str, file: Path) -> str:
        """Copy a file into `models/<kind>`; gives its name there."""
        folder = self.base / "models" / kind
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.name)
        return file.name

    def put_input(self, picture: Image.Image, name: str) -> str:
        """Save a picture where LoadImage finds it; gives its name there."""
        picture.save(self.base / "input" / name)
        return name

    def run(self, graph: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Run an API-format graph to its end: the outputs of its nodes, from /history."""
        answer = requests.post(f"{self.url}/prompt", json={"prompt": graph}, timeout=60)
        if answer.status_code != 200:
            raise ComfyUIError(answer.text)
        prompt = answer.json()["prompt_id"]
        end = time.monotonic() + JOB_SECONDS
        while time.monotonic() < end:
            found = self.get(f"/history/{prompt}").json().get(prompt)
            if found is not None and found["status"]["completed"]:
                return found["outputs"]
            if found is not None and found["status"]["status_str"] == "error":
                raise ComfyUIError(str(found["status"]["messages"][-1]))
            time.sleep(POLL_SECONDS)
        raise ComfyUIError(f"{prompt} is not done after {JOB_SECONDS} seconds")

    def pictures(self, graph: Mapping[str, Mapping[str, Any]]) -> list[Image.Image]:
        """The pictures that a graph saves, in the order of its nodes."""
        files = [file for out in self.run(graph).values() for file in out.get("images", ())]
        found = []
        for file in files:
            names = {name: file[name] for name in ("filename", "subfolder", "type")}
            found.append(Image.open(BytesIO(self.get("/view", **names).content)).convert("RGB"))
        return found


@pytest.fixture(scope="session")
def comfyui_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's base directory with the pack in it. What has to lie there before the start:
    a session fixture that takes this one, used before `comfyui`."""
    if FOLDER is None:
        pytest.skip("KIZY_TEST_COMFYUI names no folder of a ComfyUI")
    import kizy

    assert kizy.__file__ is not None
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("input", "models/checkpoints", "models/loras", "custom_nodes"):
        (base / name).mkdir(parents=True)
    pack = Path(kizy.__file__).resolve().parent
    shutil.copytree(pack, base / "custom_nodes" / "ComfyUI-Kizy", ignore=_left_out(pack))
    return base


@pytest.fixture(scope="session")
def comfyui(comfyui_base: Path) -> Iterator[RunningComfyUI]:
    """A ComfyUI that runs until the last test is done."""
    with start_comfyui(comfyui_base) as running:
        yield running


@contextmanager
def start_comfyui(base: Path) -> Iterator[RunningComfyUI]:
    """Start ComfyUI in that base directory on a free port; end it at the end."""
    url, log = f"http://127.0.0.1:{_free_port()}", base / "comfyui.log"
    running = RunningComfyUI(url, base, log, [_start(url, base, log)])
    try:
        yield running
    finally:
        _end(running.processes[-1])


def _start(url: str, base: Path, log: Path) -> subprocess.Popen[bytes]:
    """ComfyUI's process, once it answers."""
    hidden = ("KIZY_", "PYTEST_", "PYTHONPATH")
    environment = {key: v for key, v in os.environ.items() if not key.startswith(hidden)}
    environment["KIZY_HOME"] = str(base / "kizy")
    # What trains for the Train node, where ComfyUI's own interpreter lacks something.
    environment["KIZY_PYTHON"] = sys.executable
    if PYTHON_PATH is not None:
        environment["PYTHONPATH"] = PYTHON_PATH
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                PYTHON,
                "main.py",
                *("--cpu", "--listen", "127.0.0.1", "--port", url.rpartition(":")[2]),
                *("--base-directory", str(base)),
                *("--database-url", "sqlite:///:memory:"),
                *("--preview-method", "latent2rgb"),
            ],
            cwd=FOLDER,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(url, process, log)
    except BaseException:
        _end(process)
        raise
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if requests.get(f"{url}/system_stats", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(POLL_SECONDS)
    raise ComfyUIError(f"ComfyUI did not start:\n{log.read_text(errors='replace')[-3000:]}")
