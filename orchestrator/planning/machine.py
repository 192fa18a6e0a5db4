"""What this machine can draw with, as far as it can be told at once, without torch."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ...catalog.downloads.offer import Machine

MEBIBYTE = 1 << 20

Runs = Callable[[Sequence[str]], str | None]


def gpu_memory(run: Runs | None = None) -> int | None:
    """Bytes of the largest NVIDIA GPU; 0 where there is surely none; None if it is not known.

    NVIDIA's own tool tells it. A GPU of another maker is not asked, only noticed.
    """
    words = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    listed = (run or _run)(words)
    found = [int(line) for line in (listed or "").split() if line.isdecimal()]
    if found:
        return max(found) * MEBIBYTE
    # /dev/kfd is the driver of AMD's GPUs for computing.
    sure = sys.platform == "linux" and not Path("/dev/kfd").exists() and not _torch_for_others()
    return 0 if sure else None


def _torch_for_others() -> bool:
    """Whether the torch that is installed was built for Intel's or AMD's GPUs."""
    try:
        build = importlib.metadata.version("torch").partition("+")[2]
    except importlib.metadata.PackageNotFoundError:
        return False
    return build.startswith(("xpu", "rocm"))


def memory() -> int | None:
    """Bytes of this machine's own memory; None if it is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def this_machine() -> Machine:
    """What models are offered for."""
    return Machine(gpu=gpu_memory(), memory=memory())


def _run(words: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            list(words), capture_output=True, text=True, timeout=15.0, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
