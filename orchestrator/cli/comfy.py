"""`kizy comfy`: the ComfyUI that Kizy starts in the background."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...core.errors import InputError, UnknownNameError
from ..backends.comfyui.launcher import server_records as records
from ..backends.comfyui.launcher.discover import start_options
from ..backends.comfyui.launcher.managed_servers import Options
from ..backends.comfyui.launcher.process import Waits, last_lines, who_answers
from ..backends.comfyui.launcher.server_records import Fleet, ServerRecord
from ..backends.comfyui.launcher.supervisor import LOG, start_detached, stop_all
from ..settings import load_settings


def start(*, folder: Path | None, port: int | None) -> None:
    """Start it and wait until it answers. Raises KizyError."""
    try:
        addresses = start_detached(_options(folder, port), say=_say)
    except KeyboardInterrupt:
        # The supervisor has a session of its own and never hears of it.
        stop_all()
        raise
    for address in addresses:
        print(address.url)


def _options(folder: Path | None, port: int | None) -> Options:
    settings = load_settings()
    options = start_options(settings)
    if folder is not None:
        values = settings.comfyui.model_dump() | {"folder": folder.absolute()}
        options = Options.model_validate(values)
    if options is None:
        fix = "kizy comfy start --folder PATH, or set `folder` under [comfyui] in kizy.toml."
        raise InputError("comfyui_folder_invalid", "No ComfyUI folder is named.", fix=fix)
    return options if port is None else options.model_copy(update={"port": port})


def stop() -> None:
    """End what Kizy started. Raises EngineError."""
    if not stop_all(say=_say):
        _say("No ComfyUI that Kizy started is running.")


def status(*, as_json: bool) -> None:
    """Print what runs."""
    folder = records.comfyui_home()
    fleet = records.read_fleet(folder)
    servers = fleet.servers if fleet is not None else ()
    rows = [_status_of(server, fleet, folder) for server in servers if fleet is not None]
    error = fleet.error if fleet is not None else None
    if as_json:
        document = {
            "running": any(row["running"] for row in rows),
            "folder": fleet.folder if fleet is not None else None,
            "version": fleet.version or None if fleet is not None else None,
            "servers": rows,
            "error": error,
        }
        print(json.dumps(document))
        return
    if fleet is None or not rows:
        print("No ComfyUI that Kizy started is running.")
    else:
        print(f"ComfyUI {fleet.version} in {fleet.folder}")
    for row in rows:
        print(f"  {row['url']}  {row['state']}, {row['device']}, process {row['pid']}")
        if row["restarts"]:
            print(f"    restarted {row['restarts']} times: {row['problem']}")
        print(f"    log: {row['log']}")
    if error is not None:
        print(f"The last start failed: {error['message']}\nFix: {error['fix']}")


def _status_of(server: ServerRecord, fleet: Fleet, folder: Path) -> dict[str, Any]:
    runs = records.still_runs(server, folder)
    state: str = server.state
    if not runs:
        state = "ended" if state in ("starting", "ready") else state
    elif not fleet.owned:
        state = "not watched over"
    elif state == "ready" and who_answers(server.address, folder, Waits().answer) != "ours":
        state = "does not answer"
    return {
        "url": server.address.url,
        "port": server.port,
        "device": server.device,
        "state": state,
        "running": runs,
        "pid": server.process.pid if server.process is not None else None,
        "restarts": server.restarts,
        "problem": server.problem or None,
        "log": str(folder / f"{server.port}.log"),
    }


def logs(*, lines: int, follow: bool, port: int | None) -> None:
    """Print the end of a log. Raises UnknownNameError `file_missing`."""
    log = _log(port)
    for line in last_lines(log, lines):
        print(line)
    if follow:
        for text in grown(log):
            print(text, end="", flush=True)


def _log(port: int | None) -> Path:
    folder = records.comfyui_home()
    fleet = records.read_fleet(folder)
    if port is None and fleet is not None and fleet.servers:
        port = fleet.servers[0].port
        if len(fleet.servers) > 1:
            ports = ", ".join(str(server.port) for server in fleet.servers)
            _say(f"There are logs for the ports {ports}; this is {port} (--port).")
    if port is None:
        written = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        # The supervisor's own words matter only if ComfyUI said nothing at all.
        written = [path for path in written if path.name != LOG] or written
        if written:
            return written[-1]
    log = folder / f"{port}.log"
    if port is None or not log.is_file():
        fix = "`kizy comfy start` starts it; `kizy comfy status` shows its port."
        raise UnknownNameError("file_missing", f"There is no log in {folder}.", fix=fix)
    return log


def grown(log: Path, *, wait: Callable[[float], object] = time.sleep) -> Iterator[str]:
    """What is written to a file from now on, for ever; also after a new start of the file."""
    position = log.stat().st_size
    while True:
        try:
            size = log.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < position:
            position = 0
        if size > position:
            with log.open("rb") as file:
                file.seek(position)
                block = file.read()
            position += len(block)
            yield block.decode("utf-8", "replace")
        wait(0.5)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
