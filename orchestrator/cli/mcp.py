"""`kizy mcp`: Kizy's tools for assistants, over stdin and stdout or over HTTP on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...core.errors import InputError
from ...core.home import pictures_folder
from ..server.mcp.artifact_locations import Addresses, PicturesHere
from ..server.mcp.protocol_server import Terms
from ..service import Service
from ..settings import Settings, load_settings

HOST = "127.0.0.1"

PATIENCE = 1.0
"""Seconds for what still runs: clients kill a server that does not end within two."""


def mcp(*, http: bool, port: int, allow: Sequence[Path]) -> None:
    """Answer until the client goes. Raises KizyError."""
    settings = load_settings()
    terms = _terms(settings, allow)
    service, close = _service(settings)
    _end_by_signals(close)
    try:
        if http:
            # Whoever else is on this machine may ask as well: for them no file is opened.
            _serve_http(service, replace(terms, folders=()), port)
        else:
            from ..server.mcp.over_stdio import serve_stdio

            serve_stdio(service, terms)
    finally:
        close()


def _service(settings: Settings) -> tuple[Service, Callable[[], None]]:
    """(the server of the settings, else this process; what ends it).

    Requests name no paths in either.
    """
    if settings.server is not None:
        from ..sdk.remote.service import RemoteService

        key = settings.server_key
        remote = RemoteService(settings.server, key.get_secret_value() if key else None)
        return remote, remote.close
    from ..jobs.service import local_service

    local = local_service(settings)
    return local.seen_by(None), lambda: local.close(PATIENCE)


def _end_by_signals(close: Callable[[], None]) -> None:
    """Ctrl-C and SIGTERM end it at once: a thread that reads stdin would wait for more."""

    def leave(number: int, _frame: object) -> None:
        try:
            close()
        finally:
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def _terms(settings: Settings, allow: Sequence[Path]) -> Terms:
    folder = (settings.pictures or pictures_folder()).absolute()
    folders = dict.fromkeys([folder, *(_allowed(path) for path in allow)])
    server = settings.server
    others = Addresses(lambda _scope: server) if server is not None else None
    places = PicturesHere(folder, others)
    return Terms(folders=tuple(folders), places=places, fleeting=server is None)


def _allowed(path: Path) -> Path:
    """Raises InputError `path_refused` for a folder that is none."""
    folder = Path(os.path.normpath(path.expanduser().absolute()))
    if not folder.is_dir():
        message = f"--allow {path}: there is no such folder."
        raise InputError("path_refused", message, fix="Name a folder that is there.")
    return folder


def _serve_http(service: Service, terms: Terms, port: int) -> None:
    import sys

    import uvicorn

    from ..server.mcp.over_http import LOCAL, make_http_app, standalone
    from ..server.rest.running import listen_on, url_of

    app = standalone(make_http_app(lambda _scope: service, terms, security=LOCAL))
    config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=3)
    with listen_on(HOST, port) as listening:
        # Whoever reads the line may call at once.
        listening.listen()
        print(f"MCP: {url_of(listening, HOST)}/mcp", file=sys.stderr, flush=True)
        uvicorn.Server(config).run(sockets=[listening])
