"""How long files are kept: by age and by size, the longest unused first; and what nobody knows."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass

from ..settings import StorageSettings
from ..storage.artifacts import FRESH_SECONDS
from ..storage.uploads import UploadStore
from .ledger import Ledger

DAY = 86_400.0
EVENTS_DAYS = 7.0
"""So long a follower can hear again what happened to a job that is over."""

EACH_SECONDS = 600.0

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Removed:
    """How many files went, and why."""

    old: int = 0
    unknown: int = 0
    uploads: int = 0


class Retention:
    """Removes what need not be kept. `rules`: the settings' [storage]."""

    def __init__(self, ledger: Ledger, uploads: UploadStore, rules: StorageSettings) -> None:
        self._ledger, self._uploads, self._rules = ledger, uploads, rules
        self._last = float("-inf")

    def maybe(self) -> Removed | None:
        """Look, if the last look is long ago. Raises StorageError."""
        if time.monotonic() - self._last < EACH_SECONDS:
            return None
        self._last = time.monotonic()
        return self.look()

    def look(self) -> Removed:
        """Remove what is due. Raises StorageError."""
        now = self._ledger.table.now()
        self._ledger.table.forget_events(now - EVENTS_DAYS * DAY)
        return Removed(self._old(now), self.unknown(), self._old_uploads(now))

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

    def unknown(self, older: float = FRESH_SECONDS) -> int:
        """Remove files that no job knows of; how many. `older`: seconds that they are left alone.

        Raises StorageError.
        """
        unknown = self._ledger.store.unknown(self._ledger.finished.known, older=older)
        for path in unknown:
            self._ledger.store.remove(path)
        return len(unknown)

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
