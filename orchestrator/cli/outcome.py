"""What a drawing's commands show: a line that moves, then files and reasons, or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ...core.errors import KizyError, exit_status
from ...core.job import Artifact, ErrorInfo
from ...core.plan import NOTICE, Plan
from .console import document, shown


@dataclass(frozen=True)
class View:
    """How to show it: folder, one JSON document, open the pictures, show what went wrong."""

    out: Path | None
    as_json: bool
    open_them: bool
    debug: bool


@dataclass
class Outcome:
    """What came of a drawing. `codes`: of the notices, which never change."""

    artifacts: list[Artifact] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def note(self, code: str, text: str) -> None:
        """Keep a notice."""
        self.notices.append(text)
        self.codes.append(code)


class FailedError(KizyError):
    """An engine's error, as it was reported by its last event."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.code, info.message, fix=info.fix)
        self.exit_status = exit_status(info.code)


class Show(Protocol):
    """Moves the line; what is None stays as it is."""

    def __call__(self, fraction: float, doing: str, left: float | None) -> None: ...


@contextmanager
def moving(console: Console) -> Iterator[Show]:
    """A line that shows how far it is, while the block runs."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0, left="")

        def show(fraction: float, doing: str, left: float | None) -> None:
            told = f"{time_left(left)} left" if left is not None else ""
            bar.update(task, completed=fraction, description=doing, left=told)

        yield show


def time_left(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def tell(outcome: Outcome, plan: Plan, console: Console) -> None:
    """Notices, files, and why it was drawn so."""
    for notice in outcome.notices:
        put(console, f"Note: {notice}")
    for artifact in outcome.artifacts:
        put(console, artifact.path, style="bold")
        put(console, f"  {artifact.width}x{artifact.height}, seed {artifact.seed}")
    if plan.prompt != plan.request_prompt:
        put(console, f"Drawn: {plan.prompt}")
    for reason in (reason for reason in plan.reasons if reason.choice != NOTICE):
        put(console, f"{reason.choice.capitalize()}: {reason.value} ({reason.why})", "dim")


def saved_before(artifacts: Sequence[Artifact], console: Console) -> str:
    """Tells which pictures were saved before it ended; "nothing was" or "2 pictures were"."""
    for artifact in artifacts:
        put(console, f"Saved before that: {artifact.path}")
    many = len(artifacts)
    return f"{many} picture{'s were' * (many > 1)}" if many else "nothing was"


def close(outcome: Outcome, plan: Plan, seconds: float, view: View) -> None:
    """The JSON document and the open pictures, where they were asked for."""
    if view.as_json:
        document(_document(outcome, plan, seconds))
    if view.open_them:
        import typer

        for artifact in outcome.artifacts:
            typer.launch(artifact.path)


def put(console: Console, text: str, style: str = "") -> None:
    """One line as it is: prompts and paths are no markup, and paths are not wrapped."""
    console.print(Text(shown(text), style=style), soft_wrap=True)


def _document(outcome: Outcome, plan: Plan, seconds: float) -> dict[str, Any]:
    return {
        "pictures": [
            artifact.model_dump(mode="json", exclude={"plan"}) for artifact in outcome.artifacts
        ],
        "notices": outcome.notices,
        "notice_codes": outcome.codes,
        "seconds": round(seconds, 3),
        "plan": plan.model_dump(mode="json"),
    }
