"""Where a ComfyUI server is, in one form, however a person wrote it down."""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from .errors import InputError

DEFAULT_PORT = 8188
"""ComfyUI's own (comfy/cli_args.py, --port)."""

TOKENS = ("token", "access_token", "api_key", "apikey", "key")
"""Names under which proxies take a secret in the address."""

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HELP = "Write it like http://127.0.0.1:8188 or https://gpu.example.org."


@dataclass(frozen=True)
class Address:
    """Where a server is, and how it is asked to answer.

    `url`: without a slash at the end ("http://127.0.0.1:8188"); a path of a proxy may follow. What
    is given is brought into that form: a bare host gets http and port 8188, and `localhost`
    becomes 127.0.0.1, for asking IPv6 first costs two seconds a call on Windows. A user name and a
    password in it become `login`, a token behind a "?" becomes `query`; like the `key`, a bearer
    token, they are sent with every request and never shown. `name`: what people call the server.
    `also`: where it is asked if nothing answers at `url`: by IPv6, for `localhost`.
    Raises InputError `settings_invalid`.
    """

    name: str
    url: str
    key: str | None = field(default=None, repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)
    also: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        found = _read(self.url)
        given = {"url": found.url, "login": found.login, "query": found.query, "also": found.also}
        for name, value in given.items():
            if value:
                object.__setattr__(self, name, value)
        if self.key is not None:
            object.__setattr__(self, "key", checked_key(self.name, self.key))
        if self.login and ":" in self.login[0]:
            text = f"The user name for {self.name} holds a colon, which no login can hold."
            raise InputError("settings_invalid", text)
        if self.key and self.login:
            text = f"{self.name} has a key as well as a user name and a password."
            raise InputError("settings_invalid", text, fix="A request has room for one of them.")

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

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is asked, in this order."""
        return (self.url,) if self.also is None else (self.url, self.also)

    @property
    def authorization(self) -> str | None:
        """The header Authorization: of the key (RFC 6750), or of the login (RFC 7617)."""
        if self.key:
            return f"Bearer {self.key}"
        return f"Basic {_encoded(self.login)}" if self.login else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is never shown, in each form in which it may come back in an error."""
        found = [self.key or "", self.query, *(value for _, value in parse_qsl(self.query))]
        if self.login:
            found += [_encoded(self.login), self.login[1]]
        return tuple(filter(None, found))

    def socket_url(self, client_id: str, url: str | None = None) -> str:
        """The WebSocket's URL for a client id. `url`: one of `urls`, if not the first."""
        query = "&".join(filter(None, (urlencode({"clientId": client_id}), self.query)))
        return f"ws{(url or self.url).removeprefix('http')}/ws?{query}"


def same_place(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    return _origin(urlsplit(one)) == _origin(urlsplit(other))


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme.lower(), (parts.hostname or "").lower(), port


@dataclass(frozen=True)
class _Read:
    """What an address says."""

    url: str
    login: tuple[str, str] | None
    query: str
    also: str | None


def _read(given: str) -> _Read:
    text = given.strip()
    bare = "://" not in text
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        port = parts.port
    except ValueError:
        raise _wrong(given) from None
    scheme, host = _SCHEMES.get(parts.scheme.lower()), parts.hostname
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    known = all(name.lower() in TOKENS and value for name, value in pairs)
    odd = parts.fragment or re.search(r"\s", text) or not known or (parts.query and not pairs)
    if scheme is None or not host or odd:
        raise _wrong(given)
    if port is None and bare:
        port = DEFAULT_PORT
    rest = f"{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    local = host == "localhost"
    host = "127.0.0.1" if local else f"[{host}]" if ":" in host else host
    return _Read(
        url=f"{scheme}://{host}{rest}",
        login=_login_of(parts),
        query=urlencode(pairs),
        also=f"{scheme}://[::1]{rest}" if local else None,
    )


def _login_of(parts: SplitResult) -> tuple[str, str] | None:
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def _encoded(login: tuple[str, str]) -> str:
    return base64.b64encode(":".join(login).encode()).decode()


def _wrong(given: str) -> InputError:
    # Of what is no address nobody knows what in it is a secret.
    shown = re.sub(r"//[^/?#]*@|^[^/?#]*@", "//…@", given.partition("?")[0])
    text = f'"{shown}" is no address of a ComfyUI server.'
    return InputError("settings_invalid", text, fix=_HELP)


def checked_key(name: str, key: str) -> str | None:
    """A key as it is sent, None for an empty one; `name`: of whom it is for.

    Raises InputError `settings_invalid` for what no header can hold.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        text = f"The key of {name} holds characters that no key can hold."
        raise InputError("settings_invalid", text, fix="Copy the key once more.")
    return key or None
