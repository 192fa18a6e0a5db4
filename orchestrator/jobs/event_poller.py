"""What other processes on the same database write down, told to those who listen in this one."""

from __future__ import annotations

from collections import deque

from ...core.errors import UnknownNameError
from .recorder import Ledger

OVERLAP = 200
"""Of so many of the newest events is looked for late ones: two processes may write theirs down in
another order than they were numbered."""


class Elsewhere:
    """Looks at the table from time to time. `tell`: at each look while others carry jobs out;
    `skip`: while this process does, whose listeners hear of everything directly.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._begun: int | None = None
        self._newest = 0
        self._told: deque[int] = deque(maxlen=4 * OVERLAP)

    def skip(self) -> None:
        """Nothing that was written down so far is told later."""
        self._begun = None

    def tell(self) -> None:
        """Tell what is new: events, and how each followed job is by now. Raises StorageError."""
        table, hub = self._ledger.table, self._ledger.hub
        if self._begun is None:
            self._begun = self._newest = table.last_event()
            self._told.clear()
        followed = hub.jobs()
        for job_id, event in table.heard_by_all(max(self._begun, self._newest - OVERLAP)):
            number = event.id or 0
            if number not in self._told:
                self._told.append(number)
                self._newest = max(self._newest, number)
                hub.tell(job_id, event)
        for job_id in followed & hub.jobs():
            self._tell_state(job_id)

    def _tell_state(self, job_id: str) -> None:
        try:
            job = self._ledger.state(job_id)
        except UnknownNameError:
            return
        if job is not None and job.over:
            # Whoever heard of the end has left by now.
            self._ledger.hub.tell(job_id, self._ledger.end_of(job))
