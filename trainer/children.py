"""Programs that a training's process started: ended with it, also when it was killed.

A killed process cannot end what it started. So it notes it, and who comes next looks.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from ..core.files import replacing

FILE = "child.json"


def note_child(folder: Path, pid: int, file: str = FILE) -> None:
    """Remember a process that leads its own group. Raises StorageError."""
    with replacing(folder / file) as temporary:
        temporary.write_text(json.dumps({"pid": pid, "started": _started(pid)}))


def end_child(folder: Path, file: str = FILE, *, patience: float = 5.0) -> None:
    """End the noted process and its group: ask, wait, force. Nothing if it has ended."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads((folder / file).read_text())
        pid, started = int(noted["pid"]), noted["started"]
        # A number is used again; a number with its start time is not.
        if started is not None and _started(pid) == started:
            _end(pid, patience)
        elif os.name != "nt" and started is not None:
            # The leader has ended, what it started may not have: its group keeps the number.
            _end_rest(pid, folder)
    (folder / file).unlink(missing_ok=True)


def _end(pid: int, patience: float) -> None:
    if os.name == "nt":
        words = ["taskkill", "/T", "/F", "/PID", str(pid)]
        subprocess.run(words, capture_output=True, check=False)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline = time.monotonic() + patience
        while _group_lives(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not _group_lives(pid):
            return


def _end_rest(group: int, folder: Path) -> None:
    """End the processes of a group whose leader has gone, if they work in this run's folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
            pid = int(process.name)
            if str(folder) in words and os.getpgid(pid) == group:
                os.kill(pid, signal.SIGKILL)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _only_zombies(group)


def _only_zombies(group: int) -> bool:
    """Whether all that is left of a group waits for its parent to fetch its exit status."""
    states = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                states.append(fields[0])
    return bool(states) and all(state in "ZX" for state in states)


def _started(pid: int) -> str | None:
    """When a process started, to be compared; None if it has ended or nobody can say."""
    with contextlib.suppress(OSError, IndexError, UnicodeDecodeError):
        # proc(5): field 22; the name in brackets may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    with contextlib.suppress(ImportError):
        import psutil

        with contextlib.suppress(psutil.Error):
            return str(psutil.Process(pid).create_time())
    return None
