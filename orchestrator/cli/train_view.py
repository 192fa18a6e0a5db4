"""A training while it runs: a line that moves in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ...trainer.events import TrainingEvent
from ...trainer.plan import TrainingPlan
from .outcome import time_left

LINES = 20
"""So many lines about its steps where nothing can move."""


class TrainingView:
    """Shows events: step, smoothed loss, time left, validation loss, the last sample's path."""

    def __init__(self, plan: TrainingPlan, console: Console) -> None:
        self._console, self._steps = console, plan.steps
        self._moves = console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
        )
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("starting", total=plan.steps, told="")
        self._check, self._told = "", 0

    def __enter__(self) -> TrainingView:
        if self._moves:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, event: TrainingEvent) -> None:
        """One event."""
        if event.kind == "step":
            told = f"loss {event.smoothed:.4f}{self._check}"
            if event.left is not None:
                told += f", {time_left(event.left)} left"
            self._step(event.step, event.steps, told)
        elif event.kind == "validation":
            self._check = f", held-out {event.loss:.4f}"
            self.say(f"Step {event.step}: loss on held-out pictures {event.loss:.4f}", "dim")
        elif event.kind == "sample":
            self.say(f"Step {event.step}: {event.path}", "dim")
        elif event.kind == "notice":
            self.say(event.text)

    def say(self, text: str, style: str = "") -> None:
        """A line above the one that moves."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _step(self, step: int, steps: int, told: str) -> None:
        description = f"step {step} of {steps}"
        self._bar.update(self._task, completed=step, description=description, told=told)
        part = step * LINES // max(steps, 1)
        if not self._moves and part != self._told:
            self._told = part
            self.say(f"{description}, {told}")
