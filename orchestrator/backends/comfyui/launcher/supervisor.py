"""ComfyUI in the background: a small process of Kizy's that owns it.

Until `kizy comfy stop` if it was started by `kizy comfy start`; else until nobody uses it.

python -m kizy.orchestrator.backends.comfyui.launcher.supervisor OPTIONS WAITS keep | while-used
(JSON of managed.Options and of process.Waits)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from .....core import launch
from .....core.comfyui_address import Address
from .....core.errors import EngineError, KizyError
from .....core.files import storage_errors
from . import pids
from . import server_records as records
from .installation import find_installation
from .managed_servers import ManagedServers, Options, Say, end_server
from .process import Waits, last_lines
from .server_records import Fleet, ProcessRecord

LOG = "supervisor.log"


def start_detached(
    options: Options,
    *,
    waits: Waits | None = None,
    say: Say = lambda line: None,
    while_used: bool = False,
) -> list[Address]:
    """Start ComfyUI in the background and wait until it answers; its addresses.

    If it runs already, nothing is started. It stays until `stop_all`; `while_used`: until its last
    user (users.py; the caller should be one) has been gone for a while. Raises InputError
    `comfyui_folder_invalid`, EngineError `comfyui_not_started` or `launch_failed`, StorageError.
    """
    waits = waits or Waits()
    home = records.comfyui_home()
    running = records.running_servers(home)
    fleet = records.read_fleet(home)
    if running and fleet is not None and fleet.owned:
        if not while_used:
            records.request_keep(home)
            say(f"ComfyUI {fleet.version} runs already.")
        return [server.address for server in running]
    find_installation(options.folder, options.interpreter)
    if not while_used:
        # Another Kizy may be about to start it for a while only.
        records.request_keep(home)
    try:
        return _start(options, fleet, waits, say, while_used=while_used)
    except BaseException:
        records.take_request(home, "keep")
        raise


def _start(
    options: Options, fleet: Fleet | None, waits: Waits, say: Say, *, while_used: bool
) -> list[Address]:
    home = records.comfyui_home()
    if fleet is not None and fleet.error is not None:
        records.forget_fleet(home)
    log = home / LOG
    with storage_errors(log):
        home.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        file = log.open("ab")
    with file:
        how_long = "while-used" if while_used else "keep"
        arguments = [options.model_dump_json(), json.dumps(asdict(waits)), how_long]
        words = launch.command("orchestrator.backends.comfyui.launcher.supervisor", arguments)
        try:
            process = launch.open_process(
                words,
                cwd=home,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=_DETACHED,
            )
        except OSError as error:
            message = f"{sys.executable} did not start: {error.strerror}."
            raise EngineError("launch_failed", message) from error
    try:
        return _wait_for(process, home, waits, say)
    finally:
        if process.poll() is None:
            # It lives on without this process, which need not wait for its exit status.
            process.returncode = 0


def _wait_for(
    process: subprocess.Popen[bytes], home: Path, waits: Waits, say: Say
) -> list[Address]:
    """Wait until the supervisor has all servers ready, repeating what it says."""
    said = 0
    heard = time.monotonic()
    while True:
        ended = process.poll() is not None
        # In this order: what was said before a server was ready is then read as well.
        fleet = records.read_fleet(home)
        lines = last_lines(home / LOG, 1000)
        for line in lines[said:]:
            say(line)
            heard = time.monotonic()
        said = len(lines)
        if fleet is not None and fleet.error is not None:
            message, fix = fleet.error["message"], fleet.error["fix"]
            raise EngineError("comfyui_not_started", message, fix=fix)
        # What an owner that was killed had written down is not what is waited for.
        known = fleet is not None and bool(fleet.servers) and fleet.owned
        if fleet is not None and known and fleet.state != "starting":
            return [server.address for server in fleet.servers if server.state == "ready"]
        if ended:
            text = "\n".join(lines[-12:])
            raise EngineError("comfyui_not_started", f"ComfyUI's supervisor ended.\n{text}")
        if time.monotonic() - heard > waits.ready + waits.say:
            # It says something every few seconds while it waits.
            raise EngineError("comfyui_not_started", "ComfyUI's supervisor does nothing.")
        time.sleep(waits.poll)


def stop_all(*, waits: Waits | None = None, say: Say = lambda line: None) -> bool:
    """End every ComfyUI that Kizy started, and its supervisor; False if none ran.

    Raises EngineError `server_stuck` if one cannot be ended.
    """
    waits = waits or Waits()
    home = records.comfyui_home()
    fleet = records.read_fleet(home)
    if fleet is None:
        return False
    alive = [server for server in fleet.servers if records.still_runs(server, home)]
    if fleet.error is None and fleet.owner.pid != os.getpid() and pids.is_running(fleet.owner.id):
        records.request_stop(home)
        deadline = time.monotonic() + waits.look + 2 * waits.end * (1 + len(fleet.servers))
        while _owns(fleet, home) and time.monotonic() < deadline:
            time.sleep(waits.poll)
        if fleet.detached:
            pids.end_and_wait(fleet.owner.id, waits.end)
    for server in alive:
        if records.still_runs(server, home) and not end_server(server, waits):
            message = f"The ComfyUI on port {server.port} does not end."
            raise EngineError("server_stuck", message, fix="End it by hand.")
        say(f"Stopped the ComfyUI on port {server.port}.")
    for wish in ("stop", "keep"):
        records.take_request(home, wish)
    records.forget_fleet(home)
    return bool(alive)


def _owns(before: Fleet, home: Path) -> bool:
    """Whether the owner of then is not yet done with its servers."""
    now = records.read_fleet(home)
    return now is not None and now.error is None and now.owner == before.owner and now.owned


def run(options: Options, waits: Waits, *, while_used: bool = False) -> int:
    """Own the servers until somebody asks to stop, or nobody uses them; exit status."""
    servers = ManagedServers(options, waits=waits, detached=True, while_used=while_used, say=_print)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: servers.request_end())
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    failed: KizyError | None = None
    try:
        servers.start()
        if servers.is_owner:
            servers.watch()
        failed = servers.failure()
    except KizyError as error:
        failed = error
    finally:
        servers.stop()
    if failed is None:
        return 0
    _print(failed.message)
    if records.comfyui_home().is_dir():
        _write_down(failed, options)
    return failed.exit_status


def _write_down(error: KizyError, options: Options) -> None:
    """For whoever asks why nothing runs."""
    owner = ProcessRecord.of(pids.identify(os.getpid()))
    fleet = Fleet(owner=owner, detached=True, folder=str(options.folder), error=error.as_dict())
    with contextlib.suppress(KizyError, OSError):
        records.write_fleet(fleet, records.comfyui_home())


def _print(line: str) -> None:
    print(line, flush=True)


_DETACHED = 0
if sys.platform == "win32":
    _DETACHED = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW

if __name__ == "__main__":
    sys.exit(
        run(
            Options.model_validate_json(sys.argv[1]),
            Waits(**json.loads(sys.argv[2])),
            while_used=sys.argv[3:] == ["while-used"],
        )
    )
