"""A training in a process of its own, under an interpreter that has what it needs."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core import launch
from ..core.errors import EngineError, KizyError
from ..core.home import cache_folder, home

WORKER = "orchestrator.training.worker"
NEEDED = ("diffusers", "peft", "accelerate", "transformers", "imagehash", "av", "psutil")
VARIABLES = ("KIZY_PYTHON", "KIZY_TRAINER__INTERPRETER")
"""They come before `interpreter` in the table [trainer] of kizy.toml."""
PROBE = (
    "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) is None for n in sys.argv[1:]))"
)
POLL = 0.2
"""Seconds between two looks whether the person interrupted."""
STOP_SECONDS = 600.0
"""It ends its step, saves and publishes; a large model takes its time."""
LOG_LINES = 20


def interpreter() -> str:
    """The Python that trains: ComfyUI's own if it has what is needed, else the one that is set.

    Raises EngineError `local_missing`.
    """
    if all(find_spec(name) is not None for name in NEEDED):
        return sys.executable
    given = next(filter(None, map(os.environ.get, VARIABLES)), None) or _set_in_file()
    if given is not None:
        given = str(Path(given).expanduser())
        if _has_all(given):
            return given
        message = f"The interpreter {given} lacks what training needs."
        raise EngineError("local_missing", message)
    message = "ComfyUI's Python lacks what training needs, and Kizy changes nothing in it."
    fix = (
        "Install Kizy beside it (README: two commands), and set KIZY_PYTHON, or interpreter in "
        f"the table [trainer] of {home() / 'kizy.toml'}, to that Python."
    )
    raise EngineError("local_missing", message, fix=fix)


def _set_in_file() -> str | None:
    try:
        with (home() / "kizy.toml").open("rb") as file:
            values = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError):
        return None
    table = values.get("trainer")
    given = table.get("interpreter") if isinstance(table, dict) else None
    return given if isinstance(given, str) and given else None


def _has_all(python: str) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", PROBE, *NEEDED], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


class TrainingProcess:
    """Started at once; `events` tells how it goes; `stop` keeps what there is."""

    def __init__(self, request: dict[str, Any], python: str | None = None) -> None:
        """Raises EngineError `local_missing` or `launch_failed`, StorageError."""
        words = launch.command(WORKER, interpreter=python or interpreter())
        self._log = cache_folder() / "comfyui-training.log"
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("wb") as log:
                self._process = launch.open_process(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            message = f"{words[0]} could not be started: {error.strerror}."
            raise EngineError("launch_failed", message) from error
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._tell(json.dumps(request))

    def events(self, look: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Its events to the end. `look` is called a few times a second; what it raises stops the
        training, and comes out here once what there is was kept.

        Raises EngineError `training_killed` if the process ends without a word.
        """
        try:
            while True:
                try:
                    event = self._lines.get(timeout=POLL)
                except queue.Empty:
                    look()
                    continue
                if event is None:
                    raise EngineError("training_killed", self._last_words())
                yield event
                if event.get("kind") == "end":
                    return
                look()
        finally:
            self.stop()

    def stop(self) -> None:
        """Ask it to keep what there is; end it if it does not."""
        if self._process.poll() is None:
            self._tell("stop")
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _tell(self, line: str) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()
        except OSError:
            return  # it is gone: the end of its output says so

    def _read(self) -> None:
        for line in self._process.stdout or ():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._lines.put(event)
        self._process.wait()
        self._lines.put(None)

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        last = lines[-1].strip() if lines else f"exit status {self._process.returncode}"
        return f"The training's process ended: {last[:300]} (all of it: {self._log})"


def error_of(event: dict[str, Any]) -> KizyError:
    """The error that an end event carries."""
    told = event.get("error") or {}
    message = str(told.get("message") or "The training failed.")
    fix = str(told.get("fix") or "") or None
    return EngineError("training_failed", message, fix=fix, raw=str(told.get("code") or ""))


def keep_pictures(pictures: Any, folder: Path) -> Path:
    """A batch of pictures (n, height, width, 3 or 4; 0 to 1) as files. Raises StorageError."""
    from ..core.files import storage_errors
    from .tensors import as_picture

    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            as_picture(picture).save(folder / f"{number:04d}.png")
    return folder
