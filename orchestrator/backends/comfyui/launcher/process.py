"""One ComfyUI process that Kizy starts: its words, its log, its first answer, its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from .....core.comfyui_address import Address
from .....core.errors import EngineError
from .....core.files import storage_errors
from .....core.launch import open_process
from ..protocol.probe import vitals
from . import pids
from .extra_paths import write_extra_paths
from .installation import Installation, custom_nodes_folder, has_kizy

MAX_LOG = 4_000_000
"""Bytes; a log that is longer at a start is put aside, and the one put aside before is gone."""

Answer = Literal["ours", "foreign", "silent"]


@dataclass(frozen=True)
class Waits:
    """All waits, in seconds.

    `ready`: from the start to the first answer; packs and slow disks take their time.
    `answer`: for one question. `poll`: between two questions before the first answer. `end`: from
    asking to forcing. `look`: between two looks at a running server. `say`: between two lines of
    progress. `unused`: from the end of the last command that used it to its own end.
    """

    ready: float = 300.0
    answer: float = 5.0
    poll: float = 0.25
    end: float = 10.0
    look: float = 2.0
    say: float = 10.0
    unused: float = 30.0


@dataclass(frozen=True)
class Launch:
    """How one ComfyUI is started. `device`: "cuda:N", "cpu" or "any"; `home`: Kizy's folder for it.

    Each has its own folders for outputs and temporary files: ComfyUI empties the latter when it
    starts, and two that number pictures in one folder overwrite each other's.
    """

    installation: Installation
    home: Path
    port: int
    device: str
    arguments: tuple[str, ...] = ()

    @property
    def address(self) -> Address:
        return Address(f"comfyui-{self.port}", f"http://127.0.0.1:{self.port}")

    @property
    def log(self) -> Path:
        return self.home / f"{self.port}.log"

    @property
    def own_folder(self) -> Path:
        return self.home / str(self.port)

    def words(self, extra_paths: Path) -> list[str]:
        """The command line. The person's arguments come last: there they win."""
        return [
            str(self.installation.interpreter),
            str(self.installation.folder / "main.py"),
            *("--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch"),
            *("--extra-model-paths-config", str(extra_paths)),
            *("--output-directory", str(self.own_folder / "output")),
            *("--temp-directory", str(self.own_folder)),
            *("--database-url", f"sqlite:///{self.own_folder / 'comfyui.db'}"),
            *(("--cpu",) if self.device == "cpu" and "--cpu" not in self.arguments else ()),
            *self.arguments,
        ]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` without what leads ComfyUI's Python to Kizy's libraries."""
        kept = {k: v for k, v in base.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        own = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        kind, _, index = self.device.partition(":")
        if kind == "cuda":
            # Without the order, CUDA counts the fastest first and nvidia-smi by the slot.
            own |= {"CUDA_VISIBLE_DEVICES": index, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return kept | own


class ComfyProcess:
    """A started ComfyUI, a child of this process. `begin`: where its part of the log begins."""

    def __init__(self, launch: Launch, child: subprocess.Popen[bytes], begin: int) -> None:
        self.launch = launch
        self.id = pids.identify(child.pid)
        self._child = child
        self._log_begin = begin

    @classmethod
    def start(cls, launch: Launch) -> ComfyProcess:
        """Start it in a group of its own. Raises EngineError `launch_failed`, StorageError."""
        custom_nodes = custom_nodes_folder(launch.installation.folder, launch.arguments)
        paths = write_extra_paths(launch.home, with_pack=not has_kizy(custom_nodes))
        with storage_errors(launch.log):
            (launch.own_folder / "output").mkdir(parents=True, exist_ok=True)
            log = _open_log(launch.log)
        with log:
            begin = log.tell()
            stamp = datetime.now().isoformat(" ", "seconds")
            log.write(f"--- {stamp}: Kizy starts ComfyUI on port {launch.port}\n".encode())
            log.flush()
            try:
                child = open_process(
                    launch.words(paths),
                    cwd=launch.installation.folder,
                    env=launch.environment(os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    creationflags=_NEW_GROUP,
                )
            except OSError as error:
                message = f"{launch.installation.interpreter} did not start: {error.strerror}."
                raise EngineError("launch_failed", message) from error
        return cls(launch, child, begin)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def answer(self, timeout: float) -> Answer:
        """Who answers on its port: a ComfyUI of Kizy's, somebody else, or nobody in time."""
        return who_answers(self.launch.address, self.launch.home, timeout)

    def wait_ready(
        self,
        waits: Waits,
        *,
        say: Callable[[str], None] = lambda line: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait for its first answer.

        Raises EngineError `comfyui_not_started`; PortTakenError if only its port was to blame.
        """
        begin = said = time.monotonic()
        while self.answer(waits.answer) != "ours":
            if not self.is_running():
                raise self._not_started("ended before it answered")
            now = time.monotonic()
            if now - begin > waits.ready:
                raise self._not_started(f"did not answer within {waits.ready:g} seconds")
            if stopped():
                raise EngineError("comfyui_not_started", "The start of ComfyUI was stopped.")
            if now - said > waits.say:
                said = now
                last = self.last_lines(1)
                say(f"Still starting ({now - begin:.0f} s){f': {last[0]}' if last else '.'}")
            time.sleep(waits.poll)

    def stop(self, waits: Waits) -> None:
        """End it and what it started: ask, wait, force. Nothing happens if it has ended."""
        for force in (False, True):
            if not self.is_running():
                return
            if self.id.started is not None:
                pids.end(self.id, force=force)
            else:
                # A child of this process is surely the one that was started.
                (self._child.kill if force else self._child.terminate)()
            deadline = time.monotonic() + waits.end
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(min(waits.poll, 0.05))

    def last_lines(self, count: int) -> list[str]:
        """The end of its log, since this start."""
        return last_lines(self.launch.log, count, begin=self._log_begin)

    def _not_started(self, what: str) -> EngineError:
        lines = self.last_lines(12)
        text = "\n".join(lines)
        shown = f" Its last words:\n{text}" if lines else ""
        message = f"ComfyUI {what} (port {self.launch.port}).{shown}"
        if "address already in use" in text or "Errno 10048" in text:
            return PortTakenError("comfyui_not_started", message)
        if any("No module named" in line for line in lines[-2:]):
            python = self.launch.installation.interpreter
            fix = f"{python} lacks ComfyUI's libraries: name ComfyUI's own as `interpreter`."
            return EngineError("comfyui_not_started", message, fix=fix)
        return EngineError("comfyui_not_started", message)


class PortTakenError(EngineError):
    """Somebody took the port between the look at it and ComfyUI's start."""


def who_answers(address: Address, home: Path, timeout: float) -> Answer:
    """Who answers at a port: ComfyUI says with which words it was started."""
    try:
        argv = vitals(address, timeout=timeout).argv
    except EngineError as error:
        return "silent" if error.code == "server_unreachable" else "foreign"
    return "ours" if any(word.startswith(f"{home}{os.sep}") for word in argv) else "foreign"


def port_is_free(port: int) -> bool:
    """Whether nobody listens on this port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as probe:
        if os.name != "nt":
            # As servers do: a connection that has just ended does not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def last_lines(log: Path, count: int, *, begin: int = 0) -> list[str]:
    """The last lines of a log from byte `begin` on, without empty ones."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(begin, end - 400 * max(count, 1)) if begin <= end else 0)
        text = file.read().decode("utf-8", "replace")
        # A progress bar writes its line again and again behind a carriage return.
        lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
        return [line for line in lines if line][-count:] if count else []
    return []


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG:
        path.replace(path.with_suffix(".log.old"))
    return path.open("ab")


_NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if sys.platform == "win32" else 0
