"""What happens to a job, as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.types import Receive, Scope, Send

from ....core.job import EndEvent, StateEvent
from ...service import Numbered
from .auth import Asking
from .mailbox import Leave, Mailbox, listen
from .openapi_responses import EVENTS, problems
from .parameters import JobId
from .responses import PREFIX, as_json, job_values
from .shutdown import Closing

HEARTBEAT = 15.0
"""Seconds of silence before a comment says that all is well."""

PATIENCE = 60.0
"""Seconds that a follower may take to read what it was sent; then it has to come again."""

COME_BACK = b"retry: 2000\n\n"
"""Milliseconds after which browsers connect again."""

MAX_ID = 2**63 - 1

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Proxies that buffer would hold events back.
    "X-Accel-Buffering": "no",
}

router = APIRouter(prefix=PREFIX, tags=["jobs"])


@router.get(
    "/jobs/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job",
    description=(
        "Server-sent events: the job's state first, then what happens, and `end` last. Every event "
        "has its kind as `event`, and the same JSON as `data` that the schema JobEvent describes. "
        "Notices, files and ends have an `id`: sent as Last-Event-ID, it brings what came since. "
        "A stream that ends without `end` was cut: connect again."
    ),
    response_class=Response,
    responses={200: EVENTS} | problems("job_unknown"),
)
async def follow_job(
    job_id: JobId,
    request: Request,
    asking: Asking,
    last_event_id: Annotated[
        str | None, Header(description="The `id` of the last event that was heard.")
    ] = None,
) -> Response:
    after = _number(last_event_id)
    mailbox, leave = await listen(asking.service, job_id, after)
    return EventStream(mailbox, leave, request.app.state.closing)


class EventStream(Response):
    """Sends events until the end, the server's end, or the client's.

    When the server stops, its followers are to connect to the next one.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        leave: Leave,
        closing: Closing,
        *,
        heartbeat: float = HEARTBEAT,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._mailbox, self._leave, self._closing = mailbox, leave, closing
        self._heartbeat, self._patience = heartbeat, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            sending = asyncio.ensure_future(self._send_all(send))
            others = [
                asyncio.ensure_future(_gone(receive)),
                asyncio.ensure_future(self._closing.wait()),
            ]
            try:
                await asyncio.wait([sending, *others], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, *others):
                    task.cancel()
                results = await asyncio.gather(sending, *others, return_exceptions=True)
        finally:
            self._leave()
        if not isinstance(results[0], OSError | TimeoutError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        async def out(data: bytes) -> None:
            async with asyncio.timeout(self._patience):
                await send({"type": "http.response.body", "body": data, "more_body": True})

        await out(COME_BACK)
        while True:
            if not await self._mailbox.wait(self._heartbeat):
                await out(b": heartbeat\n\n")
            for numbered in self._mailbox.take():
                await out(as_text(numbered))
                if isinstance(numbered.event, EndEvent):
                    return


def as_text(numbered: Numbered) -> bytes:
    """One event on the wire. JSON in ASCII holds no line break."""
    event = numbered.event
    lines = [f"event: {event.kind}"]
    if numbered.id is not None:
        lines.append(f"id: {numbered.id}")
    lines.append(f"data: {as_json(_values(event)).decode()}")
    return ("\n".join(lines) + "\n\n").encode()


def _values(event: Any) -> dict[str, Any]:
    if isinstance(event, StateEvent):
        return {"kind": event.kind, "job": job_values(event.job)}
    return event.model_dump(mode="json")


def _number(text: str | None) -> int | None:
    """What is no number that was given out counts as none."""
    with contextlib.suppress(ValueError):
        number = int(text or "")
        return number if 0 <= number <= MAX_ID else None
    return None


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
