"""What happens while a training runs: lines of JSON that its process writes and others follow."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from ..core.job import ErrorInfo
from ..core.request import Frozen

SMOOTHING = 0.98
"""Share that the smoothed loss keeps of itself at a step: about the last 50 steps count."""


class StepEvent(Frozen):
    """A step is done. `smoothed`: loss over about the last 50 steps; `left` in seconds."""

    kind: Literal["step"] = "step"
    step: int
    steps: int
    loss: float
    smoothed: float
    left: float | None = None
    lr: float


class ValidationEvent(Frozen):
    """The loss on the pictures that were held out."""

    kind: Literal["validation"] = "validation"
    step: int
    loss: float


class SampleEvent(Frozen):
    """A sample picture was drawn with the LoRA of that step."""

    kind: Literal["sample"] = "sample"
    step: int
    index: int
    path: str
    prompt: str
    seed: int


class CheckpointEvent(Frozen):
    """The LoRA of that step was saved, with what is needed to go on from there."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str


class NoticeEvent(Frozen):
    """Something the person should know, such as what takes long before the first step."""

    kind: Literal["notice"] = "notice"
    code: str
    text: str


class EndEvent(Frozen):
    """The last event of a run, or of the part of it until it is resumed.

    `result`: the LoRA in the LoRA folder. `best_step`: the step it comes from, and `why`.
    """

    kind: Literal["end"] = "end"
    state: Literal["succeeded", "stopped", "failed"]
    error: ErrorInfo | None = None
    result: str | None = None
    best_step: int | None = None
    why: str = ""


TrainingEvent = Annotated[
    StepEvent | ValidationEvent | SampleEvent | CheckpointEvent | NoticeEvent | EndEvent,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[TrainingEvent] = TypeAdapter(TrainingEvent)


class EventWriter:
    """Appends events to a run's file, each a line, seen by others at once.

    A line that a crash cut short is ended first, so that it spoils no other.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        if self._file.seek(0, os.SEEK_END) > 0:
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def write(self, event: TrainingEvent) -> None:
        """Append one event and flush. Raises ValueError for a number that is none."""
        text = json.dumps(event.model_dump(mode="python"), ensure_ascii=False, allow_nan=False)
        self._file.write(text.encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EventReader:
    """Reads a growing file of events, from byte `begin` on."""

    def __init__(self, path: Path, begin: int = 0) -> None:
        self._path, self._position = path, begin

    def new(self) -> Iterator[TrainingEvent]:
        """The events that came since the last call; broken and unknown lines are passed over."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole, newline, _rest = data.rpartition(b"\n")
        self._position += len(whole) + len(newline)
        for line in whole.split(b"\n") if newline else ():
            try:
                yield _ADAPTER.validate_json(line)
            except ValidationError:
                continue


def read_events(path: Path, begin: int = 0) -> list[TrainingEvent]:
    """All events of a file. Of a step that was taken again after a resume, the last one counts."""
    return list(EventReader(path, begin).new())


class Smoother:
    """An exponential mean without a bias towards 0 at the beginning. Passes over NaN."""

    def __init__(self, keep: float = SMOOTHING) -> None:
        self._keep, self._mean, self._share = keep, 0.0, 0.0

    @classmethod
    def of(cls, mean: float, share: float) -> Smoother:
        """One that goes on from the `parts` of another."""
        smoother = cls()
        smoother._mean, smoother._share = mean, share
        return smoother

    @property
    def parts(self) -> tuple[float, float]:
        """All that it remembers, to go on later."""
        return self._mean, self._share

    def add(self, value: float) -> float:
        """The mean with this value in it."""
        if math.isfinite(value):
            self._mean = self._keep * self._mean + (1 - self._keep) * value
            self._share = self._keep * self._share + (1 - self._keep)
        return self._mean / self._share if self._share else value
