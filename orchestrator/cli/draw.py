"""`kizy generate` and `kizy replay`: what is asked for, drawn in this process or on a server."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from ...catalog.search.lora_tags import written
from ...core.errors import CancelledError, InputError
from ...core.job import EndEvent, ErrorInfo
from ...core.leaving import second_ctrl_c_leaves
from ...core.numbers import read_number
from ...core.plan import Plan
from ...core.request import GenerationRequest, parse_request
from ..app import App
from ..backends.base import Handle
from ..planning.pasted import planned
from ..planning.resolve import resolve
from ..settings import Settings, load_settings
from .outcome import FailedError, Outcome, View, close, moving, put, saved_before, tell


def number(text: str) -> str | int | float:
    """A number where the text is one: what is none is refused by the request, not here."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        return read_number(text)
    return text


def lora_choices(values: list[str] | None) -> str | list[dict[str, Any]]:
    """`NAME[:WEIGHT]` each; "auto" and "none" are words, and "auto" may stand beside names.

    Raises InputError `request_invalid` for "none" beside others.
    """
    if not values:
        return "auto"
    if len(values) == 1 and values[0] in ("auto", "none"):
        return values[0]
    if "none" in values:
        message = "--lora none says that no LoRA is used, and another --lora names one."
        raise InputError("request_invalid", message, fix="Leave one of them out.")
    return [_lora_choice(value) for value in values]


def _lora_choice(value: str) -> dict[str, Any]:
    """The weight is read as one in a prompt is; what it may be, the request says."""
    named = written(value).named
    weights = {"model_weight": named.model_weight, "clip_weight": named.clip_weight}
    return {"name": named.name} | {key: w for key, w in weights.items() if w is not None}


def start_picture(path: Path | None, strength: str) -> dict[str, Any] | None:
    """The request's `start`; a strength without a picture is refused by name."""
    if path is None and strength == "auto":
        return None
    if path is None:
        message = "--strength says how much of a start picture is kept, and there is none."
        raise InputError("request_invalid", message, fix="Give the picture with --start.")
    return {"picture": str(path), "strength": number(strength)}


def generate(values: dict[str, Any], *, raw: bool, view: View, fresh: bool = False) -> None:
    """Plan and draw a request, here or on the server of the settings. Raises KizyError.

    `fresh`: a server draws also what it drew before.
    """
    request = parse_request(GenerationRequest, values)
    settings = load_settings()
    if settings.server is not None:
        from . import draw_remote as there

        there.generate(request, settings, raw=raw, fresh=fresh, view=view)
        return
    with _app(view, settings) as app:

        def plan(one: GenerationRequest) -> Plan:
            resolved = resolve(one, files=True)
            return resolved.told(app.plan(resolved.request, raw=raw))

        _draw(app, planned(request, plan), view)


def replay(picture: Path, *, view: View, fresh: bool = False) -> None:
    """Draw a picture's Plan again, here or on the server of the settings. Raises KizyError."""
    settings = load_settings()
    if settings.server is not None:
        from . import draw_remote as there

        there.replay(picture, settings, fresh=fresh, view=view)
        return
    with _app(view, settings) as app:
        _draw(app, app.plan_of(picture), view)


@contextlib.contextmanager
def _app(view: View, settings: Settings) -> Iterator[App]:
    """What the command draws with; what was started for it ends with it."""
    console = Console(stderr=True)
    app = App(pictures=view.out, settings=settings, say=lambda line: put(console, line, "dim"))
    left = CancelledError("cancelled", "Left at once; pictures that were saved stay.").as_dict()
    document = json.dumps({"error": left}) if view.as_json else ""
    with second_ctrl_c_leaves(left["message"], document):
        try:
            yield app
        finally:
            app.close()


def controls(values: list[str] | None) -> list[dict[str, Any]]:
    """`KIND=PICTURE[:STRENGTH]` each."""
    found = []
    for value in values or ():
        kind, equals, rest = value.partition("=")
        if not equals or not kind or not rest:
            message = f'"{value}" is no control map.'
            fix = "Write the kind and the map: --control canny=edges.png"
            raise InputError("request_invalid", message, fix=fix)
        path, colon, strength = rest.rpartition(":")
        if colon and isinstance(number(strength), (int, float)):
            found.append({"kind": kind, "picture": path, "strength": number(strength)})
        else:
            found.append({"kind": kind, "picture": rest})
    return found


def _draw(app: App, plan: Plan, view: View) -> None:
    if view.debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    console = Console(stderr=True)
    started = time.monotonic()
    handle = app.start(plan)
    for notice in plan.notices:
        put(console, f"Note: {notice.why}")
    outcome, end = _follow(app, handle, console)
    seconds = time.monotonic() - started
    if end.error is not None:
        _raise(end.error, outcome, console)
    tell(outcome, plan, console)
    outcome.notices[:0] = [notice.why for notice in plan.notices]
    outcome.codes[:0] = [notice.value for notice in plan.notices]
    close(outcome, plan, seconds, view)


def _follow(app: App, handle: Handle, console: Console) -> tuple[Outcome, EndEvent]:
    """Show events until the end; Ctrl-C cancels, and then waits for the end all the same.

    A second one does not come here: see `_app`.
    """
    outcome = Outcome()
    with moving(console) as show:
        while True:
            try:
                for event in app.follow(handle):
                    if event.kind == "progress":
                        show(event.fraction, event.doing, event.left)
                    elif event.kind == "artifact":
                        outcome.artifacts.append(event.artifact)
                    elif event.kind == "notice":
                        outcome.note(event.code, event.text)
                    elif event.kind == "end":
                        return outcome, event
            except KeyboardInterrupt:
                put(console, "Stopping after this step. Ctrl-C again leaves at once.", "dim")
                app.cancel(handle)
            outcome = Outcome()


def _raise(error: ErrorInfo, outcome: Outcome, console: Console) -> None:
    saved = saved_before(outcome.artifacts, console)
    if error.code == "cancelled":
        raise CancelledError("cancelled", f"Stopped; {saved} saved.")
    raise FailedError(error)
