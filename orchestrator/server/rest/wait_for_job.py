"""Wait for a job within a request, and cancel it if nobody waits any more."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ....core.errors import EngineError
from ....core.job import EndEvent, Job
from .host import Host
from .mailbox import Mailbox, listen
from .shutdown import Closing


async def finished(service: Host, job: Job, request: Request) -> Job:
    """The job when it is over.

    Raises ClientDisconnect if the client went away: the job is cancelled then; EngineError
    `server_stopping`: it goes on with the next server.
    """
    if job.over:
        return job
    closing: Closing = request.app.state.closing
    mailbox, leave = await listen(service, job.id)
    ended = asyncio.ensure_future(_end(mailbox))
    gone = asyncio.ensure_future(_gone(request))
    stopping = asyncio.ensure_future(closing.wait())
    tasks = (ended, gone, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leave()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not ended.cancelled():
        return await run_in_threadpool(service.job, job.id)
    if not gone.cancelled():
        await run_in_threadpool(service.cancel, job.id)
        raise ClientDisconnect
    message = f"The server is being stopped. Job {job.id} goes on when it is back."
    raise EngineError("server_stopping", message)


async def _end(mailbox: Mailbox) -> None:
    while True:
        await mailbox.wait()
        if any(isinstance(numbered.event, EndEvent) for numbered in mailbox.take()):
            return


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
