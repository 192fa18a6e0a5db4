"""`python -m kizy.trainer.builtin FOLDER`: train in a run's folder, in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from ...core.errors import EngineError, KizyError
from ...core.job import ErrorInfo
from ...core.out_of_memory import is_out_of_memory
from ..engines.base import STOP_FILE
from ..events import EndEvent, EventWriter
from ..run_folder import RunFolder

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Train; the exit status: 0 unless it failed."""
    folder = Path(arguments[0])
    asked = False

    def hear(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)

    def stopping() -> bool:
        return asked or os.path.exists(folder / STOP_FILE)  # noqa: PTH110 (asked after each step)

    with EventWriter(folder / "events.jsonl") as events:
        end = _end(folder, events, stopping)
        events.write(end)
    return 1 if end.state == "failed" else 0


def _end(folder: Path, events: EventWriter, stopping) -> EndEvent:
    try:
        plan = RunFolder(folder).plan()
        from .run import Run

        return Run(folder, plan, events, stopping).go()
    except KizyError as error:
        log.exception("the training failed")
        return EndEvent(state="failed", error=ErrorInfo(**error.as_dict()))
    except Exception as error:
        log.exception("the training failed")
        return EndEvent(state="failed", error=ErrorInfo(**_told(error).as_dict()))


def _told(error: Exception) -> KizyError:
    if is_out_of_memory(error):
        message = "The training needs more memory than this machine has free."
        fix = "Close other programs, or train at a smaller --resolution or --rank."
        return EngineError("out_of_memory", message, fix=fix)
    return EngineError("training_failed", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
