"""Where a ComfyUI server is, in one form, however a person wrote it down."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlencode, urlsplit

from ....core.errors import InputError

DEFAULT_PORT = 8188
"""ComfyUI's own (comfy/cli_args.py, --port)."""

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HELP = "Write it like http://127.0.0.1:8188 or https://gpu.example.org."


@dataclass(frozen=True)
class Address:
    """Where a server is.

    `url`: without a slash at the end ("http://127.0.0.1:8188"); a path of a proxy may follow. What
    is given is brought into that form: a bare host gets http and port 8188, and `localhost`
    becomes 127.0.0.1, for asking IPv6 first costs two seconds a call on Windows.
    `key`: the bearer token, never shown. `name`: what people call the server.
    Raises InputError `settings_invalid`.
    """

    name: str
    url: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _normal(self.url))
        if self.key is not None:
            object.__setattr__(self, "key", _checked_key(self.name, self.key))

    @property
    def secure(self) -> bool:
        """Whether it is HTTPS."""
        return self.url.startswith("https://")

    @property
    def local(self) -> bool:
        """Whether it is this machine: then no proxy stands between."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def socket_url(self, client_id: str) -> str:
        """The WebSocket's URL for a client id."""
        return f"ws{self.url.removeprefix('http')}/ws?{urlencode({'clientId': client_id})}"


def same_place(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    return _origin(urlsplit(one)) == _origin(urlsplit(other))


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme.lower(), (parts.hostname or "").lower(), port


def _normal(given: str) -> str:
    text = given.strip()
    bare = "://" not in text
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        port = parts.port
    except ValueError:
        raise _wrong(given) from None
    scheme, host = _SCHEMES.get(parts.scheme.lower()), parts.hostname
    if parts.username is not None or parts.password is not None:
        # Neither shown nor kept: it would end up in messages and file names.
        text = "A ComfyUI server's address holds a user name or password."
        raise InputError("settings_invalid", text, fix="Set the server's `key` instead.")
    if scheme is None or not host or parts.query or parts.fragment or re.search(r"\s", text):
        raise _wrong(given)
    host = "127.0.0.1" if host == "localhost" else host
    host = f"[{host}]" if ":" in host else host
    if port is None and bare:
        port = DEFAULT_PORT
    return f"{scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _wrong(given: str) -> InputError:
    text = f'"{given}" is no address of a ComfyUI server.'
    return InputError("settings_invalid", text, fix=_HELP)


def _checked_key(name: str, key: str) -> str | None:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        text = f"The key of {name} holds characters that no key can hold."
        raise InputError("settings_invalid", text, fix="Copy the key once more.")
    return key or None
