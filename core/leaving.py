"""Leaving at the second signal: a thread that loads a model hears nothing of the first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from .files import remove_unfinished

INTERRUPTED = 130
"""Exit status of a process that Ctrl-C ended, as shells have it."""


def leave_at_once(status: int, told: str = "", document: str = "") -> NoReturn:
    """End this process with threads under way. Half-written files go.

    `told`: a line for stderr; `document`: one for stdout. Written past Python's own buffers, which
    the code that a signal interrupted may be writing to.
    """
    remove_unfinished()
    for stream, line in ((sys.stdout, document), (sys.stderr, told)):
        # A stream that is being written to refuses a second writer with RuntimeError.
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            stream.flush()
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if line:
                os.write(stream.fileno(), f"{line}\n".encode())
    os._exit(status)


@contextlib.contextmanager
def second_ctrl_c_leaves(told: str, document: str = "") -> Iterator[None]:
    """In the block, the first Ctrl-C raises KeyboardInterrupt, and the second ends the process.

    Outside the main thread, and where Ctrl-C means something else already, nothing is changed.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is not signal.default_int_handler:
        yield
        return
    # Signals are handled in the main thread alone.
    asked = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            leave_at_once(INTERRUPTED, told, document)
        asked = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
