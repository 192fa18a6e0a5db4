"""What is written down about the ComfyUIs that Kizy started, so that no other Kizy starts them.

In KIZY_HOME/comfyui: `lock`, held by the process that owns them for as long as it lives;
`servers.json`, written by the owner alone; `stop`, `keep` and `restart-PORT`, wishes of others.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from .....core.comfyui_address import Address
from .....core.files import replacing, storage_errors
from .....core.home import home
from . import pids
from .process import who_answers

State = Literal["starting", "ready", "restarting", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ProcessRecord(_Record):
    """A process, by number and start time."""

    pid: int
    started: str | None

    @classmethod
    def of(cls, process: pids.ProcessId) -> ProcessRecord:
        return cls(pid=process.pid, started=process.started)

    @property
    def id(self) -> pids.ProcessId:
        return pids.ProcessId(self.pid, self.started)


class ServerRecord(_Record):
    """One ComfyUI. `problem`: why it failed or is being restarted."""

    port: int
    device: str
    state: State
    process: ProcessRecord | None = None
    restarts: int = 0
    problem: str = ""

    @property
    def address(self) -> Address:
        return Address(f"comfyui-{self.port}", f"http://127.0.0.1:{self.port}")


class Fleet(_Record):
    """All ComfyUIs of one owner. `error`: why the owner gave up, as KizyError.as_dict."""

    owner: ProcessRecord
    detached: bool
    folder: str
    version: str = ""
    servers: tuple[ServerRecord, ...] = ()
    error: dict[str, str] | None = None

    @property
    def state(self) -> State:
        """Of all servers together: the first of starting, ready, restarting, failed."""
        states = {server.state for server in self.servers}
        order: tuple[State, ...] = ("starting", "ready", "restarting")
        for state in order:
            if state in states:
                return state
        return "failed"

    @property
    def owned(self) -> bool:
        """Whether the owner still lives (or the system cannot tell)."""
        return pids.is_running(self.owner.id) is not False


def comfyui_home() -> Path:
    """Kizy's folder for the ComfyUIs that it starts."""
    return (home() / "comfyui").absolute()


def read_fleet(folder: Path | None = None) -> Fleet | None:
    """What is written down; None if nothing is, or if it cannot be understood."""
    try:
        text = ((folder or comfyui_home()) / "servers.json").read_text(encoding="utf-8")
        return Fleet.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def write_fleet(fleet: Fleet, folder: Path) -> None:
    """Write it down in one step. Raises StorageError."""
    with replacing(folder / "servers.json") as temporary:
        temporary.write_text(fleet.model_dump_json(indent=1), encoding="utf-8")


def forget_fleet(folder: Path) -> None:
    """Nothing runs any more."""
    (folder / "servers.json").unlink(missing_ok=True)


def still_runs(server: ServerRecord, folder: Path) -> bool:
    """Whether the very process that was written down still runs."""
    if server.process is None:
        return False
    running = pids.is_running(server.process.id)
    if running is None:
        return who_answers(server.address, folder, 1.0) == "ours"
    return running


def running_servers(folder: Path | None = None) -> list[ServerRecord]:
    """The ComfyUIs that Kizy started and that were ready when last looked at."""
    folder = folder or comfyui_home()
    fleet = read_fleet(folder)
    servers = fleet.servers if fleet is not None else ()
    return [x for x in servers if x.state == "ready" and still_runs(x, folder)]


def request_restart(url: str, folder: Path | None = None) -> bool:
    """Ask the owner to restart the server at this address; False if no such one is Kizy's."""
    folder = folder or comfyui_home()
    fleet = read_fleet(folder)
    for server in fleet.servers if fleet is not None else ():
        if server.address.url == url.rstrip("/"):
            with storage_errors(folder / "restart"):
                (folder / f"restart-{server.port}").touch()
            return True
    return False


def request_stop(folder: Path) -> None:
    """Ask the owner to end all its servers."""
    with storage_errors(folder / "stop"):
        (folder / "stop").touch()


def request_keep(folder: Path) -> None:
    """Ask the owner to keep its servers until somebody asks to stop, used or not."""
    with storage_errors(folder / "keep"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "keep").touch()


def take_request(folder: Path, name: str) -> bool:
    """Whether somebody asked for it; the wish is then gone."""
    try:
        (folder / name).unlink()
    except OSError:
        return False
    return True


class OwnerLock:
    """Held by the one process that starts ComfyUIs in a folder; the system frees it at its end."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._handle: int | None = None

    def take(self) -> bool:
        """Whether it is ours now. Raises StorageError."""
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def give_back(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = None


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
