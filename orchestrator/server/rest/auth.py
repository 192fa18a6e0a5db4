"""Who may ask: keys, and what is trusted without one.

On this machine's own addresses nobody needs a key; a request without one is trusted if it comes
straight from here: not through a proxy, not from a web page of another address, and not by a name
that somebody else's DNS made point here. Everywhere else each request needs a key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ....core.errors import CODES, InputError, KizyError
from ...jobs.keys import BEGIN, Key
from . import interactive
from .host import Host
from .problems import problem
from .signed_links import FileLinks

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""Paths that tell nothing about anybody's work."""

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers by which a proxy is known."""


LOGIN = 'Basic realm="Kizy: any user name, and a key as the password", charset="UTF-8"'
"""How a browser is told to ask for the key of the page that shows the API."""


class Keys(Protocol):
    """Where keys are looked up. Raises StorageError."""

    def find(self, words: str) -> Key | None: ...


@dataclass(frozen=True)
class Who:
    """Whoever asks. `name` None: somebody at this machine, without a key."""

    name: str | None
    admin: bool


@dataclass(frozen=True)
class Caller:
    """Whoever asks, and what of the queue they may see and change."""

    who: Who
    service: Host

    def owner_of(self, given: str | None) -> str | None:
        """Whose a new job becomes; None: as the request says. `given`: what it says, if it does."""
        return None if given is not None and self.who.admin else self.who.name


class Access:
    """`keys` None: there are none. `host`: what the server listens on. `links`: signs links."""

    def __init__(self, keys: Keys | None, host: str, links: FileLinks) -> None:
        self._keys = keys
        self.links = links
        self.trusting = is_loopback(host)

    def who(self, headers: Mapping[str, str], client: str | None) -> Who:
        """Who sends a request with these headers (names in lower case) from this address.

        Raises InputError `key_missing`, `key_wrong` or `origin_refused`, StorageError.
        """
        key = _key_of(headers)
        if key is not None and self.trusting and not key.startswith(BEGIN):
            # OpenAI's clients always send something; here, where none is needed, it is no key.
            key = None
        if key is not None:
            known = self._keys.find(key) if self._keys is not None else None
            if known is None:
                raise InputError("key_wrong", "The key is none of this server's.")
            return Who(known.name, known.admin)
        if not self.trusting or not is_loopback(client or ""):
            raise InputError("key_missing", "This server wants a key.")
        if any(name in headers for name in FORWARDED):
            message = "The request came through a proxy, so it needs a key."
            raise InputError("key_missing", message)
        _require_own_address(headers)
        return Who(None, True)


class Doorkeeper:
    """ASGI middleware: nobody comes further whom `access` refuses."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            headers: Mapping[str, str] = Headers(scope=scope)
            signed = self._access.links.opens(
                scope["method"], scope["path"], scope.get("query_string", b"")
            )
            if signed:
                # It is for this one file, and was signed for somebody who may see it.
                scope.setdefault("state", {})["who"] = Who(None, True)
                await self._app(scope, receive, send)
                return
            page = interactive.is_part(scope["path"])
            if page and (key := interactive.key_of_login(headers)) is not None:
                # Browsers ask their user for a login and nothing else. Here alone: for what changes
                # something, a page of another address could have the browser send it along.
                headers = {**headers, "authorization": f"Bearer {key}"}
            client = scope["client"][0] if scope.get("client") else None
            try:
                if "authorization" in headers:
                    who = await run_in_threadpool(self._access.who, headers, client)
                else:
                    who = self._access.who(headers, client)
            except KizyError as failure:
                error = failure
                if signed is False and error.code == "key_missing":
                    error = InputError("link_ended", CODES["link_ended"].meaning)
                refusal = problem(error, path=scope["path"])
                if page and refusal.status_code == 401:
                    refusal.headers["WWW-Authenticate"] = LOGIN
                await refusal(scope, receive, send)
                return
            scope.setdefault("state", {})["who"] = who
        await self._app(scope, receive, send)


def caller(request: Request) -> Caller:
    """Whoever asks, for handlers."""
    who: Who = request.state.who
    host: Host = request.app.state.host
    return Caller(who, host.seen_by(None if who.admin else who.name))


Asking = Annotated[Caller, Depends(caller)]


def require_admin(asking: Caller) -> None:
    """Raises InputError `not_allowed`."""
    if not asking.who.admin:
        raise InputError("not_allowed", "Only an administrator's key may do that.")


def is_loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, is this machine's own and no other's."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _key_of(headers: Mapping[str, str]) -> str | None:
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, key = given.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer":
        raise InputError("key_wrong", "The header Authorization holds no bearer key.")
    return key or None


def _require_own_address(headers: Mapping[str, str]) -> None:
    """Raises InputError `origin_refused`."""
    host = headers.get("host", "")
    if not is_loopback(_host_of(f"//{host}")):
        named = f'asks for the host "{host[:100]}"' if host else "names no host"
        message = f"The request {named}, which is no name of this machine for itself."
        raise InputError("origin_refused", message)
    origin = headers.get("origin")
    if origin is not None and not _is_own_page(origin, host):
        where = "that tells no address" if origin == "null" else f'at "{origin[:100]}"'
        message = f"The request comes from a page or program {where}, not from this server's own."
        raise InputError("origin_refused", message)


def _is_own_page(origin: str, host: str) -> bool:
    """Whether a page of this server sent it: by the same name, or another of this machine's."""
    page, here = _authority(origin), _authority(f"http://{host}")
    if page is None or here is None or not origin.startswith(("http://", "https://")):
        return False
    return page == here or (is_loopback(page[0]) and page[1] == here[1])


def _host_of(url: str) -> str:
    parts = _authority(url)
    return parts[0] if parts is not None else ""


def _authority(url: str) -> tuple[str, int] | None:
    """(host in lower case, port) of an address; None for what is none, such as "null"."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443, "": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.hostname.lower(), port) if parts.hostname else None
