"""HTTP to one ComfyUI server: sizes and times have limits, the key goes to that server alone.

Raises EngineError only: see connection_errors.py.
"""

from __future__ import annotations

import json
import logging
import os
import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from .....core.comfyui_address import Address, same_place
from .....core.files import replacing
from . import connection_errors as reach
from .timeouts import Timing

if TYPE_CHECKING:
    import requests

SMALL = 64_000_000
"""Bytes of an answer that is not known to be large: a queue holds whole graphs."""
OBJECT_INFO = 200_000_000
DOWNLOAD = 64_000_000_000
_T = TypeVar("_T")
_HOPS = 5
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Answer:
    """`data`: the JSON; None where a body was not asked for."""

    status: int
    data: Any


class HeaderAuth:
    """Sets the header Authorization, or nothing. With it, requests asks no .netrc for another."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: Any) -> Any:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def never_connected(error: BaseException) -> bool:
    """Whether an error of requests means that nothing took the connection: nothing was sent."""
    names = {type(cause).__name__ for cause in reach.every_cause(error)}
    return bool(names & {"NewConnectionError", "ConnectTimeout", "ConnectTimeoutError"})


class Http:
    """Requests to one server, from any thread. Connections are kept and used again.

    `bases`: the server's addresses, the one that answered last first.
    """

    def __init__(self, address: Address, timing: Timing) -> None:
        self._address = address
        self._timing = timing
        # The one that answered last comes first. Set by whichever thread finds it out, whole.
        self.bases = address.urls
        if address.query:
            _keep_out_of_logs()
        self._idle: queue.LifoQueue[requests.Session] = queue.LifoQueue()
        # Set by `close`, read by any thread behind its request.
        self._closed = False

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        limit: int = SMALL,
        connect: float | None = None,
        read: float | None = None,
    ) -> Any:
        """The JSON at `path`. `connect`, `read`: seconds to be connected, and for the answer to
        begin or go on, if not the usual."""

        def ask() -> Any:
            waits = {"connect": connect, "read": read}
            with self._send("GET", path, params=params, **waits) as response:
                self._require_success(response, path)
                return self._json(response, path, limit)

        return _once_more(ask)

    def post(self, path: str, body: Any, *, accept: tuple[int, ...] = ()) -> Answer:
        """Send JSON once; the JSON of a success, or of an error status in `accept`.

        An answer without a body gives None. AnswerLostError: it may have arrived.
        """
        with self._send("POST", path, json=body) as response:
            if response.status_code not in accept:
                self._require_success(response, path)
            content = self._read(response, path, SMALL)
            data = self._parsed(content, path) if content.strip() else None
            return Answer(response.status_code, data)

    def upload(self, path: str, fields: Mapping[str, str], name: str, file: IO[bytes]) -> Any:
        """Send a form with one file as `image`; the JSON of the answer."""
        files = {"image": (name, file, "application/octet-stream")}
        with self._send("POST", path, data=dict(fields), files=files) as response:
            self._require_success(response, path)
            return self._json(response, path, SMALL)

    def send_file(
        self, path: str, file: Path, params: Mapping[str, str], sha256: str | None
    ) -> Any:
        """Send a file as it is; the JSON of the answer. Streamed: it may be large."""
        headers = {"Content-Type": "application/octet-stream"}
        if sha256 is not None:
            headers["X-Kizy-Sha256"] = sha256
        with (
            file.open("rb") as opened,
            self._send("POST", path, params=params, data=opened, headers=headers) as response,
        ):
            self._require_success(response, path)
            return self._json(response, path, SMALL)

    def size(self, path: str, params: Mapping[str, str]) -> int | None:
        """Length of a file in bytes; None if it is not there or the server does not say."""

        def ask() -> int | None:
            with self._send("HEAD", path, params=params) as response:
                if response.status_code in (401, 403):
                    self._require_success(response, path)
                length = response.headers.get("Content-Length", "")
                plain = "Content-Encoding" not in response.headers
                response.content  # noqa: B018 - empty; the connection can be used again
                known = response.status_code == 200 and length.isdigit() and plain
                return int(length) if known else None

        return _once_more(ask)

    def download(self, path: str, params: Mapping[str, str], target: Path) -> None:
        """Stream a file to `target`: a temporary name first. Raises StorageError too."""

        def ask() -> None:
            with self._send("GET", path, params=params) as response:
                self._require_success(response, path)
                with replacing(target) as temporary, temporary.open("wb") as file:
                    for block in self._blocks(response, path, DOWNLOAD):
                        file.write(block)

        _once_more(ask)

    def read(self, path: str, params: Mapping[str, str], limit: int) -> bytes:
        """A file of at most `limit` bytes."""

        def ask() -> bytes:
            with self._send("GET", path, params=params) as response:
                self._require_success(response, path)
                return self._read(response, path, limit)

        return _once_more(ask)

    def close(self) -> None:
        """Let go of the connections; those in use go when their requests end."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        *,
        connect: float | None = None,
        read: float | None = None,
        **options: Any,
    ) -> Iterator[requests.Response]:
        import requests

        session = self._session()
        waits = (connect or self._timing.connect, read or self._timing.read)
        response = None
        try:
            response = self._answer(session, method, path, waits, options)
            yield response
        except requests.RequestException as error:
            raise reach.unreachable(self._address, error) from error
        finally:
            if response is not None:
                response.close()
            self._idle.put(session)
            if self._closed:
                self.close()

    def _answer(
        self,
        session: requests.Session,
        method: str,
        path: str,
        waits: tuple[float, float],
        options: dict[str, Any],
    ) -> requests.Response:
        """From the first of the server's addresses where something answers."""
        import requests

        first: requests.ConnectionError | None = None
        for base in self.bases:
            try:
                response = self._answer_of(session, base, method, path, waits, options)
            except requests.ConnectionError as error:
                if not never_connected(error):
                    raise
                first = first or error
                continue
            if base != self.bases[0]:
                self.bases = (base, *(other for other in self.bases if other != base))
            return response
        assert first is not None
        raise first

    def _answer_of(
        self,
        session: requests.Session,
        base: str,
        method: str,
        path: str,
        waits: tuple[float, float],
        options: dict[str, Any],
    ) -> requests.Response:
        url, authorization = base + path, self._address.authorization
        given = [*(options.get("params") or {}).items(), *parse_qsl(self._address.query)]
        for _ in range(_HOPS):
            response = session.request(
                method,
                url,
                auth=HeaderAuth(authorization),
                timeout=waits,
                stream=True,
                allow_redirects=False,
                **{**options, "params": given},
            )
            target = response.headers.get("Location", "")
            if not (response.is_redirect and target):
                return response
            response.close()
            # Files may lie in another place; everything else belongs to ComfyUI alone.
            url, given = urljoin(url, target), []
            if method != "GET" or path != "/view":
                break
            if not same_place(url, base):
                # What was in our address may have been copied into the new one.
                authorization, url = None, _without(url, self._address.query)
        raise reach.redirected(self._address, url)

    def _session(self) -> requests.Session:
        import requests

        try:
            return self._idle.get_nowait()
        except queue.Empty:
            session = requests.Session()
            # The environment's proxy knows nothing of this machine's own ports.
            session.trust_env = not self._address.local
            # Which authorities count does not depend on that.
            session.verify = authorities() or True
            session.headers["User-Agent"] = "kizy"
            return session

    def _require_success(self, response: requests.Response, path: str) -> None:
        if response.status_code // 100 == 2:
            return
        body = b"".join(self._blocks(response, path, SMALL))[:4000]
        text = body.decode("utf-8", "replace")
        raise reach.refused_status(self._address, path, response.status_code, text)

    def _blocks(self, response: requests.Response, path: str, limit: int) -> Iterator[bytes]:
        read = 0
        for block in response.iter_content(_BLOCK):
            read += len(block)
            if read > limit:
                raise reach.too_long(self._address, path, limit)
            yield block

    def _read(self, response: requests.Response, path: str, limit: int) -> bytes:
        return b"".join(self._blocks(response, path, limit))

    def _json(self, response: requests.Response, path: str, limit: int) -> Any:
        return self._parsed(self._read(response, path, limit), path)

    def _parsed(self, content: bytes, path: str) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            text = content[:4000].decode("utf-8", "replace")
            raise reach.malformed(self._address, path, text) from None


def _without(url: str, query: str) -> str:
    """`url` without the names and values of `query`."""
    parts, secret = urlsplit(url), parse_qsl(query)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair not in secret]
    return parts._replace(query=urlencode(kept)).geturl() if secret else url


class _WithoutQueries(logging.Filter):
    """Takes what looks like a secret out of the lines that urllib3 logs for each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = reach.scrubbed(record.getMessage()), ()
        return True


_FILTER = _WithoutQueries()


def _keep_out_of_logs() -> None:
    logging.getLogger("urllib3.connectionpool").addFilter(_FILTER)


def authorities() -> str | None:
    """The file or folder of certificate authorities that the environment names, as requests has it.

    None if it names none: then requests brings its own.
    """
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None


def _once_more(ask: Callable[[], _T]) -> _T:
    """A kept connection may close at the moment of its use: what only reads is asked again.

    Not of a server that took the question and said nothing in the time that it had.
    """
    try:
        return ask()
    except reach.SilentError:
        raise
    except reach.AnswerLostError:
        return ask()
