"""`kizy serve`: the REST server, with MCP beside it, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from ...core.cores import share_one_core
from ...core.errors import InputError
from ..settings import Settings, load_settings

if TYPE_CHECKING:
    from ..server.rest.asgi import Part
    from ..server.rest.host import Host
    from ..server.rest.signed_links import FileLinks

MCP_PATH = "/mcp"


def serve(*, host: str | None, port: int | None, access_log: bool, debug: bool) -> None:
    """Serve until a signal. Raises KizyError."""
    from ..jobs.keys import KeyStore, database_of
    from ..jobs.link_secret import link_secret
    from ..jobs.service import open_service
    from ..server.rest.asgi import make_api
    from ..server.rest.auth import is_loopback
    from ..server.rest.running import ApiServer, listen_on, url_of
    from ..server.rest.signed_links import FileLinks

    settings = _with_address(load_settings(), host, port)
    listens_on = settings.serve.host
    _log_to_stderr(access_log=access_log, debug=debug)
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(contextlib.closing(database_of(settings)))
        keys = KeyStore(database)
        if not is_loopback(listens_on) and not keys.any():
            message = f"On {listens_on} others can reach the server, and there is no key yet."
            fix = "Make one: kizy keys add NAME. Or listen on 127.0.0.1, where none is needed."
            raise InputError("key_missing", message, fix=fix)
        listening = stack.enter_context(listen_on(listens_on, settings.serve.port))
        if settings.serve.one_core:
            _share_one_core()
        service = open_service(settings)
        stack.callback(service.close)
        links = FileLinks(link_secret(database), settings.serve.link_hours)
        app = make_api(service, settings, keys, parts=[_mcp(service, links)], links=links)
        url = url_of(listening, listens_on)

        def begun() -> None:
            print(_hint(url, needs_key=not is_loopback(listens_on)), flush=True)

        server = ApiServer(app, begun=begun, end=service.close, access_log=access_log)
        server.run(sockets=[listening])
    _leave()


def _share_one_core() -> None:
    """All threads that begin from now on hand over to one another there: see core/cores.py."""
    # It counts the cores where it is imported.
    import numpy as np

    del np
    share_one_core()


def _leave() -> None:
    """End at once if a drawing was parked that cannot be stopped in the middle of a step.

    Python would wait for such a thread, or fall over it.
    """
    if threading.active_count() > 1:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with what the command line says. Raises InputError `request_invalid`."""
    given = {"host": host or settings.serve.host, "port": settings.serve.port}
    if port is not None:
        given["port"] = port
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=given)})


def _hint(url: str, *, needs_key: bool) -> str:
    key = '-H "Authorization: Bearer KEY" ' if needs_key else ""
    return f"""Kizy listens on {url}  Try: curl {key}{url}/v1/generations --json '{{"prompt": "a red fox"}}'"""  # noqa: E501


def _mcp(service: Host, links: FileLinks | None = None) -> Part:
    """Kizy's tools for assistants, for whoever may use the server. `links`: signs those to files,
    which a person opens in a browser that has no key.
    """
    from ..server.mcp.artifact_locations import Addresses
    from ..server.mcp.over_http import MAX_BODY, make_http_app
    from ..server.mcp.protocol_server import Terms
    from ..server.rest.asgi import Part

    def service_for(scope: dict[str, Any]) -> Host:
        who = scope["state"]["who"]
        return service.seen_by(None if who.admin else who.name)

    terms = Terms(
        owner=lambda scope: scope["state"]["who"].name,
        places=Addresses(_address, links.path) if links is not None else Addresses(_address),
        stopping=lambda: service.stopping,
    )
    app = make_http_app(service_for, terms)
    return Part(MCP_PATH, app, app.running, MAX_BODY)


def _address(scope: dict[str, Any]) -> str:
    """The server's address as whoever asks reaches it."""
    from starlette.requests import Request

    return str(Request(scope).base_url)


def _log_to_stderr(*, access_log: bool, debug: bool) -> None:
    level = logging.DEBUG if debug else logging.WARNING
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stderr)
    if access_log:
        lines = logging.getLogger("uvicorn.access")
        lines.setLevel(logging.INFO)
        lines.addFilter(_without_signatures)


def _without_signatures(record: logging.LogRecord) -> bool:
    """Whoever reads the log shall not open the files that others had drawn."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"signature=[^&\s]*", "signature=...", one) if isinstance(one, str) else one
            for one in record.args
        )
    return True
