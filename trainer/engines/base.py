"""The interface of what trains. An engine is a process: it never takes the caller down with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...core.errors import KizyError
from ..plan import TrainingPlan

STOP_FILE = "stop"
"""A file of that name in the run's folder asks the process to save, publish and end."""


@dataclass(frozen=True)
class Command:
    """A command line that could be typed. `environment`: on top of the caller's.

    `folder`: where it runs. `files`: what it reads and Kizy writes, path -> text.
    """

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)


class TrainerEngine(Protocol):
    """One way to train. What its process must do, given a run's folder:

    read plan.json and dataset.json; append events to events.jsonl, the last of them an EndEvent;
    save checkpoints and state so often that little is lost when it is killed; go on from the
    newest state if there is one; on SIGTERM or when the file `stop` appears, save, publish what
    there is and end as "stopped".
    """

    @property
    def name(self) -> str: ...

    def missing(self) -> KizyError | None:
        """Why it cannot train anything here, and what to do; None if it can."""
        ...

    def refusal(self, plan: TrainingPlan) -> KizyError | None:
        """Why it cannot train this; None if it can. Does not ask what `missing` asks."""
        ...

    def command(self, folder: Path) -> Command:
        """What trains in the end, for `--dry-run`: a line to read, to change and to type."""
        ...

    def lay_out(self, folder: Path) -> None:
        """Write what the command reads. Raises KizyError."""
        ...

    def process(self, folder: Path) -> list[str]:
        """The command line of the process that is started and watched."""
        ...
