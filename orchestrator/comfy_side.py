"""The ComfyUI servers of one App: found, asked what they have, and drawn on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..catalog.card import Card
from ..core import home
from ..core.errors import EngineError, KizyError
from .comfy_offer import ComfyOffer, Server
from .engines.base import SavedArtifacts
from .engines.comfy import records
from .engines.comfy.address import Address
from .engines.comfy.client import ComfyClient
from .engines.comfy.discover import discover, start_options
from .engines.comfy.engine import ComfyEngine
from .engines.comfy.managed import Options
from .engines.comfy.pool import Pool
from .engines.comfy.saved import SavedPictures
from .engines.comfy.supervise import start_detached
from .engines.comfy.users import User
from .server_loras import server_cards
from .settings import Settings
from .shelf import Shelf
from .storage.pictures import Pictures

MAX_ASKED_AT_ONCE = 16

LOOK_AGAIN = 5.0
"""Seconds after which servers are looked for again: a look takes a third of one at most."""


OFFER_SECONDS = 1.0
"""So long the servers' answers count for requests that come one right after the other."""


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
        self._say, self._client, self._find, self._clock = say, client, find, clock
        self._start = start or self._started
        self._lock = threading.RLock()
        self._found: list[Address] = []
        self._found_at = float("-inf")
        self._clients: dict[Address, ComfyClient] = {}
        self._offered: tuple[float, ComfyOffer, list[ComfyClient]] | None = None
        self._user: User | None = None
        self._engine: ComfyEngine | None = None

    @property
    def there(self) -> bool:
        """Whether there is any server to ask, or a folder to start one from."""
        return start_options(self._settings) is not None or bool(self._look())

    @property
    def count(self) -> int:
        """How many servers are known now."""
        with self._lock:
            return max(len(self._clients), len(self._look()))

    def clients(self) -> list[ComfyClient]:
        """One for each server, at least one. A ComfyUI whose folder is set is started.

        Raises EngineError `server_unreachable`, `comfyui_not_started`, InputError
        `comfyui_folder_invalid`.
        """
        with self._lock:
            addresses = self._addresses()
            if not addresses:
                message = "No ComfyUI server is set up, and none runs on this machine."
                fix = "Start ComfyUI, or name a server in kizy.toml (docs/comfyui.md shows how)."
                raise EngineError("server_unreachable", message, fix=fix)
            gone = [address for address in self._clients if address not in addresses]
            came = [address for address in addresses if address not in self._clients]
            for address in came:
                self._clients[address] = self._client(address)
            left = [self._clients.pop(address) for address in gone]
            clients = [self._clients[address] for address in addresses]
            if (gone or came) and self._engine is not None:
                self._engine.use(clients)
            for client in left:
                client.close()
            return clients

    def offer(self, *, fresh: bool = False) -> ComfyOffer:
        """What the servers that answer have. Raises EngineError if none does.

        `fresh`: not what they had when they were last asked, which takes longer.
        """
        clients = self.clients()
        last = self._offered
        if last is not None and not fresh and last[2] == clients and self._clock() < last[0]:
            return last[1]
        with ThreadPoolExecutor(min(len(clients), MAX_ASKED_AT_ONCE)) as threads:
            answers = list(threads.map(lambda client: _ask(client, fresh=fresh), clients))
        servers = [answer for answer in answers if isinstance(answer, Server)]
        if not servers:
            raise next(answer for answer in answers if isinstance(answer, KizyError))
        offer = ComfyOffer(servers, self._settings.model, self._shelf)
        # One that does not answer may take seconds to say so: it is not asked at every request.
        age = OFFER_SECONDS if len(servers) == len(clients) else LOOK_AGAIN
        self._offered = self._clock() + age, offer, clients
        return offer

    def engine(self) -> ComfyEngine:
        """The engine over all servers, made on first use. Raises what `clients` raises, then."""
        with self._lock:
            if self._engine is None:
                clients = self.clients()
                self._engine = ComfyEngine(
                    Pool(clients, on_stuck=self._restart),
                    clients,
                    self._pictures.save_png,
                    previews=self._settings.previews,
                    saved=self._saved or SavedPictures(home.home() / "saved.jsonl"),
                )
            else:
                # Jobs go on without any server being found now: it may be starting again.
                with contextlib.suppress(KizyError):
                    self.clients()
            return self._engine

    def close(self) -> None:
        """Close the connections. What Kizy started ends when nobody uses it any more."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            if self._user is not None:
                self._user.leave()
                self._user = None

    def _addresses(self) -> list[Address]:
        """Where the servers are now."""
        found, options = self._look(), start_options(self._settings)
        if self._user is None and (options is not None or found):
            self._join(options)
        if options is None:
            return found
        known = {address.url for address in found}
        return [*found, *(x for x in self._start(options) if x.url not in known)]

    def _join(self, options: Options | None) -> None:
        """Count as a user of what Kizy started, before it is used."""
        if options is not None or records.running_servers():
            self._user = User()

    def _started(self, options: Options) -> list[Address]:
        return start_detached(options, say=self._say, while_used=True)

    def _look(self) -> list[Address]:
        with self._lock:
            if self._clock() - self._found_at >= LOOK_AGAIN:
                self._found = self._find(self._settings)
                self._found_at = self._clock()
            return self._found

    def _restart(self, address: Address) -> None:
        """A server is stuck: if Kizy started it, its keeper restarts it."""
        records.request_restart(address.url)


def _ask(client: ComfyClient, *, fresh: bool) -> Server | KizyError:
    try:
        facts = client.refresh_facts() if fresh else client.facts()
        stats = client.stats()
    except KizyError as error:
        return error
    memory = [device.total for device in stats.devices if device.name != "cpu"]
    # Without them it draws all the same; LoRAs that lie there alone are then known by name only.
    cards: tuple[Card, ...] = ()
    with contextlib.suppress(KizyError):
        cards = server_cards(client.lora_catalog())
    return Server(client.address.name, facts, max(memory, default=None), cards)
