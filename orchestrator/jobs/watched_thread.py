"""A thread that does rounds of work for as long as the process serves, whatever goes wrong in one.

Work that nobody waits for fails without a word where its thread simply ends. Here a round that
fails is logged, said in `problem`, and begun again after a rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_REST = 1.0
"""Seconds between a round that failed and the next; doubled with each that fails, up to
`LAST_REST`."""

LAST_REST = 60.0


class WatchedThread:
    """Calls `step` again and again until `stop`: one round, which waits by itself for its work.

    `patience`: seconds that a round may take; one that takes longer hangs, and `problem` says so.
    None: as long as it likes.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        patience: float | None = None,
        first_rest: float = FIRST_REST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._step, self._patience = name, step, patience
        self._first_rest, self._clock = first_rest, clock
        self._stopped = threading.Event()
        # Written by the thread, read by those who ask for `problem`: each is one plain value.
        self._failure: str | None = None
        self._began: float | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def problem(self) -> str | None:
        """What is wrong with the work, in a sentence; None if all is well, or it was not begun."""
        if self._failure is not None:
            return self._failure
        began = self._began
        if began is None or self._stopped.is_set():
            return None
        if not self._thread.is_alive():
            return f"The thread {self._name} has ended."
        took = self._clock() - began
        if self._patience is not None and took > self._patience:
            return f"The thread {self._name} has hung for {took:.0f} seconds."
        return None

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further round; the present one goes on. May be called again."""
        self._stopped.set()

    def rest(self, seconds: float) -> None:
        """For a step that waits: until `stop`, but not longer."""
        self._stopped.wait(seconds)

    def join(self, seconds: float) -> None:
        """Wait for the present round's end, but not longer."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _work(self) -> None:
        rest = self._first_rest
        while not self._stopped.is_set():
            self._began = self._clock()
            try:
                self._step()
            except BaseException as error:
                # Also SystemExit, which would end the thread alone and tell nobody.
                log.exception("%s failed; it goes on in %.0f seconds", self._name, rest)
                # No more than its kind: whoever asks whether the server is ready hears it.
                what = type(error).__name__
                self._failure = f"The thread {self._name} failed ({what}) and is tried again."
                self._stopped.wait(rest)
                rest = min(2 * rest, LAST_REST)
            else:
                self._failure, rest = None, self._first_rest
