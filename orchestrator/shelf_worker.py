"""`python -m kizy.orchestrator.shelf_worker`: learns a person's LoRAs while nobody waits.

It looks through the folders, works out what the cards mean, then hashes the files, again until
there is nothing left, and ends. One at a time; at the lowest priority.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ..core.errors import KizyError
from .backends.comfyui.launcher.server_records import OwnerLock
from .settings import load_settings
from .shelf import MARK, Shelf, worker_folder

AT_ONCE = 50
"""Files that are hashed before the folders are looked through again: some may be new."""

LEAST_URGENT = 19


def run(shelf: Shelf) -> int:
    """Do all there is to do; how many texts and files it were."""
    done = 0
    while True:
        shelf.scan()
        step = shelf.compute_meanings() + shelf.compute_hashes(limit=AT_ONCE)
        if not step:
            return done
        done += step


def main() -> int:
    """Exit status 0 also if another one is at work."""
    _step_back()
    lock = OwnerLock(worker_folder())
    try:
        if lock.take():
            done = run(Shelf(load_settings()))
            print(f"{done} texts and files were learned")
    except KizyError as error:
        print(error.message)
        return 1
    finally:
        with contextlib.suppress(OSError):
            (worker_folder() / MARK).unlink(missing_ok=True)
        lock.give_back()
    return 0


def _step_back() -> None:
    """Let everything else on this machine go first, also at the disk."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(LEAST_URGENT)
    with contextlib.suppress(Exception):
        import psutil

        # Linux' class for idle time; elsewhere the names differ, and the priority must do.
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


if __name__ == "__main__":
    sys.exit(main())
