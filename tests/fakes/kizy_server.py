"""A real Kizy server in a thread of this process, over any service; it can stop and come again."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.server.rest.running import ApiServer, listen_on, url_of
from kizy.orchestrator.settings import Settings

WAIT = 20.0
"""Seconds after which a test that hangs fails."""


class KizyServer:
    """Use as a context, or `start` and `stop` by hand: the address stays the same.

    `keys`: what `make_api` takes. `host`: what it believes to listen on; other than loopback, it
    wants keys.
    """

    def __init__(self, service: Any, *, keys: Any = None, host: str = "127.0.0.1") -> None:
        self._service, self._keys, self._host = service, keys, host
        self._running: tuple[ApiServer, threading.Thread] | None = None
        self.port = 0
        self.url = ""

    def start(self) -> None:
        settings = Settings.model_validate({"serve": {"host": self._host}})
        begun = threading.Event()
        server = ApiServer(make_api(self._service, settings, self._keys), begun=begun.set)
        listening = listen_on("127.0.0.1", self.port)
        self.url = url_of(listening, "127.0.0.1")
        self.port = urlsplit(self.url).port or 0

        def serve() -> None:
            with listening:
                server.run(sockets=[listening])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert begun.wait(WAIT), "the server did not begin"
        self._running = server, thread

    def stop(self) -> None:
        if self._running is None:
            return
        server, thread = self._running
        self._running = None
        server.should_exit = True
        thread.join(WAIT)
        assert not thread.is_alive(), "the server did not end"

    def __enter__(self) -> KizyServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
