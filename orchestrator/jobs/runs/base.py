"""What every claimed job has in common: it is stopped or parked from outside, and ends once."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from sqlalchemy import Connection, RowMapping

from ....core.errors import CancelledError, EngineError, KizyError, StorageError
from ....core.job import ErrorInfo, Notice
from ..recorder import Ledger

log = logging.getLogger(__name__)

NOT_ITS_FAULT = frozenset(
    {
        "server_unreachable",
        "server_lost",
        "server_stuck",
        "server_disk_full",
        "disk_full",
        "folder_not_writable",
        "database_unusable",
        "comfyui_not_started",
    }
)
"""Failures of what is around a job: the same job may well succeed a little later."""

REST_SECONDS = (2.0, 10.0, 60.0)
"""Before the second try, the third, and all later ones."""


CANCELLED = ErrorInfo(**CancelledError("cancelled", "The work was stopped.").as_dict())

OUR_FAULT = "Try again; report it if it happens again."

_Handle = TypeVar("_Handle")


class ClaimedRun(ABC, Generic[_Handle]):
    """A job that was claimed. `run` does all of it; `stop` and `park` come from outside.

    `waits`: behind `run`, whether it waits again.
    """

    def __init__(self, row: RowMapping, ledger: Ledger, attempts: int) -> None:
        self.job_id: str = row["id"]
        self.owner: str = row["owner"]
        self.lane: str = row["lane"]
        self.deadline: float | None = row["deadline"]
        self.expected: float | None = row["expected"]
        self.waits = False
        self._row, self._ledger, self._attempts = row, ledger, attempts
        self._handle: _Handle | None = None
        self._lock = threading.Lock()
        self._stopped: ErrorInfo | None = None
        self._parked = self._here = False

    @property
    def parked(self) -> bool:
        return self._parked

    def stop(self, why: ErrorInfo | None = None) -> None:
        """End it soon: as cancelled, or as failed with `why`. What was saved of it stays."""
        with self._lock:
            self._stopped = self._stopped or why or CANCELLED
            handle = self._handle
        if handle is not None:
            self._end(handle)

    def park(self, *, here: bool) -> None:
        """Let go of it; another process takes it up. `here`: it computes in this process, which
        ends."""
        with self._lock:
            self._parked, self._here = True, here
            handle = self._handle
        if handle is not None and here:
            self._end(handle)

    def run(self) -> None:
        """From the start to the end, or to where it waits again. Never raises."""
        try:
            error = self._carried_out()
        except KizyError as failure:
            error = ErrorInfo(**failure.as_dict())
        except Exception as failure:
            log.exception("job %s", self.job_id)
            error = ErrorInfo(**self._unknown(failure).as_dict())
        self.waits = self._settled(error)

    def _begun(self, handle: _Handle) -> None:
        """It can be stopped from now on; what was asked for before is done now."""
        with self._lock:
            self._handle = handle
            stopped = self._stopped is not None or self._here
        if stopped:
            self._end(handle)

    def _settled(self, error: ErrorInfo | None) -> bool:
        """Write down how it ended; whether it waits again instead.

        A database that fails is tried again for a while.
        """
        for pause in (0.05, 0.2, 1.0, 5.0, 5.0, 5.0, None):
            try:
                if error is not None:
                    return self._failed(error)
                self._ledger.end(self.job_id, "succeeded", besides=self._besides)
                return False
            except StorageError:
                if self._parked:
                    # It counts as running: the next process takes it up.
                    return True
                log.warning("job %s: its end could not be written down", self.job_id)
                if pause is not None:
                    time.sleep(pause)
        return True

    def _failed(self, error: ErrorInfo) -> bool:
        """Write it down; whether the job waits again. Raises StorageError."""
        ledger, failures = self._ledger, self._row["failures"]
        if self._parked:
            return ledger.table.park(self.job_id)
        if error.code in NOT_ITS_FAULT and failures + 1 < self._attempts:
            rest = REST_SECONDS[min(failures, len(REST_SECONDS) - 1)]
            text = f"{error.message} The job is tried again in {rest:.0f} seconds."
            notice = Notice(code=error.code, text=text)
            ledger.try_again(self.job_id, ledger.table.now() + rest, notice)
            return True
        why = self._stopped
        if error.code == "cancelled" and (why is None or why.code == "cancelled"):
            ledger.end(self.job_id, "cancelled", error)
        else:
            ledger.end(self.job_id, "failed", why if error.code == "cancelled" else error)
        return False

    def _besides(self, connection: Connection) -> None:
        """Written down with its success."""

    @abstractmethod
    def _carried_out(self) -> ErrorInfo | None:
        """All of it; what went wrong, or None. Raises KizyError."""

    @abstractmethod
    def _end(self, handle: _Handle) -> None:
        """Stop what was begun."""

    @abstractmethod
    def _unknown(self, failure: Exception) -> EngineError:
        """A mistake of ours, in words."""
