"""A training's process: started, followed, asked to stop, ended; its death put into words.

It has a session of its own and outlives whoever started it: Ctrl-C does not reach it, and who
comes back finds it running.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from ..core import launch
from ..core.errors import EngineError, InputError
from ..core.files import storage_errors
from .children import end_child, note_child
from .deaths import as_info, explain
from .engines.base import TrainerEngine
from .events import EndEvent, EventReader, EventWriter, TrainingEvent
from .run_folder import RunFolder

LOCK_SECONDS = 0.5
"""A look at a run takes its lock for a moment."""

PROCESS = "process.json"
"""Which process trains, for those who did not start it."""

LOG_BYTES = 65_536
"""So much of the end of the log is searched for the cause of a death."""


@dataclass(frozen=True)
class Waits:
    """Seconds between two looks at the events."""

    poll: float = 0.2


@dataclass(frozen=True)
class TrainingHandle:
    """A started training. `begin`, `log_begin`: bytes of events and log that are older.

    `process` None: somebody else started it.
    """

    run: RunFolder
    begin: int = 0
    log_begin: int = 0
    process: subprocess.Popen[bytes] | None = None


def start(run: RunFolder, engine: TrainerEngine) -> TrainingHandle:
    """Start the engine's process for a run, new or to go on with it.

    Raises InputError `training_running`, EngineError `launch_failed`, StorageError.
    """
    lock = _lock(run)
    with lock, storage_errors(run.log):
        run.stop_file.unlink(missing_ok=True)
        # What a killed process left running would train into the same folder.
        end_child(run.path)
        # Nor does anybody finish the files that it had begun.
        for begun in run.path.rglob(".*.part"):
            begun.unlink(missing_ok=True)
        begin = run.events.stat().st_size if run.events.exists() else 0
        words = engine.process(run.path)
        with run.log.open("ab") as log:
            stamp = datetime.now().isoformat(" ", "seconds")
            log.write(f"--- {stamp}: the {engine.name} engine starts\n".encode())
            log.flush()
            log_begin = log.tell()
            process = _spawn(words, log, lock)
        note_child(run.path, process.pid, PROCESS)
    return TrainingHandle(run, begin, log_begin, process)


def attach(run: RunFolder) -> TrainingHandle:
    """A training that somebody else started, from its first event on."""
    return TrainingHandle(run)


def follow(handle: TrainingHandle, waits: Waits = Waits()) -> Iterator[TrainingEvent]:
    """Its events until the end; the last one is an EndEvent. Can be called again."""
    reader = EventReader(handle.run.events, handle.begin)
    last: TrainingEvent | None = None
    while True:
        ended = not _is_running(handle)
        # Read after the look: what it wrote before it ended is there.
        for event in reader.new():
            yield event
            last = event
        # Whoever looks at a run from its beginning also meets the ends before it was resumed.
        if isinstance(last, EndEvent) and (ended or handle.process is not None):
            _wait(handle)
            return
        if ended:
            yield _write_end(handle)
            return
        time.sleep(waits.poll)


def stop(handle: TrainingHandle) -> None:
    """Ask it to save, publish what there is, and end. It may take as long as a step."""
    with storage_errors(handle.run.stop_file):
        handle.run.stop_file.touch()


def kill(handle: TrainingHandle) -> None:
    """End it and what it started, at once. What was saved stays."""
    if not _is_running(handle):
        return
    process = handle.process
    if process is None:
        end_child(handle.run.path, PROCESS, patience=0.0)
    elif os.name == "nt":
        words = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(words, capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process is not None:
        process.wait()
    end_child(handle.run.path)


def _lock(run: RunFolder) -> IO[bytes]:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        lock = run.lock()
        if lock is not None:
            return lock
        if time.monotonic() > deadline:
            message = f"The training in {run.path} runs already."
            raise InputError("training_running", message)
        time.sleep(0.01)


def _spawn(words: list[str], log: IO[bytes], lock: IO[bytes]) -> subprocess.Popen[bytes]:
    # The child holds the lock with its copy of the file, and nothing it starts does.
    inherited = () if os.name == "nt" else (lock.fileno(),)
    try:
        return launch.open_process(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            pass_fds=inherited,
            start_new_session=True,
        )
    except OSError as error:
        message = f"The interpreter {words[0]} could not be started: {error.strerror}."
        raise EngineError("launch_failed", message) from error


def _is_running(handle: TrainingHandle) -> bool:
    if handle.process is not None:
        return handle.process.poll() is None
    return handle.run.is_running()


def _wait(handle: TrainingHandle) -> None:
    """Let it let go of the GPU's memory: its last word is said before it ends."""
    if handle.process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            handle.process.wait(30)


def _write_end(handle: TrainingHandle) -> EndEvent:
    """The last word of a process that died without one."""
    status = handle.process.poll() if handle.process is not None else None
    end_child(handle.run.path)
    with contextlib.suppress(OSError), handle.run.log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(handle.log_begin, size - LOG_BYTES))
        text = file.read().decode("utf-8", "replace")
        event = EndEvent(state="failed", error=as_info(explain(status, text)))
        with EventWriter(handle.run.events) as writer:
            writer.write(event)
        return event
    return EndEvent(state="failed", error=as_info(explain(status, "")))
