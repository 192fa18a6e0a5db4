"""Where a Kizy server is, in one form, however a person wrote it down. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ....core.comfyui_address import checked_key
from ....core.errors import InputError
from ...settings import ServeSettings
from .problems import Place

DEFAULT_PORT = int(ServeSettings.model_fields["port"].default)

_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not listened on


def place(url: str, key: str | None = None) -> Place:
    """A server: "http://127.0.0.1:7433", "https://draw.example.org", or "gpu1" for its port 7433.

    `localhost` becomes 127.0.0.1, and ::1 where nothing answers there: asking IPv6 first costs two
    seconds a call on Windows. Raises InputError `settings_invalid`.
    """
    found = _normal(url)
    local = urlsplit(found).hostname == "localhost"
    also = found.replace("//localhost", "//[::1]", 1) if local else None
    return Place(
        found.replace("//localhost", "//127.0.0.1", 1) if local else found,
        checked_key("the Kizy server", key or ""),
        also,
    )


def own_place(serve: ServeSettings, key: str | None = None) -> Place:
    """The server that `kizy serve` starts on this machine, as the settings have it."""
    host = "127.0.0.1" if serve.host in _EVERYWHERE else serve.host
    host = f"[{host}]" if ":" in host else host
    return place(f"http://{host}:{serve.port}", key)


def is_here(url: str) -> bool:
    """Whether it is this machine: then no proxy stands between."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False


def _normal(given: str) -> str:
    text = given.strip()
    bare = "://" not in text
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        port = parts.port
    except ValueError:
        raise _wrong(given) from None
    if parts.username is not None or parts.password is not None:
        # Neither shown nor kept: it holds a password.
        message = "The Kizy server's address holds a user name or password."
        raise InputError("settings_invalid", message, fix="Give a key beside the address.")
    odd = parts.query or parts.fragment or re.search(r"\s", text)
    host, scheme = parts.hostname, parts.scheme.lower()
    if scheme not in ("http", "https") or not host or odd:
        raise _wrong(given)
    host = f"[{host}]" if ":" in host else host
    port = DEFAULT_PORT if port is None and bare else port
    return f"{scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _wrong(given: str) -> InputError:
    message = f'"{given[:200]}" is no address of a Kizy server.'
    fix = "Write it like http://127.0.0.1:7433 or https://draw.example.org."
    return InputError("settings_invalid", message, fix=fix)
