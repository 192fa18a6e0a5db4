"""The facade: from a request to a run's folder, and from there to a LoRA in the catalog."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import InputError, KizyError, UnknownNameError
from ..core.plan import Plan
from ..core.request import MAX_PROMPT, TrainingRequest
from . import dataset, samples, supervise
from .base_choice import choose_base, find_parts
from .base_mark import require_same_base
from .captions import Captioner, one_line
from .engines.base import Command, TrainerEngine
from .engines.builtin import BuiltinEngine
from .engines.kohya import KohyaEngine, KohyaSettings
from .events import TrainingEvent
from .limits import Progress, never, no_progress
from .memory import Machine, probe
from .plan import TrainingPlan
from .rules import decide, engine_for, picture_limits
from .run_folder import RunFolder, find_run, list_runs, trainings_folder
from .supervise import TrainingHandle, Waits

MAX_NAME = 200
"""Letters of a name that are kept."""

SamplePlans = Callable[[TrainingPlan], Sequence[Plan]]
"""Makes the Plans of the samples: what `kizy generate` would draw for each prompt."""


@dataclass(frozen=True)
class TrainerSettings:
    """What the person set. `model`: what drawing takes by itself; `captioner`: for pictures
    without words."""

    kohya: KohyaSettings = field(default_factory=KohyaSettings)
    model: str | None = None
    captioner: Captioner | None = field(default=None, repr=False)


class Trainer:
    """Trains LoRAs, each in a process of its own that outlives this one."""

    def __init__(
        self,
        settings: TrainerSettings = TrainerSettings(),
        *,
        engines: Mapping[str, TrainerEngine] | None = None,
        machine: Callable[[str], Machine] | None = None,
        sample_plans: SamplePlans | None = None,
        triggers: Callable[[], Collection[str]] = tuple,
        waits: Waits = Waits(),  # noqa: B008
    ) -> None:
        """`machine`: engine's name -> what it trains on; `triggers`: those of other LoRAs."""
        self._settings, self._waits = settings, waits
        kohya = KohyaEngine(settings.kohya)
        self._kohya = kohya
        self._engines: Mapping[str, TrainerEngine] = engines or {
            "builtin": BuiltinEngine(),
            "kohya": kohya,
        }
        self._machine = machine or self._probed
        self._sample_plans, self._triggers = sample_plans, triggers

    def prepare(
        self,
        request: TrainingRequest,
        *,
        progress: Progress = no_progress,
        cancelled: Callable[[], bool] = never,
        folder: str | None = None,
    ) -> RunFolder:
        """Data set and plan, in a new run's folder. On an error nothing is left behind.

        `folder`: its name; what lies there without a plan, of a try that died, goes.

        Raises InputError and its kinds, EngineError, StorageError, CancelledError.
        """
        request = _on_one_line(request)
        here = self._machine("builtin")
        base, why = choose_base(request.base, self._settings.model, here, self._has_kohya)
        name, _why = engine_for(request, base)
        engine = self._engines[name]
        if (missing := engine.missing()) is not None:
            raise missing
        machine = here if name == "builtin" else self._machine(name)
        parts = find_parts(base, machine.free) if name == "kohya" else {}
        if folder is not None:
            shutil.rmtree(trainings_folder() / folder, ignore_errors=True)
        run = RunFolder.create(request, name=folder)
        try:
            data = dataset.build(
                request,
                run.path,
                captioner=self._settings.captioner,
                progress=progress,
                cancelled=cancelled,
                taken=self._triggers(),
                limits=picture_limits(request, base),
            )
            plan = decide(request, data, base, machine, parts=parts, why_base=why)
            if (refused := engine.refusal(plan)) is not None:
                raise refused
            run.write("plan.json", plan)
            self._plan_samples(run, plan)
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)
            raise
        return run

    def command(self, run: RunFolder) -> Command:
        """What will train it in the end, with all that it reads laid out. Raises KizyError."""
        engine = self._engine_of(run)
        # One that runs has it, and reads it.
        if not run.is_running():
            engine.lay_out(run.path)
        return engine.command(run.path)

    def start(self, run: RunFolder) -> TrainingHandle:
        """Begin, or go on from what was saved.

        Raises InputError `training_running` or `training_base_changed`, UnknownNameError
        `training_unknown`, EngineError, StorageError.
        """
        engine = self._engine_of(run)
        for refused in (engine.missing(), engine.refusal(run.plan())):
            if refused is not None:
                raise refused
        require_same_base(run)
        return supervise.start(run, engine)

    def resume(self, run: RunFolder) -> TrainingHandle:
        """Go on with a run; one that runs already is looked at."""
        if run.is_running():
            return supervise.attach(run)
        if run.state() == "succeeded":
            message = f"The training in {run.path} is done."
            raise UnknownNameError("training_unknown", message)
        return self.start(run)

    def follow(self, handle: TrainingHandle) -> Iterator[TrainingEvent]:
        """Its events to the end; can be called again."""
        return supervise.follow(handle, self._waits)

    def stop(self, handle: TrainingHandle) -> None:
        """Ask it to save, publish what there is, and end."""
        supervise.stop(handle)

    def kill(self, handle: TrainingHandle) -> None:
        """End it at once."""
        supervise.kill(handle)

    def runs(self) -> list[RunFolder]:
        """All trainings, the newest first."""
        return list_runs()

    def find(self, name: str | None) -> RunFolder:
        """A training to go on with. Raises UnknownNameError `training_unknown`."""
        return find_run(name)

    def _engine_of(self, run: RunFolder) -> TrainerEngine:
        return self._engines[run.plan().engine]

    def _plan_samples(self, run: RunFolder, plan: TrainingPlan) -> None:
        if self._sample_plans is None:
            return
        # Without them plain ones are drawn: no reason not to train.
        with contextlib.suppress(KizyError):
            samples.write_plans(run.path, self._sample_plans(plan))

    def _has_kohya(self) -> bool:
        engine = self._engines.get("kohya")
        return engine is not None and engine.missing() is None

    def _probed(self, name: str) -> Machine:
        if name == "kohya":
            return self._kohya.machine()
        return probe(packages=("bitsandbytes",))


def _on_one_line(request: TrainingRequest) -> TrainingRequest:
    """Name and description as titles, captions and metadata can show them."""
    name, about = one_line(request.name, MAX_NAME), one_line(request.about, MAX_PROMPT)
    if not name:
        raise InputError("request_invalid", "The LoRA's name holds nothing that can be shown.")
    return request.model_copy(update={"name": name, "about": about})


def dataset_of(run: RunFolder) -> dataset.DataSet:
    """The run's data set. Raises UnknownNameError."""
    return dataset.load(run.path)


def report_of(run: RunFolder) -> Path:
    """The picture that shows the data set."""
    return run.path / dataset.REPORT
