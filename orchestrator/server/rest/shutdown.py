"""Tells everybody who waits in a request that the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Closing:
    """Begun once, from any thread; waited for in any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = False
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    @property
    def begun(self) -> bool:
        return self._begun

    def begin(self) -> None:
        with self._lock:
            self._begun = True
            loops = dict(self._loops)
        for event, loop in loops.items():
            # A loop that is closed has nobody waiting any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)

    async def wait(self) -> None:
        """Until the server stops."""
        event = asyncio.Event()
        with self._lock:
            if self._begun:
                return
            self._loops[event] = asyncio.get_running_loop()
        try:
            await event.wait()
        finally:
            with self._lock:
                del self._loops[event]
