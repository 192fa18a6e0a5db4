"""MCP over streamable HTTP, as an ASGI app that another server carries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Message, Receive, Send

from ....core.surrogates import whole_json
from ...service import Service
from .artifact_locations import Scope
from .protocol_server import Terms, server_for

MAX_BODY = 48_000_000
"""Bytes of a message: two pictures of 16 MB in base64."""

MAX_SESSIONS = 1000
"""Clients of older protocols, which hold a session open for as long as IDLE seconds."""

IDLE = 30 * 60.0

LOCAL = TransportSecuritySettings(
    allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"],
)
"""For a server on loopback that nobody else guards: no web page of another address may use it."""


class HttpApp:
    """The ASGI app. Whoever carries it enters `running` first, and leaves it at the end.

    Who asks is known before: by `scope["state"]`, or by whatever `service_for` and the terms'
    `owner` look at. A session belongs to the owner who opened it.
    """

    def __init__(
        self,
        service_for: Callable[[Scope], Service],
        terms: Terms,
        security: TransportSecuritySettings | None,
    ) -> None:
        self._leaving = False
        self._owner = terms.owner
        stopping = terms.stopping
        terms = replace(terms, stopping=lambda: self._leaving or stopping())
        self._sessions = StreamableHTTPSessionManager(
            server_for(service_for, terms),
            security_settings=security,
            session_idle_timeout=IDLE,
            max_request_body_size=MAX_BODY,
            max_sessions=MAX_SESSIONS,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """As long as it answers. Once only. Calls that still run at its end leave their jobs."""
        async with self._sessions.run():
            try:
                yield
            finally:
                self._leaving = True

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        owner = self._owner(scope)
        token = AccessToken(token="", client_id="kizy", scopes=[], subject=owner)
        scope = {**scope, "user": AuthenticatedUser(token)}
        await self._sessions.handle_request(scope, _whole_body(receive), send)


def _whole_body(receive: Receive) -> Receive:
    """`receive` that gives the body at once, with half an emoji in its JSON replaced.

    The protocol's parser refuses it. What is over the limit is handed on as it comes, for the
    limit to be told.
    """
    done = False

    async def received() -> Message:
        nonlocal done
        message = await receive()
        if done or message["type"] != "http.request":
            return message
        body = bytearray(message.get("body", b""))
        while message.get("more_body") and len(body) <= MAX_BODY:
            message = await receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
        done = True
        more = bool(message.get("more_body"))
        return {"type": "http.request", "body": whole_json(bytes(body)), "more_body": more}

    return received


def make_http_app(
    service_for: Callable[[Scope], Service],
    terms: Terms | None = None,
    *,
    security: TransportSecuritySettings | None = None,
) -> HttpApp:
    """MCP for every client of a server. `service_for`: what whoever sent a request may see.

    `security`: which hosts and origins are answered; None: the server that carries it decides, as
    `kizy serve` does for all of its paths. Never paths of files: the terms' `folders` stay empty
    unless client and server share a machine and a person.
    """
    return HttpApp(service_for, terms or Terms(), security)


def standalone(app: HttpApp, path: str = "/mcp") -> ASGIApp:
    """The app as a server of its own, at one path, with or without a slash behind it."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    routes = [Route(path, app), Route(f"{path}/", app)]
    return Starlette(routes=routes, lifespan=lambda _: app.running())
