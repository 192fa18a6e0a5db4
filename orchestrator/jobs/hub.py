"""Who listens to which job in this process."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable

from ..service import Numbered

log = logging.getLogger(__name__)

Heard = Callable[[Numbered], None]
"""Called from whichever thread something happens in; must return at once."""


class Hub:
    """Hands events to those who listen."""

    def __init__(self) -> None:
        # Requests come and go as listeners, the threads of jobs look who listens.
        self._lock = threading.Lock()
        self._listeners: defaultdict[str, list[Heard]] = defaultdict(list)

    def listen(self, job_id: str, heard: Heard) -> Callable[[], None]:
        """From now on; the answer ends it."""
        with self._lock:
            self._listeners[job_id].append(heard)

        def stop() -> None:
            with self._lock, contextlib.suppress(KeyError, ValueError):
                self._listeners[job_id].remove(heard)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

        return stop

    def tell(self, job_id: str, event: Numbered) -> None:
        """Hand an event on."""
        with self._lock:
            listeners = tuple(self._listeners.get(job_id, ()))
        for heard in listeners:
            try:
                heard(event)
            except Exception:
                # A listener's trouble is not the job's, whose thread tells of it here.
                log.exception("a listener of job %s failed", job_id)

    def has(self, job_id: str) -> bool:
        """Whether anybody listens to a job."""
        with self._lock:
            return job_id in self._listeners

    def jobs(self) -> frozenset[str]:
        """Jobs that somebody listens to."""
        with self._lock:
            return frozenset(self._listeners)
