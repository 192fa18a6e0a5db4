"""The ComfyUI servers of one App: found, asked what they have, and drawn on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from ..core import home
from ..core.comfyui_address import Address
from ..core.errors import EngineError, KizyError
from ..core.kept import Kept
from ..core.plan import Plan
from .backends.base import SavedArtifacts
from .backends.comfyui.content import fingerprint
from .backends.comfyui.launcher import server_records as records
from .backends.comfyui.launcher.discover import discover, start_options
from .backends.comfyui.launcher.managed_servers import Options
from .backends.comfyui.launcher.supervisor import start_detached
from .backends.comfyui.launcher.users import User
from .backends.comfyui.protocol.client import ComfyClient
from .backends.comfyui.protocol.model_files import FileStamp
from .backends.comfyui.run.backend import ComfyEngine
from .backends.comfyui.run.pool import Pool
from .backends.comfyui.run.saved_pictures import SavedPictures
from .planning.comfyui_offer import ComfyOffer
from .planning.inventory import CONNECT, GRACE, OLD, READ, Inventory, Server, ServerState, Snapshot
from .settings import Settings
from .shelf import Shelf
from .storage.pictures import Pictures

LOOK_AGAIN = 5.0
"""Seconds after which servers are looked for again: a look takes a third of one at most."""


class ComfySide:
    """Servers that are set, found, or started from the folder in the settings on first use.

    Looked for again after a while: one that came since is used, one that went is not. `saved`: what
    was saved of jobs that are taken up. `say` is told what takes long, such as ComfyUI's start.
    """

    def __init__(
        self,
        settings: Settings,
        pictures: Pictures,
        shelf: Shelf,
        *,
        saved: SavedArtifacts | None = None,
        say: Callable[[str], None] = lambda line: None,
        client: Callable[[Address], ComfyClient] = ComfyClient,
        find: Callable[[Settings], list[Address]] = discover,
        start: Callable[[Options], list[Address]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._pictures, self._shelf = settings, pictures, shelf
        self._saved = saved
        self._say, self._client = say, client
        start = start or self._started
        self._found = Kept(lambda: find(settings), fresh=LOOK_AGAIN, clock=clock)
        self._starts = Kept(lambda: self._start(start), fresh=LOOK_AGAIN, clock=clock)
        self.inventory = Inventory(say=say)
        # Guards the four below, from whoever plans, the threads of jobs and listings, and `close`.
        # Held for a moment only: nobody is asked, started or connected with it.
        self._lock = threading.Lock()
        self._clients: dict[Address, ComfyClient] = {}
        self._user: User | None = None
        self._engine: ComfyEngine | None = None
        self._closed = False

    @property
    def there(self) -> bool:
        """Whether there is any server to ask, or a folder to start one from."""
        return start_options(self._settings) is not None or bool(self._found.get(OLD))

    @property
    def count(self) -> int:
        """How many servers are known now; asks nobody."""
        with self._lock:
            known = len(self._clients)
        return max(known, len(self._found.soon() or ()))

    def clients(self) -> list[ComfyClient]:
        """One for each server, at least one. A ComfyUI whose folder is set is started.

        Waits for that, and for a look for servers if the last is old. Raises EngineError
        `server_unreachable`, `comfyui_not_started`, InputError `comfyui_folder_invalid`.
        """
        addresses = list(self._found.get(LOOK_AGAIN))
        options = start_options(self._settings)
        if options is None:
            self._join(addresses)
        else:
            known = {address.url for address in addresses}
            # What another process started may have ended with it; what runs is not started again.
            started = self._starts.get(0.0)
            addresses += [address for address in started if address.url not in known]
        return self._use(addresses)

    def snapshot(self, *, patient: bool = False, fresh: bool = False) -> Snapshot:
        """What the servers have that are known. Waits for the first answers, and no longer.

        `patient`: also for those that failed when they were last asked, within the limits. `fresh`:
        not what they had when they were last asked. Raises what `clients` raises, without any.
        """
        if patient or fresh:
            self.clients()
        else:
            self._known_clients()
        if fresh:
            return self.inventory.listed_anew()
        return self.inventory.settled(patient=patient)

    def known(self) -> Snapshot:
        """What the servers have that run; none is started. Waits for first answers alone."""
        if not self._running():
            return Snapshot()
        return self.inventory.settled()

    def states(self) -> list[ServerState]:
        """How the servers that are set or run are; as `known`."""
        return self.inventory.states() if self._running() else []

    def offer(self, *, patient: bool = False, fresh: bool = False) -> ComfyOffer:
        """What the servers that answer have; as `snapshot`. Raises EngineError if none does."""
        seen = self.snapshot(patient=patient, fresh=fresh)
        if not seen.servers:
            raise next(iter(seen.errors.values()), _none_there())
        settings = self._settings
        return ComfyOffer(seen.servers, settings.model, self._shelf, settings.comfyui.folder)

    def engine(self) -> ComfyEngine:
        """The engine over all servers, made on first use. Raises what `clients` raises, then."""
        with self._lock:
            engine = self._engine
        if engine is not None:
            # Jobs go on without any server being found now: it may be starting again.
            with contextlib.suppress(KizyError):
                self.clients()
            return engine
        clients = self.clients()
        made = ComfyEngine(
            Pool(clients, on_stuck=self._restart),
            clients,
            self._pictures.save_png,
            previews=self._settings.previews,
            saved=self._saved or SavedPictures(home.home() / "saved.jsonl"),
        )
        with self._lock:
            # Another thread may have been here meanwhile: its engine has jobs already.
            self._engine = self._engine or made
            self._engine.use([*self._clients.values()])
            return self._engine

    def fingerprints(self, plan: Plan, only: str | None = None) -> dict[str, str]:
        """Server -> what draws the Plan there, of the servers where all of it is known.

        They are asked for their files as they are now, all at once, within the limits; one that
        hangs is not waited for beside another. `only`: that server alone. Raises what `snapshot`
        raises.
        """
        servers = [one for one in self.snapshot().servers if only in (None, one.name)]
        with self._lock:
            clients = {client.address.name: client for client in self._clients.values()}
        threads = ThreadPoolExecutor(max(1, len(servers)), "kizy-files")
        asked = {
            threads.submit(_fingerprint_on, clients[one.name], one, plan): one.name
            for one in servers
            if one.name in clients
        }
        threads.shutdown(wait=False)
        wait(asked, return_when=FIRST_COMPLETED)
        done, _ = wait(asked, timeout=GRACE)
        found = {asked[one]: one.result() for one in done}
        return {name: value for name, value in found.items() if value is not None}

    def close(self) -> None:
        """Close the connections. What Kizy started ends when nobody uses it any more."""
        self.inventory.close()
        with self._lock:
            self._closed = True
            clients, user, self._user = list(self._clients.values()), self._user, None
        for client in clients:
            client.close()
        if user is not None:
            user.leave()

    def _running(self) -> bool:
        """Take up the servers that are set or run; whether there is any."""
        addresses = list(self._found.get(OLD))
        urls = {address.url for address in addresses}
        addresses += [one for one in self._starts.last or () if one.url not in urls]
        if addresses:
            self._use(addresses)
        return bool(addresses)

    def _known_clients(self) -> None:
        """Look for servers, or start one, in the background; wait if none is known at all."""
        with self._lock:
            known = bool(self._clients)
        addresses = list(self._found.get(OLD))
        if start_options(self._settings) is None:
            self._join(addresses)
            self._use(addresses)
            return
        started = self._starts.soon()
        if not addresses and not started and not known:
            self.clients()
            return
        urls = {address.url for address in addresses}
        self._use([*addresses, *(one for one in started or () if one.url not in urls)])

    def _use(self, addresses: Sequence[Address]) -> list[ComfyClient]:
        """These servers from now on. Raises EngineError `server_unreachable` without any."""
        if not addresses:
            raise _none_there()
        with self._lock:
            came = [address for address in addresses if address not in self._clients]
        # Outside the lock: a client reads what it learned before.
        made = {address: self._client(address) for address in came}
        with self._lock:
            for address in came:
                self._clients.setdefault(address, made[address])
            gone = [address for address in self._clients if address not in addresses]
            left = [self._clients.pop(address) for address in gone]
            left += [x for at, x in made.items() if self._clients.get(at) is not x]
            clients = [self._clients[address] for address in addresses]
            if gone or came:
                self.inventory.use(clients)
                if self._engine is not None:
                    self._engine.use(clients)
        for client in left:
            client.close()
        return clients

    def _join(self, found: Sequence[Address] = ()) -> None:
        """Count as a user of what Kizy started, before it is used."""
        with self._lock:
            joined = self._user is not None or self._closed
        if joined or not (start_options(self._settings) or (found and records.running_servers())):
            return
        user = User()
        with self._lock:
            if self._user is None and not self._closed:
                self._user, user = user, None
        if user is not None:
            user.leave()

    def _start(self, start: Callable[[Options], list[Address]]) -> list[Address]:
        options = start_options(self._settings)
        assert options is not None
        self._join()
        return start(options)

    def _started(self, options: Options) -> list[Address]:
        return start_detached(options, say=self._say, while_used=True)

    def _restart(self, address: Address) -> None:
        """A server is stuck: if Kizy started it, its keeper restarts it."""
        records.request_restart(address.url)


def _fingerprint_on(client: ComfyClient, server: Server, plan: Plan) -> str | None:
    listed: dict[str, Mapping[str, FileStamp] | None] = {}

    def files(folder: str) -> Mapping[str, FileStamp] | None:
        if folder not in listed:
            listed[folder] = client.model_files(folder, connect=CONNECT, read=READ)
        return listed[folder]

    with contextlib.suppress(KizyError):
        return fingerprint(plan, server.facts, server.device, files)
    return None


def _none_there() -> EngineError:
    message = "No ComfyUI server is set up, and none runs on this machine."
    fix = "Start ComfyUI, or name a server in kizy.toml (docs/comfyui.md shows how)."
    return EngineError("server_unreachable", message, fix=fix)
