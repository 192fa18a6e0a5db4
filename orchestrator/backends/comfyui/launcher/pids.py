"""Which process is which: a number is used again, a number with its start time is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_ASKING = 10.0
"""Seconds that the system's own program may take to say when a process started."""


@dataclass(frozen=True)
class ProcessId:
    """`started`: when, in the system's own words, only to be compared; None if not to be read."""

    pid: int
    started: str | None


def identify(pid: int) -> ProcessId:
    """The process that has this number now."""
    return ProcessId(pid, start_time(pid))


def start_time(pid: int) -> str | None:
    """When a process started; None if there is none, if it has ended, or if nobody can say."""
    if sys.platform == "linux":
        return _start_time_of_linux(pid)
    if os.name == "nt":
        ask = f"(Get-Process -Id {pid}).StartTime.Ticks"
        return _answer_of(["powershell", "-NoProfile", "-NonInteractive", "-Command", ask])
    return _answer_of(["ps", "-o", "lstart=", "-p", str(pid)])


def is_running(process: ProcessId) -> bool | None:
    """Whether this very process still runs; None if the system cannot tell."""
    if process.started is not None:
        now = start_time(process.pid)
        if now is not None or not _some_process(process.pid):
            return now == process.started
        # It has ended and nobody has fetched its exit status, or it cannot be read.
        return False if sys.platform == "linux" else None
    return None if _some_process(process.pid) else False


def end(process: ProcessId, *, force: bool = False) -> None:
    """Ask the process and its group to end, or make them end. It must have its own group.

    Nothing happens unless it is certain that it is this very process.
    """
    if is_running(process) is not True:
        return
    if os.name == "nt":
        # Windows has no gentle way to end a program without a window.
        words = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(words, capture_output=True, timeout=_ASKING, check=False)
        return
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
    except ProcessLookupError:
        pass


def end_and_wait(process: ProcessId, patience: float) -> bool:
    """Ask it to end, wait `patience` seconds, make it end; whether it has ended."""
    for force in (False, True):
        end(process, force=force)
        deadline = time.monotonic() + patience
        while is_running(process):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
    return is_running(process) is False


def _start_time_of_linux(pid: int) -> str | None:
    """Boot and clock ticks since then (proc(5): field 22), of a process that has not ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    # The name in brackets may hold anything, so fields are counted from behind it: 0 is the 3rd.
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _answer_of(words: list[str]) -> str | None:
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=_ASKING,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _some_process(pid: int) -> bool:
    """Whether any process has this number."""
    if os.name == "nt":
        # os.kill would end it there.
        listed = _answer_of(["tasklist", "/NH", "/FO", "CSV", "/FI", f"PID eq {pid}"])
        return f'"{pid}"' in (listed or "")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
