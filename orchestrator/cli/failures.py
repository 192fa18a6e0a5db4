"""From exceptions to words on stderr, JSON on stdout and an exit status. No traceback, ever."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence

import click

from ...core.errors import KizyError

BROKEN_PIPE = 141


def exit_status_of(run: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run the command; 0, or the exit status of what went wrong."""
    as_json = "--json" in arguments
    try:
        status = run()
        return status if isinstance(status, int) else 0
    except KizyError as error:
        show_error(error.as_dict(), as_json=as_json)
        return error.exit_status
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        fix = "kizy --help lists the commands; kizy COMMAND --help its options."
        show_error(
            {"code": "request_invalid", "message": error.format_message(), "fix": fix},
            as_json=as_json,
        )
        return 2
    except (KeyboardInterrupt, click.Abort):
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if "--debug" in arguments:
            raise
        show_error(
            {
                "code": "drawing_failed",
                "message": f"Kizy made a mistake ({type(error).__name__}: {error}).",
                "fix": "Try again with --debug and report what it prints.",
            },
            as_json=as_json,
        )
        return 1


def show_error(error: dict[str, str], *, as_json: bool) -> None:
    """The error for people on stderr; with `as_json` also as the one document on stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text.assemble(("Error: ", "bold red"), error["message"]))
    console.print(Text.assemble(("Fix:   ", "bold"), error["fix"]))
    console.print(Text.assemble(("Code:  ", "dim"), (error["code"], "dim")))
    if as_json:
        print(json.dumps({"error": error}, ensure_ascii=False))
