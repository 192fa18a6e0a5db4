"""A real Kizy server in a thread of this process, over any service; it can stop and come again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from kizy.orchestrator.api.server import make_api
from kizy.orchestrator.settings import Settings

WAIT = 20.0
"""Seconds after which a test that hangs fails."""


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to pytest."""
        yield


class KizyServer:
    """Use as a context, or `start` and `stop` by hand: the port stays the same.

    `keys`: what `make_api` takes. `host`: what it believes to listen on; other than loopback, it
    wants keys.
    """

    def __init__(self, service: Any, *, keys: Any = None, host: str = "127.0.0.1") -> None:
        self.service = service
        self._keys, self._host = keys, host
        self._port = 0
        self._server: _Uvicorn | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> None:
        settings = Settings(serve={"host": self._host})  # type: ignore[arg-type]
        self._app = make_api(self.service, settings, self._keys)
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=1
        )
        self._server = server = _Uvicorn(config)

        def serve() -> None:
            asyncio.run(server.serve([listening]))
            listening.close()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        for _ in range(int(WAIT / 0.005)):
            if server.started:
                return
            self._thread.join(0.005)
        raise AssertionError("the server did not start")

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._app.state.closing.begin()
        self._server.should_exit = True
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "the server did not stop"
        self._server = self._thread = None

    def __enter__(self) -> KizyServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
