"""Why a process ended without a last word, told from its exit status and its log."""

from __future__ import annotations

import re
import signal

from ..core.errors import EngineError, KizyError, StorageError
from ..core.job import ErrorInfo
from ..core.out_of_memory import fix_for, says_out_of_memory

_MODULE = re.compile(r"No module named '([\w.]+)'")
_DISK = re.compile(r"No space left on device|Disk quota exceeded")
_GPU = re.compile(r"CUDA error: ([^\n]+)|CUDA driver version is insufficient")
_RAISED = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception|Interrupt|Invalid)): ?(.*)$")
_NOT_A_CAUSE = ("CalledProcessError",)
MAX_SHOWN = 300
MAX_RAW = 4000


def explain(status: int | None, log: str) -> KizyError:
    """The error of a process that ended with `status` (negative: a signal) and said `log`."""
    raw = log[-MAX_RAW:]
    known = explain_known(log)
    if known is not None:
        return known
    if status is not None and -status in (signal.Signals.SIGTERM, 9):
        name = signal.Signals(-status).name
        return EngineError("training_killed", f"The training was ended from outside ({name}).")
    if status is not None and status < 0:
        message = f"The training's process crashed (signal {-status})."
        return EngineError("training_failed", message, raw=raw)
    cause = last_cause(log)
    message = f"The training stopped: {cause}" if cause else "The training ended without a word."
    return EngineError("training_failed", message, raw=raw)


def explain_known(log: str) -> KizyError | None:
    """The error that a log speaks of, if it is one that anybody can do something about."""
    raw = log[-MAX_RAW:]
    if says_out_of_memory(log):
        fix = fix_for(log) or "Close other programs, lower --resolution, or train a smaller model."
        return EngineError("out_of_memory", "Memory did not suffice.", fix=fix, raw=raw)
    if _DISK.search(log):
        message = "The disk is full: the training could not go on."
        return StorageError("disk_full", message, fix="Free some space; --resume goes on.", raw=raw)
    if found := _MODULE.search(log):
        message = f"The library {found.group(1)} is missing in the Python that trains."
        return EngineError("local_missing", message, raw=raw)
    if found := _GPU.search(log):
        message = f"The GPU failed: {found.group(0)}."
        return EngineError("training_failed", message, raw=raw)
    return None


def last_cause(log: str) -> str:
    """The last exception that a log names, in its own words; else its last line."""
    lines = [line.rpartition("\r")[2].strip() for line in log.split("\n")]
    lines = [line for line in lines if line]
    for line in reversed(lines):
        found = _RAISED.match(line)
        if found and found.group(1) not in _NOT_A_CAUSE:
            return f"{found.group(1)}: {found.group(2)}"[:MAX_SHOWN].rstrip(": ")
    return lines[-1][:MAX_SHOWN] if lines else ""


def as_info(error: KizyError) -> ErrorInfo:
    """An error as data, for an EndEvent."""
    return ErrorInfo(code=error.code, message=error.message, fix=error.fix)
