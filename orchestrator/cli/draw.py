"""`kizy generate` and `kizy replay`: progress while it draws, then files and reasons."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ...core.errors import CancelledError, InputError, KizyError, exit_status
from ...core.job import Artifact, EndEvent, ErrorInfo, Event
from ...core.plan import Plan
from ...core.request import GenerationRequest, parse_request
from ..app import App
from ..engines.base import Handle


@dataclass(frozen=True)
class View:
    """How to show it: folder, one JSON document, open the pictures, show what went wrong."""

    out: Path | None
    as_json: bool
    open_them: bool
    debug: bool


@dataclass
class _Outcome:
    """What came of a drawing."""

    artifacts: list[Artifact] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    end: EndEvent | None = None


class FailedError(KizyError):
    """An engine's error, as it was reported by its last event."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.code, info.message, fix=info.fix)
        self.exit_status = exit_status(info.code)


def number(text: str) -> str | int | float:
    """A number where the text is one: what is none is refused by the request, not here."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
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
    name, colon, weight = value.rpartition(":")
    # A path may hold a colon of its own (C:\loras): what follows must be a number.
    if colon and isinstance(number(weight), (int, float)):
        return {"name": name, "model_weight": number(weight)}
    return {"name": value}


def start_picture(path: Path | None, strength: str) -> dict[str, Any] | None:
    """The request's `start`; a strength without a picture is refused by name."""
    if path is None and strength == "auto":
        return None
    if path is None:
        message = "--strength says how much of a start picture is kept, and there is none."
        raise InputError("request_invalid", message, fix="Give the picture with --start.")
    return {"picture": str(path), "strength": number(strength)}


def generate(values: dict[str, Any], *, raw: bool, view: View) -> None:
    """Plan and draw a request. Raises KizyError."""
    request = parse_request(GenerationRequest, values)
    with _app(view) as app:
        _draw(app, app.plan(request, raw=raw), view)


def replay(picture: Path, *, view: View) -> None:
    """Draw a picture's Plan again. Raises KizyError."""
    with _app(view) as app:
        _draw(app, app.plan_of(picture), view)


@contextlib.contextmanager
def _app(view: View) -> Iterator[App]:
    """What the command draws with; what was started for it ends with it."""
    console = Console(stderr=True)
    app = App(pictures=view.out, say=lambda line: _print(console, line, "dim"))
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
    outcome = _follow(app, handle, plan, console)
    seconds = time.monotonic() - started
    error = outcome.end.error if outcome.end is not None else None
    if error is not None:
        _raise(error, outcome, console)
    _tell(outcome, plan, console)
    if view.as_json:
        print(json.dumps(_document(outcome, plan, seconds), ensure_ascii=False))
    if view.open_them:
        import typer

        for artifact in outcome.artifacts:
            typer.launch(artifact.path)


def _follow(app: App, handle: Handle, plan: Plan, console: Console) -> _Outcome:
    """Show events until the end; Ctrl-C cancels, and then waits for the end all the same."""
    outcome = _Outcome()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0, left="")
        events = app.follow(handle)
        while outcome.end is None:
            try:
                for event in events:
                    _take(event, outcome)
                    if event.kind == "progress":
                        left = f"{event.left:.0f} s left" if event.left is not None else ""
                        bar.update(
                            task, completed=event.fraction, description=event.doing, left=left
                        )
            except KeyboardInterrupt:
                app.cancel(handle)
                outcome = _Outcome()
                events = app.follow(handle)
    return outcome


def _take(event: Event, outcome: _Outcome) -> None:
    if event.kind == "artifact":
        outcome.artifacts.append(event.artifact)
    elif event.kind == "notice":
        outcome.notices.append(event.text)
    elif event.kind == "end":
        outcome.end = event


def _raise(error: ErrorInfo, outcome: _Outcome, console: Console) -> None:
    for artifact in outcome.artifacts:
        _print(console, f"Saved before that: {artifact.path}")
    if error.code == "cancelled":
        saved = len(outcome.artifacts)
        what = "nothing was" if saved == 0 else f"{saved} picture{'s were' * (saved > 1)}"
        raise CancelledError("cancelled", f"Stopped; {what} saved.")
    raise FailedError(error)


def _tell(outcome: _Outcome, plan: Plan, console: Console) -> None:
    for notice in outcome.notices:
        _print(console, f"Note: {notice}")
    for artifact in outcome.artifacts:
        _print(console, artifact.path, style="bold")
        _print(console, f"  {artifact.width}x{artifact.height}, seed {artifact.seed}")
    if plan.prompt != plan.request_prompt:
        _print(console, f"Drawn: {plan.prompt}")
    for reason in plan.reasons:
        _print(console, f"{reason.choice.capitalize()}: {reason.value} ({reason.why})", "dim")


def _print(console: Console, text: str, style: str = "") -> None:
    """One line as it is: prompts and paths are no markup, and paths are not wrapped."""
    console.print(Text(text, style=style), soft_wrap=True)


def _document(outcome: _Outcome, plan: Plan, seconds: float) -> dict[str, Any]:
    return {
        "pictures": [
            artifact.model_dump(mode="json", exclude={"plan"}) for artifact in outcome.artifacts
        ],
        "notices": outcome.notices,
        "seconds": round(seconds, 3),
        "plan": plan.model_dump(mode="json"),
    }
