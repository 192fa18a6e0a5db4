"""The ComfyUIs that Kizy starts from a folder: one for each GPU, watched, and never two."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict

from .....core.comfyui_address import Address
from .....core.errors import EngineError, KizyError, StorageError
from ..protocol import probe
from . import pids, users
from . import server_records as records
from .installation import Gpus, Installation, devices, find_installation
from .process import ComfyProcess, Launch, PortTakenError, Waits, port_is_free
from .restart_rule import Rules, Watch
from .server_records import Fleet, OwnerLock, ProcessRecord, ServerRecord, State

log = logging.getLogger(__name__)

PORTS_TRIED = 50
"""Ports that are tried, one after the other, for one ComfyUI."""

Say = Callable[[str], None]


class Options(BaseModel):
    """Which ComfyUI is started, and how; as the settings' table [comfyui]."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    interpreter: Path | None = None
    arguments: tuple[str, ...] = ()
    gpus: Gpus = "auto"
    port: int = 8188


@dataclass
class _Server:
    """`answered`: it was ready once, so that it is worth starting again."""

    process: ComfyProcess
    watch: Watch
    answered: bool = False


class ManagedServers:
    """Owns the ComfyUIs that it starts, until `stop`; only one owner lives in a KIZY_HOME.

    Where another process owns them already, they are used and left alone. `while_used`: `watch`
    ends them when nobody uses them any more (users.py), unless somebody asked to keep them.
    """

    def __init__(
        self,
        options: Options,
        *,
        waits: Waits | None = None,
        rules: Rules | None = None,
        detached: bool = False,
        while_used: bool = False,
        say: Say = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        find_devices: Callable[[Gpus, Path], tuple[str, ...]] = devices,
    ) -> None:
        self._options = options
        self._waits = waits or Waits()
        self._rules = rules or Rules(ready=self._waits.ready)
        self._detached = detached
        self._while_used = while_used
        self._used_at = clock()
        self._say = say
        self._clock = clock
        self._find_devices = find_devices
        self._home = records.comfyui_home()
        self._lock = OwnerLock(self._home)
        self._owner = False
        self._version = ""
        self._servers: list[_Server] = []
        # The thread that watches looks and ends servers; so does whoever stops them meanwhile.
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ManagedServers:
        self.start()
        self.watch_in_background()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def is_owner(self) -> bool:
        """Whether the servers are this object's own, to be stopped with it."""
        return self._owner

    def addresses(self) -> list[Address]:
        """The servers that were ready at the last look."""
        return [server.address for server in records.running_servers(self._home)]

    def start(self) -> list[Address]:
        """Start what is not running yet and wait until all answer.

        Raises InputError `comfyui_folder_invalid`, EngineError `comfyui_not_started` or
        `launch_failed`, StorageError.
        """
        installation = find_installation(self._options.folder, self._options.interpreter)
        deadline = time.monotonic() + self._waits.ready
        while not self._lock.take():
            addresses = self._owners_addresses()
            if addresses is not None:
                return addresses
            if time.monotonic() > deadline:
                message = "Another Kizy started ComfyUI and did not get it ready."
                fix = "`kizy comfy status` shows it; `kizy comfy stop` ends it."
                raise EngineError("comfyui_not_started", message, fix=fix)
            time.sleep(self._waits.poll)
        self._owner = True
        self._version = installation.version
        try:
            records.take_request(self._home, "stop")
            self._end_leftovers()
            self._start_all(installation)
        except BaseException:
            self.stop()
            raise
        return [server.process.launch.address for server in self._servers]

    def watch_in_background(self) -> None:
        """Look after the servers in a thread of this process until `stop`."""
        if self._owner and self._thread is None:
            self._thread = threading.Thread(target=self.watch, name="comfyui-watch", daemon=True)
            self._thread.start()

    def watch(self) -> None:
        """Look after the servers until `stop`, a wish of that name, or until all have failed."""
        looked = time.monotonic()
        while not self._stopping.wait(min(self._waits.poll, self._waits.look)):
            if self._asked_to_stop() or not self._home.is_dir():
                self._end_all()
                return
            if time.monotonic() - looked < self._waits.look:
                continue
            try:
                self.look()
            except Exception as error:
                # Nobody else looks after the servers: the next look comes all the same.
                log.exception("a look at the servers failed")
                self._say(f"A look at ComfyUI failed ({type(error).__name__}: {error}).")
            looked = time.monotonic()
            if self.failure() is not None:
                return
            if self._unused():
                self._say("Nobody uses ComfyUI any more: it is stopped.")
                self._end_all()
                return

    def look(self) -> None:
        """One round: restart what died or hangs."""
        with self._looking:
            if self._stopping.is_set():
                return
            before = self._fleet()
            for server in self._servers:
                self._look_at(server)
            if self._fleet() != before:
                try:
                    self._write()
                except StorageError as error:
                    self._say(error.message)

    def failure(self) -> EngineError | None:
        """Why no server is left that could come back; None if one is."""
        if not self._servers or not all(server.watch.given_up for server in self._servers):
            return None
        server = self._servers[-1]
        port, restarts = server.process.launch.port, server.watch.restarts
        message = f"ComfyUI on port {port} was restarted {restarts} times: {server.watch.problem}"
        return EngineError("comfyui_not_started", message)

    def _unused(self) -> bool:
        """Whether it is time to end them because nobody uses them."""
        if records.take_request(self._home, "keep"):
            self._while_used = False
        if not self._while_used:
            return False
        now = self._clock()
        if users.anybody(self._home):
            self._used_at = now
        if now - self._used_at < self._waits.unused or self._busy():
            return False
        # Whoever comes at this moment either finds nothing written down, or is seen here.
        with self._looking:
            records.forget_fleet(self._home)
            if not users.anybody(self._home):
                return True
            self._write()
        return False

    def _busy(self) -> bool:
        """Whether jobs run or wait there, of somebody who opened its page perhaps."""
        for address in self.addresses():
            with contextlib.suppress(EngineError):
                if probe.queue_length(address, timeout=self._waits.answer):
                    return True
        return False

    def _asked_to_stop(self) -> bool:
        if records.take_request(self._home, "stop"):
            self._stopping.set()
        return self._stopping.is_set()

    def request_end(self) -> None:
        """Let `watch` come back soon; may be called from a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """End the servers, if they are this object's own. May be called again."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._owner:
            self._end_all()
            self._owner = False
            self._lock.give_back()

    # Starting

    def _start_all(self, installation: Installation) -> None:
        port = self._options.port
        for device in self._find_devices(self._options.gpus, installation.interpreter):
            launch = Launch(installation, self._home, port, device, self._options.arguments)
            server = _Server(self._start_one(launch), Watch(self._rules, self._clock()))
            port = server.process.launch.port
            # Whoever asked for it meant the one before.
            records.take_request(self._home, f"restart-{port}")
            port += 1
            self._servers.append(server)
            self._write()
        for server in self._servers:
            self._wait_ready(server)
            server.answered = True
            server.watch = Watch(self._rules, self._clock())
            url = server.process.launch.address.url
            self._say(f"ComfyUI {self._version} is ready at {url}.")
            self._write()
        self._used_at = self._clock()

    def _start_one(self, launch: Launch) -> ComfyProcess:
        launch = self._on_free_port(launch)
        on = {"cpu": " on the CPU", "any": ""}.get(launch.device, f" on {launch.device}")
        self._say(f"Starting ComfyUI {self._version} on port {launch.port}{on} …")
        return ComfyProcess.start(launch)

    def _on_free_port(self, launch: Launch) -> Launch:
        taken = {server.process.launch.port for server in self._servers}
        for port in range(launch.port, min(launch.port + PORTS_TRIED, 65536)):
            if port not in taken and port_is_free(port):
                if port != launch.port:
                    self._say(f"Port {launch.port} is taken; {port} is free.")
                return replace(launch, port=port)
        message = f"No port from {launch.port} on is free."
        raise EngineError("comfyui_not_started", message, fix="Set another `port` in [comfyui].")

    def _wait_ready(self, server: _Server) -> None:
        def wait() -> None:
            server.process.wait_ready(self._waits, say=self._say, stopped=self._asked_to_stop)

        try:
            wait()
        except PortTakenError:
            launch = server.process.launch
            server.process = self._start_one(launch)
            if server.process.launch.port == launch.port:
                raise
            self._write()
            wait()

    def _end_leftovers(self) -> None:
        """End what an owner that was killed left running: nobody watches over it."""
        fleet = records.read_fleet(self._home)
        if fleet is None:
            return
        for server in fleet.servers:
            if records.still_runs(server, self._home) and end_server(server, self._waits):
                self._say(f"Ended the ComfyUI on port {server.port} that nobody watched over.")
        records.forget_fleet(self._home)

    def _owners_addresses(self) -> list[Address] | None:
        """What another process has ready; None while it starts, or ends."""
        fleet = records.read_fleet(self._home)
        if fleet is None or not fleet.owned or fleet.state in ("starting", "restarting"):
            return None
        if fleet.state == "failed":
            message = "The ComfyUI that another Kizy watches over failed again and again."
            fix = "`kizy comfy logs` shows why; `kizy comfy stop` makes room for a new start."
            raise EngineError("comfyui_not_started", message, fix=fix)
        return self.addresses()

    # Watching

    def _look_at(self, server: _Server) -> None:
        port = server.process.launch.port
        asked = records.take_request(self._home, f"restart-{port}")
        runs = server.process.is_running()
        answers = runs and server.process.answer(self._waits.answer) == "ours"
        was_ready = server.watch.ready
        action = server.watch.look(self._clock(), runs=runs, answers=answers, asked=asked)
        if server.watch.ready and not was_ready:
            self._say(f"ComfyUI on port {port} answers again.")
        if action in ("end", "give up"):
            server.process.stop(self._waits)
            last = server.process.last_lines(1)
            said = f" Its last words: {last[0]}" if last else ""
            then = "It is not started again." if action == "give up" else "It is restarted."
            self._say(f"ComfyUI on port {port}: {server.watch.problem} {then}{said}")
        if action == "start":
            try:
                server.process = ComfyProcess.start(server.process.launch)
            except KizyError as error:
                # Counts as a start that failed: the next look sees that nothing runs.
                self._say(f"ComfyUI on port {port}: {error.message}")

    def _record(self, server: _Server) -> ServerRecord:
        watch, process = server.watch, server.process
        state: State = "failed" if watch.given_up else "ready" if watch.ready else "restarting"
        return ServerRecord(
            port=process.launch.port,
            device=process.launch.device,
            state=state if server.answered else "starting",
            process=ProcessRecord.of(process.id),
            restarts=watch.restarts,
            problem=watch.problem,
        )

    def _fleet(self) -> Fleet:
        return Fleet(
            owner=ProcessRecord.of(pids.identify(os.getpid())),
            detached=self._detached,
            folder=str(self._options.folder),
            version=self._version,
            servers=tuple(self._record(server) for server in self._servers),
        )

    def _write(self) -> None:
        records.write_fleet(self._fleet(), self._home)

    def _end_all(self) -> None:
        with self._looking:
            for server in self._servers:
                server.process.stop(self._waits)
            self._servers.clear()
            records.forget_fleet(self._home)


def end_server(server: ServerRecord, waits: Waits) -> bool:
    """End a ComfyUI that was written down; True if it no longer runs.

    Nothing is signalled unless it is certain that the process is still the same.
    """
    return server.process is None or pids.end_and_wait(server.process.id, waits.end)
