"""`python -m kizy.trainer.engines.kohya_run FOLDER SD_SCRIPTS PYTHON`: train with sd-scripts.

This process starts `accelerate launch`, turns what it logs and saves into Kizy's events, draws
samples where Kizy can draw the base, and publishes the best checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from ...core.errors import EngineError, KizyError
from ...core.launch import open_process
from .. import dataset
from ..children import end_child, note_child
from ..deaths import as_info
from ..events import (
    EndEvent,
    EventWriter,
    NoticeEvent,
    Smoother,
    StepEvent,
    ValidationEvent,
)
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from .base import STOP_FILE, Command
from .kohya import KohyaEngine, KohyaSettings, environment
from .kohya_failures import explain_kohya
from .kohya_files import FOLDER
from .kohya_results import Results
from .kohya_state import newest_state
from .tfevents import Scalar, ScalarReader

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
END_SECONDS = 20.0
"""How long it may take to end when it is asked."""

MAX_NOT_A_NUMBER = 25
"""Steps in a row without a loss that is a number, before it is given up."""


class Losses:
    """What sd-scripts logs, as events.

    Its validation average is over all checks since it started; each check has its share taken out.
    """

    def __init__(
        self, plan: TrainingPlan, events: EventWriter, begin: int = 0, before: Iterable[float] = ()
    ) -> None:
        """`begin`: steps that were taken already; `before`: their losses."""
        self._plan, self._events, self._begin = plan, events, begin
        self._smoother = Smoother()
        for loss in before:
            self._smoother.add(loss)
        self._loss: tuple[int, float] | None = None
        self._checks, self._sum = 0, 0.0
        self._started: tuple[float, int] | None = None
        self._not_numbers = 0
        self.step = begin

    def take(self, scalar: Scalar) -> float | None:
        """One number. A validation loss comes back. Raises EngineError `training_diverged`."""
        if scalar.tag == "loss/current":
            self._loss = (scalar.step, scalar.value)
        elif scalar.tag.startswith("lr/") and self._loss is not None:
            step, loss = self._loss
            self._loss = None
            self._step(step, loss, scalar.value)
        elif scalar.tag == "loss/validation/step_average" and math.isfinite(scalar.value):
            self._checks += 1
            total = scalar.value * self._checks
            loss, self._sum = total - self._sum, total
            self._events.write(ValidationEvent(step=scalar.step, loss=loss))
            return loss
        return None

    def _step(self, step: int, loss: float, rate: float) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = (now, step)
        self.step = step
        if not math.isfinite(loss):
            self._not_numbers += 1
            if self._not_numbers > MAX_NOT_A_NUMBER:
                message = f"The loss has been no number for {MAX_NOT_A_NUMBER} steps."
                raise EngineError("training_diverged", message)
            return
        self._not_numbers = 0
        taken = step - self._started[1]
        each = (now - self._started[0]) / taken if taken else None
        steps = self._plan.steps
        self._events.write(
            StepEvent(
                step=step,
                steps=steps,
                loss=loss,
                smoothed=self._smoother.add(loss),
                left=each * (steps - step) if each is not None else None,
                lr=rate if math.isfinite(rate) else 0.0,
            )
        )


class KohyaRun:
    """One training with sd-scripts. `stopping` is asked twice a second."""

    def __init__(
        self,
        folder: Path,
        engine: KohyaEngine,
        events: EventWriter,
        stopping: Callable[[], bool],
    ) -> None:
        self.run, self.engine, self.events, self.stopping = (
            RunFolder(folder),
            engine,
            events,
            stopping,
        )
        self.folder = folder
        self.plan = self.run.plan()
        self.data = dataset.load(folder)
        self.out = folder / FOLDER / "out"
        self.results = Results(folder, self.plan, self.data, events)

    def go(self) -> EndEvent:
        """Train to the end, or until it is stopped; publish what there is. Raises KizyError."""
        state = newest_state(self.out, self.plan.slug)
        begin = state.step if state is not None else 0
        if begin:
            self._say("resumed", f"Going on after step {begin} of {self.plan.steps}.")
        finished = begin >= self.plan.steps or self._train(begin)
        self.results.collect(self.out)
        return self.results.finish("succeeded" if finished else "stopped")

    def _train(self, begin: int) -> bool:
        """Whether it came to its end."""
        command = self.engine.command(self.folder)
        self._say("loading", f"sd-scripts loads {self.plan.base.name} and looks at the pictures.")
        self.engine.lay_out(self.folder)
        losses = Losses(self.plan, self.events, begin, self._losses_before(begin))
        scalars = ScalarReader(self.folder / FOLDER / "logs")
        said = self.folder / FOLDER / "output.txt"
        with said.open("wb") as output, self._child(command, output) as child:
            while True:
                ended = child.poll() is not None
                for scalar in scalars.new():
                    check = losses.take(scalar)
                    if check is not None:
                        self.results.note_check(scalar.step, check)
                self.results.collect(self.out)
                if ended:
                    break
                if self.stopping():
                    return False
                time.sleep(POLL_SECONDS)
        text = said.read_bytes()[-200_000:].decode("utf-8", "replace")
        sys.stderr.write(text[-20_000:])
        if child.returncode != 0:
            raise explain_kohya(child.returncode, text)
        return True

    @contextlib.contextmanager
    def _child(self, command: Command, output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        process = open_process(
            command.argv,
            cwd=command.folder,
            env=environment({**os.environ, **command.environment}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0 if os.name != "nt" else None,
        )
        note_child(self.folder, process.pid)
        try:
            yield process
        finally:
            end_child(self.folder, patience=END_SECONDS)
            process.wait()

    def _losses_before(self, step: int) -> list[float]:
        """The losses of the steps up to `step`; of one that was taken again, the last."""
        taken = {
            event.step: event.loss
            for event in self.run.all_events()
            if isinstance(event, StepEvent) and event.step <= step
        }
        return [taken[number] for number in sorted(taken)]

    def _say(self, code: str, text: str) -> None:
        self.events.write(NoticeEvent(code=code, text=text))


def main(arguments: list[str]) -> int:
    """Train; the exit status: 0 unless it failed."""
    folder = Path(arguments[0]).resolve()
    engine = KohyaEngine(KohyaSettings(Path(arguments[1]), Path(arguments[2])))
    asked = False

    def hear(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)

    def stopping() -> bool:
        return asked or (folder / STOP_FILE).exists()

    with EventWriter(folder / "events.jsonl") as events:
        end = _end(folder, engine, events, stopping)
        events.write(end)
    return 1 if end.state == "failed" else 0


def _end(
    folder: Path, engine: KohyaEngine, events: EventWriter, stopping: Callable[[], bool]
) -> EndEvent:
    try:
        return KohyaRun(folder, engine, events, stopping).go()
    except KizyError as error:
        log.exception("the training failed")
        return EndEvent(state="failed", error=as_info(error))
    except Exception as error:
        log.exception("the training failed")
        failed = EngineError("training_failed", f"{type(error).__name__}: {error}")
        return EndEvent(state="failed", error=as_info(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
