"""HTTP to one Kizy server: the key goes to it alone, and what fails on the way is asked again.

Asking twice does no harm: what makes something has an idempotency key.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from ....core.comfyui_address import same_place
from ....core.errors import KizyError
from ....core.version import VERSION
from ...backends.comfyui.protocol.http import HeaderAuth, authorities, never_connected
from . import problems
from .multipart import Form
from .problems import TRY_AGAIN, AwayError, Place
from .server_address import is_here
from .timeouts import Timing

if TYPE_CHECKING:
    import requests

MAX_ANSWER = 64_000_000
"""Bytes of a JSON answer: a page of jobs holds their Plans."""

Params = Sequence[tuple[str, str]]

_T = TypeVar("_T")
_HOPS = 5
_BLOCK = 1 << 16
_UNKNOWN_TRIES = 3
"""Tries of a server that never answered: most likely its address is wrong."""


class BusyError(Exception):
    """The server, or a proxy before it, says that it will answer later. `error` says it."""

    def __init__(self, error: KizyError, status: int, after: float | None) -> None:
        super().__init__(str(error))
        self.error, self.status, self.after = error, status, after


class Http:
    """Requests to one server, from any thread. Connections are kept and used again."""

    def __init__(
        self, place: Place, timing: Timing, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.place, self.timing, self.wait = place, timing, wait
        # The one that answered last comes first. Set by whichever thread finds it out, whole.
        self._bases = (place.url,) if place.also is None else (place.url, place.also)
        self._idle: queue.LifoQueue[requests.Session] = queue.LifoQueue()
        self._answered = False

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        body: Any = None,
        form: Form | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of the answer.

        Raises the KizyError that the server tells of; EngineError `server_unreachable`.
        """

        def once() -> Any:
            options: dict[str, Any] = {"headers": dict(headers or {})}
            if form is not None:
                options["data"] = form.body()
                options["headers"]["Content-Type"] = form.content_type
            elif body is not None:
                options["json"] = body
            with self.answer(method, path, params=params, **options) as response:
                return self._parsed(path, self._read(response, path))

        return self.tried(once, only_reads=method == "GET")

    @contextmanager
    def answer(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        read: float | None = None,
        **options: Any,
    ) -> Iterator[requests.Response]:
        """One answer of success, not read yet. `read`: seconds that its parts may take to come.

        Raises KizyError, and BusyError if it may go better later.
        """
        import requests
        from urllib3.exceptions import HTTPError

        session = self._session()
        response = None
        try:
            response = self._sent(session, method, path, params, read, options)
            self._answered = True
            if response.status_code // 100 != 2:
                raise self._refusal(response, path)
            yield response
        except (requests.RequestException, HTTPError) as error:
            raise problems.unreachable(self.place, error) from error
        finally:
            if response is not None:
                response.close()
            self._idle.put(session)

    def tried(self, once: Callable[[], _T], *, only_reads: bool = True) -> _T:
        """What `once` gives, called again after pauses where that may help."""
        pauses = self.timing.pauses()
        tried = 0
        while True:
            tried += 1
            try:
                return once()
            except AwayError as error:
                if error.hopeless or tried >= self._tries():
                    raise
                pause = next(pauses)
            except BusyError as busy:
                told_off = busy.status == 429 and not only_reads
                if told_off or tried >= self._tries():
                    raise busy.error from None
                pause = max(next(pauses), min(busy.after or 0.0, self.timing.longest))
            self.wait(pause)

    @property
    def answered(self) -> bool:
        """Whether the server was ever reached."""
        return self._answered

    def close(self) -> None:
        """Let go of the connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _tries(self) -> int:
        return self.timing.tries if self._answered else min(self.timing.tries, _UNKNOWN_TRIES)

    def _sent(
        self,
        session: requests.Session,
        method: str,
        path: str,
        params: Params,
        read: float | None,
        options: dict[str, Any],
    ) -> requests.Response:
        import requests

        first: requests.ConnectionError | None = None
        for base in self._bases:
            try:
                response = self._sent_to(base, session, method, path, params, read, options)
            except requests.ConnectionError as error:
                if not never_connected(error):
                    raise
                first = first or error
                continue
            if base != self._bases[0]:
                self._bases = (base, *(other for other in self._bases if other != base))
            return response
        assert first is not None
        raise first

    def _sent_to(
        self,
        base: str,
        session: requests.Session,
        method: str,
        path: str,
        params: Params,
        read: float | None,
        options: dict[str, Any],
    ) -> requests.Response:
        url, key = base + path, self.place.key
        waits = (self.timing.connect, read or self.timing.read)
        given: Params = params
        for _ in range(_HOPS):
            response = session.request(
                method,
                url,
                params=list(given),
                auth=HeaderAuth(f"Bearer {key}" if key else None),
                timeout=waits,
                stream=True,
                allow_redirects=False,
                **options,
            )
            target = response.headers.get("Location", "")
            if not (response.is_redirect and target):
                return response
            response.close()
            url, given = urljoin(url, target), ()
            if method != "GET":
                break
            # Files may lie in another place; our key belongs to the server alone.
            key = key if same_place(url, base) else None
        raise problems.redirected(self.place, url)

    def _session(self) -> requests.Session:
        import requests

        try:
            return self._idle.get_nowait()
        except queue.Empty:
            session = requests.Session()
            # The environment's proxy knows nothing of this machine's own ports.
            session.trust_env = not is_here(self.place.url)
            session.verify = authorities() or True
            session.headers["User-Agent"] = f"kizy/{VERSION}"
            return session

    def _refusal(self, response: requests.Response, path: str) -> Exception:
        status = response.status_code
        error = problems.refused(self.place, path, status, self._read(response, path))
        if status == 429 or status in TRY_AGAIN:
            return BusyError(error, status, _seconds(response.headers.get("Retry-After", "")))
        return error

    def _read(self, response: requests.Response, path: str) -> bytes:
        blocks, size = [], 0
        for block in response.iter_content(_BLOCK):
            size += len(block)
            if size > MAX_ANSWER:
                raise problems.not_kizy(self.place, path, f"over {MAX_ANSWER} bytes")
            blocks.append(block)
        return b"".join(blocks)

    def _parsed(self, path: str, content: bytes) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            said = content[:4000].decode("utf-8", "replace")
            raise problems.not_kizy(self.place, path, said) from None


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() and len(text) < 7 else None
