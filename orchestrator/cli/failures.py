"""From exceptions to words on stderr, JSON on stdout and an exit status. No traceback, ever."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from ...core.errors import CancelledError, KizyError

BROKEN_PIPE = 141
INTERRUPTED = 130

# typer brings its own copy of click, whose base of all usage errors it does not name.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def exit_status_of(run: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run the command; 0, or the exit status of what went wrong."""
    as_json = "--json" in arguments
    try:
        status = run()
    except KizyError as error:
        show_error(error.as_dict(), as_json=as_json)
        return error.exit_status
    except typer.Exit as leave:
        status = leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except _UsageError as error:
        fix = "kizy --help lists the commands; kizy COMMAND --help its options."
        message = error.format_message()
        show_error({"code": "request_invalid", "message": message, "fix": fix}, as_json=as_json)
        return 2
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if "--debug" in arguments:
            raise
        message = f"Kizy made a mistake ({type(error).__name__}: {error})."
        fix = "Try again with --debug and report what it prints."
        show_error({"code": "drawing_failed", "message": message, "fix": fix}, as_json=as_json)
        return 1
    if status == INTERRUPTED:
        # Somebody pressed Ctrl-C before there was anything to stop or save.
        stopped = CancelledError("cancelled", "Stopped; nothing was saved.")
        show_error(stopped.as_dict(), as_json=as_json)
    return status if isinstance(status, int) else 0


def show_error(error: dict[str, str], *, as_json: bool) -> None:
    """The error for people on stderr; with `as_json` also as the one document on stdout."""
    from rich.console import Console
    from rich.text import Text

    # Arguments may hold bytes that are no text: they must not fail once more on their way out.
    error = {k: v.encode("utf-8", "backslashreplace").decode() for k, v in error.items()}
    console = Console(stderr=True)
    console.print(Text.assemble(("Error: ", "bold red"), error["message"]))
    console.print(Text.assemble(("Fix:   ", "bold"), error["fix"]))
    console.print(Text.assemble(("Code:  ", "dim"), (error["code"], "dim")))
    if as_json:
        print(json.dumps({"error": error}))
