"""How long files are kept: by age and by size, the longest unused first; and what nobody knows."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.errors import KizyError
from ..settings import StorageSettings
from ..storage.artifacts import StoredFile
from ..storage.uploads import UploadStore
from .recorder import Ledger
from .watched_thread import WatchedThread

log = logging.getLogger(__name__)

DAY = 86_400.0
EVENTS_DAYS = 7.0
"""So long a follower can hear again what happened to a job that is over."""

EACH_SECONDS = 600.0

FRESH_SECONDS = 3600.0
"""A file that no job knows is left alone for so long: it may be about to be recorded."""

BATCH = 500
"""Files that the database is asked about at once."""

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Removed:
    """How many files went, and why."""

    old: int = 0
    unknown: int = 0
    uploads: int = 0


class Retention:
    """Removes what need not be kept, in a thread of its own. `rules`: the settings' [storage]."""

    def __init__(self, ledger: Ledger, uploads: UploadStore, rules: StorageSettings) -> None:
        self._ledger, self._uploads, self._rules = ledger, uploads, rules
        self._thread = WatchedThread("kizy-retention", self._round)
        # Set before the thread begins, then its own.
        self._left: list[StoredFile] = []
        self._due: Callable[[], bool] = lambda: True

    @property
    def problem(self) -> str | None:
        """Why nothing is removed, in a sentence; None if all is well."""
        return self._thread.problem

    def start(self, *, alone: bool, due: Callable[[], bool]) -> None:
        """Look from now on, every ten minutes where `due` says that it is this process's turn.

        `alone`: nobody else writes here. What an earlier process left that died just then goes at
        once, so this comes before any job begins.
        """
        self._left, self._due = self._ledger.store.files() if alone else [], due
        self._thread.start()

    def stop(self) -> None:
        """Remove nothing more."""
        self._thread.stop()
        self._thread.join(2.0)

    def _round(self) -> None:
        try:
            if self._left:
                self.remove_unknown(self._left)
                self._left = []
            if self._due():
                self.look()
        except KizyError as error:
            log.warning("what need not be kept could not be removed: %s", error.message)
        self._thread.rest(EACH_SECONDS)

    def look(self) -> Removed:
        """Remove what is due. Raises StorageError."""
        now = self._ledger.table.now()
        self._ledger.table.forget_events(now - EVENTS_DAYS * DAY)
        return Removed(self._old(now), self._unknown(time.time()), self._old_uploads(now))

    def _old(self, now: float) -> int:
        days, gigabytes = self._rules.keep_days, self._rules.keep_gb
        if days is None and gigabytes is None:
            return 0
        finished, count = self._ledger.finished, 0
        total = finished.total_bytes()
        for one in finished.by_age():
            too_old = days is not None and one.used < now - days * DAY
            too_much = gigabytes is not None and total > gigabytes * 1e9
            if not too_old and not too_much:
                break
            # First the record: a file without one is removed later, a record without one lies.
            finished.gone(one.id)
            self._ledger.store.remove(self._ledger.store.folder / one.file)
            total -= one.bytes
            count += 1
        return count

    def _unknown(self, now: float) -> int:
        """What was never recorded; not what is new, which may be about to be."""
        limit = int((now - FRESH_SECONDS) * 1e9)
        return self.remove_unknown(
            [file for file in self._ledger.store.files() if file.mtime_ns <= limit]
        )

    def remove_unknown(self, files: Sequence[StoredFile]) -> int:
        """Remove those of the files that no job knows of; how many. Raises StorageError."""
        count = 0
        for first in range(0, len(files), BATCH):
            if self._thread.stopping:
                break
            batch = files[first : first + BATCH]
            known = self._ledger.finished.known({file.id for file in batch})
            unknown = [file for file in batch if file.id not in known]
            count += sum(self._ledger.store.remove_unchanged(file) for file in unknown)
        return count

    def _old_uploads(self, now: float) -> int:
        limit, needed, count = now - self._rules.upload_days * DAY, None, 0
        for upload_id, path in self._uploads.files():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime >= limit:
                    continue
                if needed is None:
                    texts = self._ledger.table.unfinished_texts()
                    needed = {found for text in texts for found in _ID.findall(text)}
                if upload_id not in needed:
                    path.unlink()
                    count += 1
        return count
