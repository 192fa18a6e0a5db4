"""HTTP to a service that models come from: it is waited for, and its key goes to it alone.

Redirects are followed by hand: only to https (a service on this machine, as in tests, may lead to
others on this machine), and without the key once they leave the service.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

from ...core.errors import CancelledError, HubError, InputError, UnknownNameError
from ...core.version import VERSION
from ..words.descriptions import one_line

if TYPE_CHECKING:
    import requests

MAX_JSON = 32_000_000
"""Bytes of an answer: a model with hundreds of versions has a few million."""

PAGE = 60.0
"""Seconds after which a web page in place of an answer is no passing fault any more."""

BLOCK = 1 << 14
"""Bytes. When a connection breaks, what has arrived of an unfinished block is lost."""

_HOPS = 8
_LONGEST = 1e7
"""Seconds: what a service asks for beyond that is no number to reckon with."""

TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504, *range(520, 531)))
"""Statuses that pass by themselves; from 520 on they are Cloudflare's."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Hub:
    """A service. `url` without a slash at its end; `key` is never shown.

    `key_help`: what to set to give it a key.
    """

    name: str
    url: str
    key: str | None = field(default=None, repr=False)
    key_help: str = ""


@dataclass(frozen=True)
class Patience:
    """All waits, in seconds. `pauses` before each new try, the last one repeats.

    `total`: how long is waited, all in all, while nothing arrives. `slice`: the longest wait at
    one go, so that a cancel gets through.
    """

    connect: float = 10.0
    read: float = 30.0
    pauses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
    total: float = 600.0
    slice: float = 0.25


@dataclass(frozen=True)
class Caller:
    """What whoever started it wants to hear and may decide; tests give their own clock.

    `say`: one sentence about a wait. `cancelled`: asked often, from the same thread.
    """

    say: Callable[[str], None] = lambda _text: None
    cancelled: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    patience: Patience = Patience()

    def check(self) -> None:
        """Raise CancelledError if it is cancelled."""
        if self.cancelled():
            raise CancelledError("cancelled", "Stopped.")


class TroubleError(Exception):
    """It may work later. `wait`: seconds that the service asks for. `most`: seconds after which
    it is given up, if that is sooner than otherwise.
    """

    def __init__(self, why: str, wait: float | None = None, *, most: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.wait = wait
        self.most = most


class Persistence:
    """Tries again after trouble, with a message, until nothing has arrived for too long."""

    def __init__(self, hub: Hub, caller: Caller) -> None:
        self._hub = hub
        self._caller = caller
        self._waited = 0.0
        self._tries = 0

    def progressed(self) -> None:
        """Something arrived: patience begins anew."""
        self._waited, self._tries = 0.0, 0

    def until_done(self, attempt: Callable[[], _T]) -> _T:
        """What `attempt` returns; it is called again whenever it raises TroubleError.

        Raises HubError `hub_unreachable`, CancelledError, and whatever else `attempt` raises.
        """
        while True:
            self._caller.check()
            try:
                return attempt()
            except TroubleError as trouble:
                self._wait(trouble)

    def _wait(self, trouble: TroubleError) -> None:
        patience, name = self._caller.patience, self._hub.name
        pause = patience.pauses[min(self._tries, len(patience.pauses) - 1)]
        if trouble.wait is not None:
            pause = max(trouble.wait, pause)
        most = patience.total if trouble.most is None else min(trouble.most, patience.total)
        if self._waited + pause > most:
            fix = None
            if trouble.wait is not None and trouble.wait > patience.total:
                fix = f"Try again in {_duration(trouble.wait)}; what has arrived is kept."
            raise HubError("hub_unreachable", f"{name} {trouble.why}. Kizy gave up.", fix=fix)
        self._caller.say(f"{name} {trouble.why}; trying again in {_duration(pause)}.")
        self._tries += 1
        self._waited += pause
        left = pause
        while left > 0:
            self._caller.check()
            self._caller.sleep(min(left, patience.slice))
            left -= patience.slice


class Http:
    """Requests to one hub. Raises TroubleError for what may pass, KizyErrors for the rest."""

    def __init__(self, hub: Hub, patience: Patience) -> None:
        self.hub = hub
        self._patience = patience
        self._session: requests.Session | None = None

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The JSON at a path of the hub. `options`: requests' `params` or `json`."""
        with self.open(method, self.hub.url + path, {"Accept": "application/json"}, **options) as (
            response
        ):
            data = bytearray()
            for block in blocks(response):
                data += block
                if len(data) > MAX_JSON:
                    raise _failed(self.hub, "answered far more than Kizy asked for", "")
        if "text/html" in response.headers.get("Content-Type", ""):
            raise TroubleError("answered with a web page in place of data", most=PAGE)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            text = data[:2000].decode("utf-8", "replace")
            raise _failed(self.hub, "answered with what is no JSON", text) from None

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        accept: tuple[int, ...] = (),
        **options: Any,
    ) -> Iterator[requests.Response]:
        """The answer of a success, or with a status in `accept`; its body is not read yet."""
        import requests

        require_safe(url, self.hub)
        waits = (self._patience.connect, self._patience.read)
        response = None
        try:
            for _ in range(_HOPS):
                response = self._requests().request(
                    method,
                    url,
                    headers=dict(headers),
                    auth=_Auth(self.hub.key if same_place(url, self.hub.url) else None),
                    timeout=waits,
                    stream=True,
                    allow_redirects=False,
                    **options,
                )
                target = response.headers.get("Location", "")
                if not (response.is_redirect and target):
                    if response.status_code // 100 != 2 and response.status_code not in accept:
                        self._refuse(response, url)
                    yield response
                    return
                url = urljoin(url, target)
                options.pop("params", None)
                self._check_redirect(url)
                response.close()
            raise _failed(self.hub, "leads in a circle", "")
        except requests.RequestException as error:
            raise TroubleError(f"does not answer ({_reason(error)})") from error
        finally:
            if response is not None:
                response.close()

    def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _requests(self) -> requests.Session:
        import requests

        if self._session is None:
            self._session = requests.Session()
            # A proxy of the environment knows nothing of this machine's own ports.
            self._session.trust_env = not is_loopback(self.hub.url)
            self._session.headers["User-Agent"] = f"kizy/{VERSION}"
        return self._session

    def _check_redirect(self, url: str) -> None:
        parts = urlsplit(url)
        if "reason=download-auth" in parts.query or parts.path.rstrip("/").endswith("/login"):
            raise wants_key(self.hub)
        require_safe(url, self.hub)

    def _refuse(self, response: requests.Response, url: str) -> NoReturn:
        """Turn an error status into an error."""
        status, name = response.status_code, self.hub.name
        content = next(blocks(response, 4000), b"")
        text = content.decode("utf-8", "replace")
        page = "text/html" in response.headers.get("Content-Type", "")
        if status in TRANSIENT:
            wait = retry_after(response.headers.get("Retry-After"))
            why = "asks to wait" if status == 429 else f"is out of order (status {status})"
            raise TroubleError(why, wait)
        if status in (401, 403) and not same_place(url, self.hub.url):
            raise TroubleError("leads to a place that refuses the file", most=PAGE)
        if status in (401, 403) and "early access" in text.lower():
            message = f"{name} gives it only to those who bought early access."
            fix = "Wait until early access is over, or choose another version."
            raise InputError("download_refused", message, fix=fix, raw=text)
        if status == 403 and page:
            raise TroubleError("answered with a page against robots", most=PAGE)
        if status in (401, 403):
            raise wants_key(self.hub, _words(text), text)
        if status in (404, 410):
            said = _words(text)
            message = f"{name} has nothing there{': ' + said if said else ''}".rstrip(".") + "."
            raise UnknownNameError("hub_unknown", message, raw=text)
        if status == 451:
            message = f"{name} may not give it out, for legal reasons."
            raise InputError("download_refused", message, fix="Choose another one.", raw=text)
        raise _failed(self.hub, f"answered with the status {status}", text)


class _Auth:
    """Sets the bearer key, or nothing. With it, requests asks no .netrc for another one."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: Any) -> Any:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def blocks(response: requests.Response, size: int = BLOCK) -> Iterator[bytes]:
    """The body in blocks; TroubleError if the connection breaks."""
    import requests

    try:
        yield from response.iter_content(size)
    except requests.RequestException as error:
        raise TroubleError(f"broke off ({_reason(error)})") from error


def wants_key(hub: Hub, said: str = "", raw: str | None = None) -> HubError:
    """The error of a hub that wants a key, or another one."""
    refused = f"{hub.name} refused the key" if hub.key else f"{hub.name} wants a key for this"
    message = f"{refused}{': ' + said if said else ''}".rstrip(".") + "."
    return HubError("hub_wants_key", message, fix=hub.key_help or None, raw=raw)


def require_safe(url: str, hub: Hub) -> None:
    """Refuse addresses without TLS, or on this machine, unless the hub itself is on it.

    Raises InputError `download_refused`.
    """
    try:
        parts = urlsplit(url)
        here = is_loopback(url)
        allowed = is_loopback(hub.url) if here else parts.scheme == "https"
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    except ValueError:
        allowed = usable = False
    if not (allowed and usable):
        message = f"{hub.name} leads to an address that Kizy does not trust."
        fix = "Kizy downloads over https only. Report it to the service."
        raise InputError("download_refused", message, fix=fix, raw=one_line(url.split("?")[0], 200))


def same_place(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    return _origin(one) == _origin(other)


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme.lower(), (parts.hostname or "").lower(), port


def _failed(hub: Hub, what: str, raw: str) -> HubError:
    return HubError("hub_failed", f"{hub.name} {what}.", raw=raw)


def _words(text: str) -> str:
    """The service's own sentence in an error's JSON: `message` or `error`, at most 200 letters."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    said = (values.get(key) for key in ("message", "error")) if isinstance(values, dict) else ()
    return next((one_line(word, 200) for word in said if isinstance(word, str)), "")


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which gives seconds or a date."""
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST)
    try:
        wait = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(0.0, wait), _LONGEST)
    except (TypeError, ValueError, OverflowError):
        return None


def _reason(error: BaseException) -> str:
    """The kind of a network error in words; its text may hold signed addresses."""
    name = type(error).__name__.lower()
    if "ssl" in name:
        return "its certificate cannot be checked"
    if "timeout" in name or "timed out" in str(error).lower():
        return "no answer in time"
    return "no connection" if name.startswith(("connect", "proxy")) else "the connection broke"


def _duration(seconds: float) -> str:
    for size, word in ((3600, "hour"), (60, "minute")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return _counted(round(seconds / size), word)
    return _counted(max(1, round(seconds)), "second")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
