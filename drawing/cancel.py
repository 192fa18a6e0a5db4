"""A flag that stops a drawing between two steps."""

from __future__ import annotations

import threading

from ..core.errors import CancelledError


class CancelToken:
    """Set from any thread; the drawing thread asks at every step."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises CancelledError `cancelled` once the flag is set."""
        if self._event.is_set():
            raise CancelledError("cancelled", "Stopped.")
