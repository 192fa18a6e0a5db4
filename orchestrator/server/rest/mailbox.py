"""What one follower of a job has still to hear: bounded, however slowly it listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ....core.job import EndEvent, PreviewEvent, ProgressEvent, StateEvent
from ...service import Numbered
from .host import Host


class Mailbox:
    """Filled from any thread, emptied within one event loop.

    Of states and progress only the newest waits, and of previews the newest of each picture: what
    is left is as bounded as a job's files and notices are. Behind the end nothing comes.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[object, Numbered] = {}
        self._something = asyncio.Event()
        self._count = 0
        self._ended = False

    def put(self, numbered: Numbered) -> None:
        """From any thread. What comes when the loop is closed is lost with it."""
        try:
            self._loop.call_soon_threadsafe(self._add, numbered)
        except RuntimeError:
            return

    def take(self) -> list[Numbered]:
        """All that waits, oldest first."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        self._something.clear()
        return waiting

    async def wait(self, seconds: float | None = None) -> bool:
        """Until something waits; False if nothing came for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            return False
        return True

    def _add(self, numbered: Numbered) -> None:
        if self._ended:
            return
        self._ended = isinstance(numbered.event, EndEvent)
        # At the place of the one before: the state that came first stays the first.
        self._waiting[self._key(numbered)] = numbered
        self._something.set()

    def _key(self, numbered: Numbered) -> object:
        """Events of one key replace each other."""
        match numbered.event:
            case StateEvent() | ProgressEvent():
                return numbered.event.kind
            case PreviewEvent(index=index):
                return "preview", index
        self._count += 1
        return self._count


async def listen(host: Host, job_id: str, after: int | None = None) -> tuple[Mailbox, Leave]:
    """A mailbox of all that happens to a job, and how to stop it.

    Raises UnknownNameError `job_unknown`, StorageError.
    """
    mailbox = Mailbox()
    # It reads the database, and may wait for it.
    leave = await asyncio.to_thread(host.watch, job_id, mailbox.put, after)
    return mailbox, leave


Leave = Callable[[], None]
