"""`kizy train`: the pictures and the plan, then how it goes, then the LoRA."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ...core.errors import CancelledError, InputError, UnknownNameError
from ...core.request import TrainingRequest, parse_request
from ...trainer.dataset import DataSet
from ...trainer.engines.base import Command
from ...trainer.events import EndEvent, TrainingEvent
from ...trainer.plan import TrainingPlan
from ...trainer.run_folder import RunFolder
from ...trainer.supervise import TrainingHandle
from ...trainer.train import Trainer, dataset_of, report_of
from ..planning.resolve import resolve_training
from ..settings import load_settings
from ..training.trainer import make_trainer
from .console import document, line, plural, shown
from .draw import number
from .outcome import FailedError
from .train_view import TrainingView

_DECIDED = ("goal", "base", "engine", "steps", "rank", "resolution", "seed",
            "captions_encoding")  # fmt: skip
"""Options that a training which goes on has decided already."""


@dataclass(frozen=True)
class Wish:
    """What the command was asked for besides the request."""

    resume: bool
    dry_run: bool
    yes: bool
    as_json: bool
    debug: bool


@dataclass
class _Outcome:
    """What came of a training."""

    end: EndEvent | None = None
    step: int = 0
    loss: float | None = None
    checks: list[tuple[int, float]] = field(default_factory=list)
    samples: dict[str, None] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def take(self, event: TrainingEvent) -> None:
        if event.kind == "step":
            self.step, self.loss = event.step, event.smoothed
        elif event.kind == "validation":
            self.checks.append((event.step, event.loss))
        elif event.kind == "sample":
            self.samples.pop(event.path, None)
            self.samples[event.path] = None
        elif event.kind == "notice":
            self.notices.append(event.text)
        elif event.kind == "end":
            self.end = event


def train(values: dict[str, Any], wish: Wish, *, trainer: Trainer | None = None) -> None:
    """Prepare, show, train; or have it done by the server of the settings. Raises KizyError."""
    console = Console(stderr=True)
    settings = load_settings()
    if settings.server is not None and trainer is None:
        from . import train_remote as train_there

        train_there.train(values, wish, settings)
        return
    trainer = trainer or make_trainer(settings)
    run = _found(values, trainer) if wish.resume else _prepared(values, trainer, console)
    plan, data = run.plan(), dataset_of(run)
    if not wish.resume:
        _show(plan, data, run, console)
    if wish.dry_run:
        _show_command(run, plan, data, trainer.command(run), wish.as_json)
        return
    if not wish.resume and not _agreed(wish, run, console):
        return
    started = time.monotonic()
    handle = trainer.resume(run) if wish.resume else trainer.start(run)
    outcome = _follow(trainer, handle, plan, console)
    _close(outcome, run, plan, data, time.monotonic() - started, wish, console)


def request_values(options: dict[str, Any]) -> dict[str, Any]:
    """The request's values from the command's options: numbers where they are some."""
    numbers = {key: number(options[key]) for key in ("steps", "rank", "resolution", "seed")}
    return {**options, **numbers}


def checked(values: dict[str, Any]) -> TrainingRequest:
    """The request. Raises InputError, UnknownNameError."""
    if not values["files"]:
        message = "There are no pictures to learn from."
        fix = "Name them: kizy train PICTURES --name NAME"
        raise InputError("request_invalid", message, fix=fix)
    if not values["name"]:
        message = "The LoRA has no name."
        raise InputError("request_invalid", message, fix='Give it one: --name "Mimi the cat"')
    for file in values["files"]:
        if not _is_text(file):
            message = f"The name of {shown(file)} is no valid text on this system."
            raise UnknownNameError("file_missing", message, fix="Rename it, or give its folder.")
    return parse_request(TrainingRequest, values)


def _prepared(values: dict[str, Any], trainer: Trainer, console: Console) -> RunFolder:
    request = resolve_training(checked(values), files=True)
    with console.status("Looking at the pictures") as status:

        def progress(fraction: float, doing: str) -> None:
            status.update(f"{fraction:.0%} {doing}")

        return trainer.prepare(request, progress=progress)


def _is_text(name: str) -> bool:
    """Whether a file's name can be stored and shown: systems allow names that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _found(values: dict[str, Any], trainer: Trainer) -> RunFolder:
    changed = [name for name in _DECIDED if values.get(name, "auto") != "auto"]
    if changed or values["quality"] != "balanced":
        option = changed[0].replace("_", "-") if changed else "quality"
        message = f"A training that goes on keeps what was decided: --{option} changes nothing."
        raise InputError("request_invalid", message, fix="Leave it out, or train anew.")
    files = values["files"]
    if len(files) > 1:
        message = "--resume goes on with one training."
        raise InputError("request_invalid", message, fix="Name its folder, or nothing at all.")
    return trainer.find(files[0] if files else values["name"] or None)


def _show(plan: TrainingPlan, data: DataSet, run: RunFolder, console: Console) -> None:
    held_out = sum(example.held_out for example in data.examples)
    kept = f"{plural(len(data.examples), 'picture')}"
    if held_out:
        kept += f", {held_out} of them held out to compare by"
    line(console, f"{plan.name}: {kept}", style="bold")
    line(console, f'Trigger: "{plan.trigger}" (captions from: {data.captions_from})')
    for dropped in data.dropped[:10]:
        line(console, f"Left out: {dropped.source} {dropped.why}")
    if len(data.dropped) > 10:
        line(console, f"Left out: {len(data.dropped) - 10} more; {run.path / 'dataset.json'}")
    for warning in data.warnings:
        line(console, f"Note: {warning}", style="yellow")
    for reason in plan.reasons:
        line(console, f"{reason.choice.capitalize()}: {reason.value} ({reason.why})", style="dim")
    line(console, f"Look at what it learns from: {report_of(run)}")


def _show_command(
    run: RunFolder, plan: TrainingPlan, data: DataSet, command: Command, as_json: bool
) -> None:
    """What would be run and which files it would read, on stdout."""
    if as_json:
        told = {
            "folder": str(run.path),
            "report": str(report_of(run)),
            "plan": plan.model_dump(mode="json"),
            "dataset": data.model_dump(mode="json"),
            "command": {
                "argv": list(command.argv),
                "folder": str(command.folder),
                "environment": dict(command.environment),
            },
            "files": {str(path): text for path, text in command.files.items()},
        }
        document(told)
        return
    for path, text in command.files.items():
        print(f"# {path}\n{text}")
    print(f"cd {shlex.quote(str(command.folder))}")
    for name, value in command.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print(_in_lines(command.argv))
    print("\n# Nothing was trained. To do it: kizy train --resume " + shlex.quote(str(run.path)))


def _in_lines(words: tuple[str, ...]) -> str:
    """A command line that can be typed: the script and each option on a line of its own."""
    lines: list[list[str]] = [[]]
    for word in words:
        if lines[-1] and (word.startswith("--") or word.endswith(".py")):
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(part) for part in lines)


def _agreed(wish: Wish, run: RunFolder, console: Console) -> bool:
    if wish.yes or wish.as_json or not sys.stdin.isatty():
        return True
    import typer

    if typer.confirm("Train now?", default=True, err=True):
        return True
    line(console, f"Not trained. To do it: kizy train --resume {shlex.quote(str(run.path))}")
    return False


def _follow(
    trainer: Trainer, handle: TrainingHandle, plan: TrainingPlan, console: Console
) -> _Outcome:
    """Show events to the end. Ctrl-C asks it to stop and waits; a second one ends it."""
    outcome, asked, seen = _Outcome(), False, 0
    with _sigterm_as_ctrl_c(), TrainingView(plan, console) as view:
        while outcome.end is None:
            try:
                outcome = _Outcome()
                for place, event in enumerate(trainer.follow(handle)):
                    outcome.take(event)
                    # After Ctrl-C they come again from the first one.
                    if place >= seen:
                        view.show(event)
                        seen = place + 1
            except KeyboardInterrupt:
                outcome.end = None
                if asked:
                    trainer.kill(handle)
                    view.say("Ended at once.")
                    continue
                asked = True
                view.say("Stopping: what there is is saved. Ctrl-C again ends it at once.")
                trainer.stop(handle)
    return outcome


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _close(
    outcome: _Outcome,
    run: RunFolder,
    plan: TrainingPlan,
    data: DataSet,
    seconds: float,
    wish: Wish,
    console: Console,
) -> None:
    end = outcome.end
    assert end is not None
    on = f"kizy train --resume {shlex.quote(str(run.path))}"
    if end.error is not None:
        if wish.debug and run.log.exists():
            print(run.log.read_text(errors="replace")[-8000:], file=sys.stderr)
        failed = FailedError(end.error)
        if not failed.fix or "--resume" not in failed.fix:
            line(console, f"What was saved stays. To go on: {on}")
        raise failed
    if end.state == "stopped":
        what = "nothing was saved yet"
        if end.result is not None:
            what = f"{end.result} holds step {end.best_step}"
        message = f"Stopped after step {outcome.step} of {plan.steps}; {what}."
        raise CancelledError("cancelled", message, fix=f"To go on: {on}")
    if wish.as_json:
        document(_document(outcome, run, plan, data, seconds))
    line(console, end.result or "", style="bold")
    line(console, f"Step {end.best_step}: {end.why}.")
    for name in ("loss.png", "samples.png"):
        if (run.path / name).exists():
            line(console, str(run.path / name))
    line(console, f'Draw with it: kizy generate "{plan.sample_prompts[-1]}"')


def _document(
    outcome: _Outcome, run: RunFolder, plan: TrainingPlan, data: DataSet, seconds: float
) -> dict[str, Any]:
    end = outcome.end
    assert end is not None
    pictures = {name: run.path / f"{name}.png" for name in ("loss", "samples", "report")}
    return {
        "state": end.state,
        "lora": end.result,
        "trigger": plan.trigger,
        "weight": plan.weight,
        "best_step": end.best_step,
        "why": end.why,
        "steps": outcome.step,
        "loss": outcome.loss,
        "validation": outcome.checks,
        "samples": list(outcome.samples),
        "pictures": {name: str(path) for name, path in pictures.items() if Path(path).exists()},
        "notices": outcome.notices,
        "seconds": round(seconds, 3),
        "folder": str(run.path),
        "plan": plan.model_dump(mode="json"),
        "dataset": data.model_dump(mode="json", exclude={"examples"}),
    }
