"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(met: Callable[[], bool]) -> None:
    """Until it is so; fails after 20 seconds."""
    until = time.monotonic() + 20.0
    while not met():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.005)
