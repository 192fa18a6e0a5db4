"""On which of the computer's cores the threads of this process run.

Of Python's threads one runs at a time. Where they do little but hand over to one another, as a
server's do, one core serves them faster than many: a hand-over to another core has to wake it.
Only Linux can be told so; elsewhere, and where nobody asks for it, all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_all: frozenset[int] = frozenset()
"""The cores of this process; empty as long as no thread shares one."""


def count() -> int:
    """Cores that this process may use, at least 1; whichever of them the calling thread is on."""
    if sys.platform == "linux":
        return len(_all or os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_one_core() -> None:
    """Let the calling thread, and all threads that it starts from now on, run on one core.

    What computes must leave it: `all_cores` goes around calculations, processes that are started,
    and the first import of a library that counts the cores (as NumPy's and torch's do, once).
    """
    global _all
    if sys.platform == "linux":
        cores = _all or frozenset(os.sched_getaffinity(0))
        if len(cores) > 1:
            _all = cores
            # Several servers on one computer are spread over its cores.
            _run_on({sorted(cores)[os.getpid() % len(cores)]})


def leave_shared_core() -> None:
    """Let the calling thread run on all cores for good, and what it starts from now on."""
    if _all:
        _run_on(_all)


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """Let the calling thread run on all cores meanwhile, and for good what it starts meanwhile."""
    if sys.platform != "linux" or not _all:
        yield
        return
    before = os.sched_getaffinity(0)
    _run_on(_all)
    try:
        yield
    finally:
        _run_on(before)


def _run_on(cores: frozenset[int] | set[int]) -> None:
    if sys.platform == "linux":
        # Cores can be taken from a container while it runs: then it stays as it is.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cores)
