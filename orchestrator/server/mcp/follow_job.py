"""Following a job for a call: progress to the client, and a job's end or the end of patience.

The job is asked for, rather than followed: a call may end at any moment, and a thread that waits
for the next event of a job in a long queue could not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from ....core.errors import EngineError
from ....core.job import Job
from ...service import Service

FIRST_PAUSE, LONGEST_PAUSE, LONGER = 0.03, 0.5, 1.3
"""Seconds between two looks at a job, and how they grow: a quick drawing is seen at once."""

Report = Callable[[Job], Awaitable[None]]
Result = TypeVar("Result")


async def in_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Do what blocks elsewhere."""
    return await anyio.to_thread.run_sync(partial(work, *arguments))


async def until_over(service: Service, job: Job, limit: float, report: Report) -> Job:
    """The job when it is over, or as it is after `limit` seconds.

    A service that cannot be reached for a moment is asked again until then. Raises KizyError.
    """
    until = anyio.current_time() + limit
    pause = FIRST_PAUSE
    await report(job)
    while not job.over and (left := until - anyio.current_time()) > 0:
        await anyio.sleep(min(pause, left))
        pause = min(pause * LONGER, LONGEST_PAUSE)
        try:
            job = await in_thread(service.job, job.id)
        except EngineError:
            continue
        await report(job)
    return job


class Progress:
    """Tells a client how far a job is: never less than before, and the same only once."""

    def __init__(
        self, send: Callable[[float, float, str], Awaitable[None]], words: Callable[[Job], str]
    ) -> None:
        self._send, self._words = send, words
        self._last = -1.0

    async def __call__(self, job: Job) -> None:
        done = 1.0 if job.state == "succeeded" else job.progress
        if done > self._last:
            self._last = done
            await self._send(done, 1.0, self._words(job))
