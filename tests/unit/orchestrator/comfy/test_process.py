"""One ComfyUI that Kizy starts: a real process, with a stand-in for its main.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.launcher import pids, process
from kizy.orchestrator.backends.comfyui.launcher.process import (
    ComfyProcess,
    Waits,
    last_lines,
    port_is_free,
)

from tests.fakes.standin import LIMIT, QUICK, Standin, launch, until


@pytest.fixture
def comfyui(tmp_path: Path) -> Standin:
    return Standin(tmp_path / "Comfy UI")


# One process


def test_a_started_comfyui_answers_and_ends(comfyui: Standin) -> None:
    started = ComfyProcess.start(launch(comfyui))
    try:
        started.wait_ready(QUICK)
        assert started.answer(2.0) == "ours"
    finally:
        started.stop(QUICK)
    assert not started.is_running()
    assert port_is_free(started.launch.port)


def test_one_that_does_not_want_to_end_is_made_to(comfyui: Standin) -> None:
    comfyui.behave(stubborn=True)
    started = ComfyProcess.start(launch(comfyui))
    started.wait_ready(QUICK)
    started.stop(Waits(end=0.05, poll=0.01))
    assert not started.is_running()


def test_one_that_dies_is_told_with_its_last_words(comfyui: Standin) -> None:
    comfyui.behave(dies="No module named 'torch'")
    started = ComfyProcess.start(launch(comfyui))
    with pytest.raises(EngineError, match="No module named 'torch'") as caught:
        started.wait_ready(QUICK)
    assert caught.value.code == "comfyui_not_started"
    assert "interpreter" in caught.value.fix


def test_one_that_never_answers_is_given_up_with_its_last_words(comfyui: Standin) -> None:
    comfyui.behave(never=True)
    said: list[str] = []
    started = ComfyProcess.start(launch(comfyui))
    until(lambda: "Starting server" in started.last_lines(3))
    try:
        with pytest.raises(EngineError, match="Starting server"):
            started.wait_ready(Waits(ready=0.05, answer=1.0, poll=0.01, say=0.0), say=said.append)
    finally:
        started.stop(QUICK)
    assert any(line.startswith("Still starting") and "Starting server" in line for line in said)


def test_a_long_log_is_put_aside_at_a_start(
    comfyui: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_LOG", 10)
    comfyui.behave(dies="over")
    how = launch(comfyui)
    how.log.parent.mkdir(parents=True)
    how.log.write_text("of an earlier start\n")
    started = ComfyProcess.start(how)
    until(lambda: not started.is_running())
    assert "earlier" in how.log.with_suffix(".log.old").read_text()
    assert "earlier" not in how.log.read_text() and "over" in how.log.read_text()


def test_the_last_words_are_of_this_start_alone(comfyui: Standin) -> None:
    how = launch(comfyui)
    how.log.parent.mkdir(parents=True)
    how.log.write_text("of an earlier start\n")
    comfyui.behave(dies="over")
    started = ComfyProcess.start(how)
    until(lambda: not started.is_running())
    assert started.last_lines(9)[1:] == ["Starting server", "over"]


def test_of_a_progress_bar_only_the_newest_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"first\n 10%\r 20%\r 30%\r\nlast\n")
    assert last_lines(log, 2) == [" 30%", "last"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "x.log", 5) == []


# Which process is which


def test_a_process_is_itself() -> None:
    assert pids.is_running(pids.identify(os.getpid())) is True


def test_another_process_of_the_same_number_is_not_the_same() -> None:
    assert pids.is_running(pids.ProcessId(os.getpid(), "long ago")) is False


def test_a_process_that_ended_does_not_run_even_if_nobody_has_looked() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    known = pids.identify(child.pid)
    until(lambda: not pids.is_running(known))
    assert child.wait(LIMIT) == 0


def test_a_process_of_which_the_start_is_unknown_is_never_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pids.end(pids.ProcessId(child.pid, None), force=True)
        pids.end(pids.ProcessId(child.pid, "long ago"), force=True)
        assert child.poll() is None
        child.communicate(b"\n", timeout=LIMIT)
    assert child.returncode == 0
