"""How much of a request's body is taken in, and how slowly it may come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ....core.errors import InputError
from ...settings import ServeSettings
from .problems import Refused, problem

MEGABYTE = 10**6
JSON_MB = 4
"""The longest request there is: a thousand lines for faces, each of thousands of letters."""

FORM_MB = 1
"""What a form takes beside its files."""


@dataclass(frozen=True)
class Pace:
    """`patience`: seconds without a byte. `slowest`: bytes a second, once `patience` is over."""

    patience: float = 30.0
    slowest: float = 1000.0


def body_limit(path: str, settings: ServeSettings) -> int:
    """Bytes that a request to this path may have."""
    largest = max(settings.upload_mb, settings.training_mb)
    limits = {
        "/v1/uploads": largest + FORM_MB,
        "/v1/trainings": settings.training_mb + FORM_MB,
        "/v1/images/edits": 2 * settings.upload_mb + FORM_MB,
    }
    return limits.get(path, JSON_MB) * MEGABYTE


def too_large(limit: int) -> InputError:
    """`limit` in bytes."""
    shown = f"{limit / MEGABYTE:,.0f} MB" if limit >= MEGABYTE else f"{limit:,} bytes"
    return InputError("upload_too_large", f"What was sent is larger than {shown}.")


class Intake:
    """ASGI middleware: bodies that are too large or too slow end with an error.

    One whose length is told beforehand is refused before any of it is read.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[str], int], pace: Pace | None = None) -> None:
        self._app, self._limit, self._pace = app, limit, pace or Pace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        told = Headers(scope=scope).get("content-length", "")
        if told.isdecimal() and int(told[:20]) > limit:
            await problem(too_large(limit), path=scope["path"])(scope, receive, send)
            return
        await self._app(scope, _Body(receive, limit, self._pace).receive, send)


class _Body:
    def __init__(self, receive: Receive, limit: int, pace: Pace) -> None:
        self._receive, self._limit, self._pace = receive, limit, pace
        self._size, self._complete = 0, False
        self._began: float | None = None

    async def receive(self) -> Message:
        """The next part. Behind the last one it waits, as long as it takes, for the end."""
        if self._complete:
            return await self._receive()
        if self._began is None:
            self._began = time.monotonic()
        try:
            async with asyncio.timeout(self._pace.patience):
                message = await self._receive()
        except TimeoutError:
            raise Refused(_too_slow()) from None
        if message["type"] != "http.request":
            self._complete = True
            return message
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise Refused(too_large(self._limit))
        self._complete = not message.get("more_body", False)
        passed = time.monotonic() - self._began
        late = not self._complete and passed > self._pace.patience
        if late and self._size < self._pace.slowest * passed:
            raise Refused(_too_slow())
        return message


def _too_slow() -> InputError:
    return InputError("upload_too_slow", "The request's body came in too slowly.")
