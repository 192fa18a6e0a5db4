"""The ComfyUI servers of one App: found, asked what they have, and drawn on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from ..core.errors import EngineError, KizyError
from .comfy_offer import ComfyOffer, Server
from .engines.comfy.address import Address
from .engines.comfy.client import ComfyClient
from .engines.comfy.discover import discover, start_options
from .engines.comfy.engine import ComfyEngine
from .engines.comfy.managed import ManagedServers
from .engines.comfy.pool import Pool
from .engines.comfy.records import request_restart
from .settings import Settings
from .storage.pictures import PictureFolder

MAX_ASKED_AT_ONCE = 16


class ComfySide:
    """Servers that are set, found, or started from the folder in the settings on first use.

    `say` is told what takes long, such as ComfyUI's start.
    """

    def __init__(
        self,
        settings: Settings,
        pictures: PictureFolder,
        *,
        say: Callable[[str], None] = lambda line: None,
        client: Callable[[Address], ComfyClient] = ComfyClient,
        find: Callable[[Settings], list[Address]] = discover,
    ) -> None:
        self._settings, self._pictures = settings, pictures
        self._say, self._client, self._find = say, client, find
        self._managed: ManagedServers | None = None
        self._engine: ComfyEngine | None = None

    @property
    def there(self) -> bool:
        """Whether there is any server to ask, or a folder to start one from."""
        return start_options(self._settings) is not None or bool(self._found)

    @cached_property
    def addresses(self) -> list[Address]:
        """Where the servers are. A ComfyUI whose folder is set is started if it does not run.

        Raises EngineError `comfyui_not_started`, InputError `comfyui_folder_invalid`.
        """
        options, found = start_options(self._settings), self._found
        if options is None:
            return found
        self._managed = ManagedServers(options, say=self._say)
        started = self._managed.start()
        self._managed.watch_in_background()
        known = {address.url for address in found}
        return [*found, *(address for address in started if address.url not in known)]

    @cached_property
    def clients(self) -> list[ComfyClient]:
        """One for each server, at least one. Raises EngineError `server_unreachable`."""
        if not self.addresses:
            message = "No ComfyUI server is set up, and none runs on this machine."
            fix = "Start ComfyUI, or name a server in kizy.toml (docs/comfyui.md shows how)."
            raise EngineError("server_unreachable", message, fix=fix)
        return [self._client(address) for address in self.addresses]

    def offer(self, *, fresh: bool = False) -> ComfyOffer:
        """What the servers that answer have. Raises EngineError if none does.

        `fresh`: not what they had when they were last asked, which takes longer.
        """
        with ThreadPoolExecutor(min(len(self.clients), MAX_ASKED_AT_ONCE)) as threads:
            answers = list(threads.map(lambda client: _ask(client, fresh=fresh), self.clients))
        servers = [answer for answer in answers if isinstance(answer, Server)]
        if not servers:
            raise next(answer for answer in answers if isinstance(answer, KizyError))
        return ComfyOffer(servers, self._settings.model)

    def engine(self) -> ComfyEngine:
        """The engine over all servers, made on first use."""
        if self._engine is None:
            clients: Sequence[ComfyClient] = self.clients
            pool = Pool(clients, on_stuck=self._restart)
            self._engine = ComfyEngine(
                pool, clients, self._pictures.save_png, previews=self._settings.previews
            )
        return self._engine

    def close(self) -> None:
        """Close the connections and stop what was started here."""
        for client in self.__dict__.get("clients", ()):
            client.close()
        if self._managed is not None:
            self._managed.stop()

    @cached_property
    def _found(self) -> list[Address]:
        return self._find(self._settings)

    def _restart(self, address: Address) -> None:
        """A server is stuck: if Kizy started it, its keeper restarts it."""
        request_restart(address.url)


def _ask(client: ComfyClient, *, fresh: bool) -> Server | KizyError:
    try:
        facts = client.refresh_facts() if fresh else client.facts()
        stats = client.stats()
    except KizyError as error:
        return error
    memory = [device.total for device in stats.devices if device.name != "cpu"]
    return Server(client.address.name, facts, max(memory, default=None))
