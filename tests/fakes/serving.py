"""An API on a real socket of this machine, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.server.rest.running import ApiServer, listen_on, url_of

WAIT = 20.0
"""Seconds after which a test that hangs fails."""


@contextlib.contextmanager
def serving(service: Any, **options: Any) -> Iterator[str]:
    """The address of an API over a service; `options` as `make_api` takes them."""
    with serving_app(make_api(service, **options)) as url:
        yield url


@contextlib.contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """The address of an app of `make_api`."""
    begun = threading.Event()
    server = ApiServer(app, begun=begun.set)
    with listen_on("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert begun.wait(WAIT), "the server did not begin"
        try:
            yield url_of(listening, "127.0.0.1")
        finally:
            server.should_exit = True
            thread.join(WAIT)
            assert not thread.is_alive(), "the server did not end"
