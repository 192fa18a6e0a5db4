"""The server process: one socket, until a signal; then everything ends within ten seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ....core.errors import InputError
from ....core.leaving import leave_at_once
from .header_timeout import HeadInTime

GRACE = 2
"""Seconds for answers that are under way when the server stops."""

IDLE = 30
"""Seconds that a connection may stay open between two requests."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ApiServer(uvicorn.Server):
    """Serves an app of `make_api` on a socket. `begun`: called once it answers.

    `end`: called at the same time as open answers are finished, from a thread of its own.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        begun: Callable[[], None] = lambda: None,
        end: Callable[[], None] = lambda: None,
        access_log: bool = False,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # Logging is the command's own.
                log_config=None,
                access_log=access_log,
                http=HeadInTime,
                ws="none",
                lifespan="on",
                server_header=False,
                timeout_keep_alive=IDLE,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._app, self._begun, self._end = app, begun, end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._begun()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Whoever waits in a request hears first of it; streams of events end by themselves.
        self._app.state.closing.begin()
        ending = asyncio.ensure_future(asyncio.to_thread(self._end))
        await super().shutdown(sockets)
        await ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends all in order; the second one leaves at once.

        What ran is taken up by the next process.
        """
        if self.should_exit:
            leave_at_once(128 + sig, "Left at once; what ran goes on at the next start.")
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, which would end the process by the same signal once more."""
        if threading.current_thread() is not threading.main_thread():
            # Only the main thread hears signals.
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that is bound. Raises InputError `address_unusable`."""
    bare = host.strip("[]")
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` is both: clients of Kizy ask the older one first, as do most.
        family, kind, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        # With its protocol named, asyncio sends small answers at once (TCP_NODELAY), not after
        # the 40 ms in which the other side may still say something.
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise _unusable(host, port, error) from error
    try:
        if os.name == "posix":
            # What was closed a moment ago is free again; on Windows it means another thing.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise _unusable(host, port, error) from error
    return listening


def url_of(listening: socket.socket, host: str) -> str:
    """The address to call a bound socket by."""
    port = listening.getsockname()[1]
    bare = host.strip("[]")
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


def _unusable(host: str, port: int, error: OSError) -> InputError:
    message = f"Nothing can listen on {host}, port {port}: {error.strerror}."
    return InputError("address_unusable", message)
