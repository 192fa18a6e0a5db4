"""`kizy servers` and `kizy comfy`, with a stand-in for ComfyUI's main.py."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.launcher.installation import find_installation
from kizy.orchestrator.backends.comfyui.launcher.process import ComfyProcess, Launch, Waits
from kizy.orchestrator.cli import servers as page
from kizy.orchestrator.cli.comfy import grown
from kizy.orchestrator.cli.failures import exit_status_of
from kizy.orchestrator.cli.main import app

STANDIN = Path(__file__).parents[2] / "fakes" / "standin_comfyui"
QUICK = Waits(ready=20.0, answer=2.0, poll=0.01, end=5.0, look=0.01)


@dataclass
class Outcome:
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    # Else torch would be asked for GPUs.
    monkeypatch.setenv("KIZY_COMFYUI__GPUS", "none")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*arguments: object) -> Outcome:
        words = [str(argument) for argument in arguments]
        status = exit_status_of(lambda: app(words, standalone_mode=False), words)
        return Outcome(status, *capsys.readouterr())

    return called


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STANDIN, tmp_path / "ComfyUI"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def somebodys(folder: Path, kizy_home: Path) -> Iterator[str]:
    """The address of a ComfyUI that somebody else runs."""
    launch = Launch(find_installation(folder), kizy_home / "elsewhere", free_port(), "cpu")
    started = ComfyProcess.start(launch)
    try:
        started.wait_ready(QUICK)
        yield launch.address.url
    finally:
        started.stop(QUICK)


def set_servers(home: Path, *urls: str) -> None:
    tables = (f'[[servers]]\nname = "s{i}"\nurl = "{url}"\n' for i, url in enumerate(urls))
    (home / "kizy.toml").write_text("".join(tables))


def test_a_server_is_shown_with_what_it_has(run: Run, kizy_home: Path, somebodys: str) -> None:
    set_servers(kizy_home, somebodys)
    shown = run("servers")
    assert shown.status == 0
    assert all(word in shown.out for word in ("s0", somebodys, "0.3.64", "cpu", "yes"))


def test_a_server_is_told_as_json(run: Run, kizy_home: Path, somebodys: str) -> None:
    set_servers(kizy_home, somebodys)
    [server] = json.loads(run("servers", "--json").out)["servers"]
    assert server == {
        "name": "s0",
        "url": somebodys,
        "started_by_kizy": False,
        "reachable": True,
        "problem": None,
        "fix": None,
        "version": "0.3.64",
        "devices": [{"name": "cpu", "memory": 2, "free": 1}],
        "queue": 0,
        "kizy_pack": True,
        "families": ["starter"],
    }


def test_a_server_that_does_not_answer_is_told_with_the_reason(run: Run, kizy_home: Path) -> None:
    set_servers(kizy_home, f"http://127.0.0.1:{free_port()}")
    shown = run("servers")
    assert shown.status == 0
    assert "not reached" in shown.out and "Nothing answers" in shown.out
    [server] = json.loads(run("servers", "--json").out)["servers"]
    assert server["reachable"] is False and server["problem"] and server["fix"]


def test_the_families_that_a_server_draws_are_shown_where_they_are_known(
    capsys: pytest.CaptureFixture[str], kizy_home: Path, somebodys: str
) -> None:
    set_servers(kizy_home, somebodys)
    page.servers(as_json=False, families_of=lambda address: ["starter", "sdxl"])
    assert "starter, sdxl" in capsys.readouterr().out


def test_a_server_whose_families_cannot_be_asked_is_still_shown(
    capsys: pytest.CaptureFixture[str], kizy_home: Path, somebodys: str
) -> None:
    def fail(address: object) -> list[str]:
        raise EngineError("server_failed", "Its nodes cannot be read.")

    set_servers(kizy_home, somebodys)
    page.servers(as_json=False, families_of=fail)
    out = capsys.readouterr().out
    assert "Its nodes cannot be read." in out and "0.3.64" in out


def test_wrong_settings_are_told(run: Run, kizy_home: Path) -> None:
    (kizy_home / "kizy.toml").write_text("servers = 3\n")
    refused = run("servers", "--json")
    assert refused.status == 2
    assert json.loads(refused.out)["error"]["code"] == "settings_invalid"


def test_a_server_is_started_shown_and_stopped(run: Run, folder: Path) -> None:
    port = free_port()
    started = run("comfy", "start", "--folder", folder, "--port", port)
    try:
        assert started.status == 0, started.err
        url = started.out.strip()
        assert "is ready" in started.err
        state = json.loads(run("comfy", "status", "--json").out)
        assert state["running"] is True
        assert [(x["url"], x["state"]) for x in state["servers"]] == [(url, "ready")]
        assert url in run("comfy", "status").out
        [server] = json.loads(run("servers", "--json").out)["servers"]
        assert (server["url"], server["started_by_kizy"]) == (url, True)
        assert "Starting server" in run("comfy", "logs").out
    finally:
        stopped = run("comfy", "stop")
    assert (stopped.status, stopped.out) == (0, "")
    assert json.loads(run("comfy", "status", "--json").out)["running"] is False


def test_a_start_without_a_folder_says_how(run: Run) -> None:
    refused = run("comfy", "start")
    assert refused.status == 2
    assert "comfyui_folder_invalid" in refused.err and "--folder" in refused.err


def test_a_start_that_fails_is_told_and_kept_for_the_status(run: Run, folder: Path) -> None:
    (folder / "behaviour.json").write_text('{"dies": "no such device"}')
    failed = run("comfy", "start", "--folder", folder, "--port", free_port())
    assert failed.status == 1
    assert "no such device" in failed.err and "comfyui_not_started" in failed.err
    assert "no such device" in run("comfy", "status").out
    assert "no such device" in run("comfy", "logs").out


def test_with_nothing_running_all_says_so(run: Run) -> None:
    assert run("comfy", "stop").status == 0
    assert "No ComfyUI" in run("comfy", "status").out
    assert json.loads(run("comfy", "status", "--json").out) == {
        "running": False,
        "folder": None,
        "version": None,
        "servers": [],
        "error": None,
    }
    refused = run("comfy", "logs")
    assert refused.status == 2 and "file_missing" in refused.err


def test_a_log_is_followed_as_it_grows_and_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("old\n")
    changes = iter(["old\n", "old\nnew\n", "0\n"])
    lines = grown(log, wait=lambda seconds: log.write_text(next(changes)))
    assert [next(lines), next(lines)] == ["new\n", "0\n"]


def test_the_commands_are_listed(run: Run) -> None:
    assert all(word in run("comfy", "--help").out for word in ("start", "stop", "status", "logs"))
