"""What the machine has that trains: asked in the interpreter that will, in a process of its own.

A process that asks a GPU keeps some of its memory until it ends. The caller shall not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from ..core import cores
from ..core.errors import EngineError
from ..core.request import Frozen

PROBE_SECONDS = 120.0
"""How long the first import of torch may take on a slow disk."""

GIB = 2**30

SMALL_GIB = 11.0
"""With less free memory the text encoder in 8 bits is taken first.

source: sd-scripts, docs/flux_train_network.md, 6.1: recommended with 10 GB and less
"""

_PROBE = """
import importlib.util, json, os, sys
found = {"device": "cpu", "name": "", "free": 0, "total": 0, "bf16": False,
         "packages": [n for n in sys.argv[1:] if importlib.util.find_spec(n) is not None]}
if importlib.util.find_spec("torch") is not None:
    import torch
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found.update(device="cuda", name=torch.cuda.get_device_name(), free=free, total=total,
                     bf16=torch.cuda.is_bf16_supported(including_emulation=False))
print("KIZY" + json.dumps(found))
"""


_FIND = """
import importlib.util, sys
print("KIZY", *[n for n in sys.argv[1:] if importlib.util.find_spec(n) is not None])
"""


class Machine(Frozen):
    """What trains. `free` and `total`: bytes of the GPU's memory, on the CPU the computer's.

    `bf16`: the GPU computes in bfloat16. `packages`: of those that were asked for, what the
    interpreter has.
    """

    device: Literal["cuda", "cpu"]
    name: str = ""
    free: int
    total: int
    bf16: bool = False
    cores: int = 1
    packages: frozenset[str] = frozenset()


def probe(interpreter: str = sys.executable, packages: tuple[str, ...] = ()) -> Machine:
    """The machine as `interpreter` sees it, and which of `packages` it has.

    Raises EngineError `launch_failed`.
    """
    found = json.loads(_asked(interpreter, _PROBE, packages))
    if found["device"] == "cpu":
        found["free"], found["total"] = memory_of_computer()
    return Machine(cores=cores.count(), **found)


def without_own_paths(environment: dict[str, str]) -> dict[str, str]:
    """Without what would lead another Python to the libraries of this one."""
    return {k: v for k, v in environment.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def packages_of(interpreter: str, packages: tuple[str, ...]) -> frozenset[str]:
    """Which of `packages` an interpreter has, without importing any. Raises `launch_failed`."""
    return frozenset(_asked(interpreter, _FIND, packages).split())


def _asked(interpreter: str, program: str, words: tuple[str, ...]) -> str:
    """What an interpreter says behind "KIZY"."""
    line = [interpreter, "-c", program, *words]
    env = None if interpreter == sys.executable else without_own_paths(dict(os.environ))
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=PROBE_SECONDS, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"The interpreter {interpreter} could not be started."
        raise EngineError("launch_failed", message, raw=str(error)) from error
    said = next((x for x in reversed(done.stdout.splitlines()) if x.startswith("KIZY")), None)
    if said is None:
        message = f"The interpreter {interpreter} ended with an error."
        raise EngineError("launch_failed", message, raw=done.stderr[-2000:])
    return said.removeprefix("KIZY")


def memory_of_computer() -> tuple[int, int]:
    """Free and all bytes of the computer's memory; as much as a container may have."""
    try:
        import psutil

        memory = psutil.virtual_memory()
        free, total = int(memory.available), int(memory.total)
    except ImportError:
        free = total = 8 * GIB
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and used is not None and limit < total:
        total, free = limit, min(free, max(limit - used, 0))
    return free, total


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
