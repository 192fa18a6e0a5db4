"""The folder of one training below KIZY_HOME/trainings: all that is needed to go on with it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from ..core.errors import UnknownNameError
from ..core.files import replacing, storage_errors, take_lock
from ..core.home import home
from ..core.request import TrainingRequest
from .engines.base import STOP_FILE
from .events import EndEvent, StepEvent, TrainingEvent, read_events
from .plan import TrainingPlan
from .rules import slug

_Model = TypeVar("_Model", bound=BaseModel)

UNPREPARED_SECONDS = 7 * 24 * 3600
"""A preparation that takes so long has died."""

RunState = Literal["prepared", "running", "interrupted", "stopped", "failed", "succeeded"]


def trainings_folder() -> Path:
    """Where all trainings are; absolute, as their processes run elsewhere."""
    return (home() / "trainings").absolute()


@dataclass(frozen=True)
class RunFolder:
    """One training, by its folder."""

    path: Path

    @classmethod
    def create(
        cls, request: TrainingRequest, parent: Path | None = None, *, name: str | None = None
    ) -> RunFolder:
        """A new folder that holds the request; what died long ago while it was prepared goes.

        `name`: of the folder, else one that nobody has. Raises StorageError.
        """
        parent = parent or trainings_folder()
        _forget_unprepared(parent)
        path = parent / (name or f"{slug(request.name)}-{secrets.token_hex(4)}")
        with storage_errors(path):
            path.mkdir(parents=True)
        run = cls(path)
        run.write("request.json", request)
        return run

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def stop_file(self) -> Path:
        return self.path / STOP_FILE

    def write(self, name: str, value: BaseModel) -> None:
        """Write a JSON file, whole or not at all. Raises StorageError."""
        with replacing(self.path / name) as temporary:
            temporary.write_text(value.model_dump_json(indent=1), encoding="utf-8")

    def request(self) -> TrainingRequest:
        """What was asked for. Raises UnknownNameError `training_unknown`."""
        return self._read("request.json", TrainingRequest)

    def plan(self) -> TrainingPlan:
        """What was decided. Raises UnknownNameError `training_unknown` if nothing was."""
        return self._read("plan.json", TrainingPlan)

    def all_events(self) -> list[TrainingEvent]:
        return read_events(self.events)

    def state(self) -> RunState:
        """How far it is. "interrupted": its process ended without a last word."""
        if self.is_running():
            return "running"
        last = next(iter(reversed(self.all_events())), None)
        if last is None:
            return "prepared"
        return last.state if isinstance(last, EndEvent) else "interrupted"

    def step(self) -> int:
        """The last step that was taken; 0 before the first."""
        steps = [event.step for event in self.all_events() if isinstance(event, StepEvent)]
        return steps[-1] if steps else 0

    def lock(self) -> IO[bytes] | None:
        """The right to train here, as long as the file is open in any process; None if taken.

        Handed to the training's process, it is given back by the system however that ends.
        """
        with storage_errors(self.path / "lock"):
            file = (self.path / "lock").open("ab")
        if take_lock(file):
            return file
        file.close()
        return None

    def is_running(self) -> bool:
        """Whether some process trains here."""
        if not (self.path / "lock").exists():
            return False
        file = self.lock()
        if file is not None:
            file.close()
        return file is None

    def _read(self, name: str, kind: type[_Model]) -> _Model:
        try:
            return kind.model_validate_json((self.path / name).read_bytes())
        except OSError as error:
            message = f"{self.path} holds no training that could go on ({name} is missing)."
            raise UnknownNameError("training_unknown", message) from error
        except ValidationError as error:
            message = f"{self.path / name} is damaged, or of another version of Kizy."
            raise UnknownNameError("training_unknown", message) from error


def list_runs(parent: Path | None = None) -> list[RunFolder]:
    """All trainings that were prepared to the end, the newest first."""
    folder = parent or trainings_folder()
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            request = path / "request.json"
            if request.is_file() and (path / "plan.json").is_file():
                found.append((request.stat().st_mtime, path))
    return [RunFolder(path) for _, path in sorted(found, reverse=True)]


def find_run(name: str | None, parent: Path | None = None) -> RunFolder:
    """A run by its folder's path or name, or the newest of that name that is not done.

    None: the newest one that is not done. Raises UnknownNameError `training_unknown`.
    """
    if name is not None and (Path(name) / "request.json").is_file():
        return RunFolder(Path(name))
    runs = list_runs(parent)
    if name is not None:
        exact = next((run for run in runs if run.path.name == name), None)
        if exact is not None:
            return exact
        runs = [run for run in runs if run.path.name.rpartition("-")[0] == slug(name)]
    waiting = next((run for run in runs if run.state() != "succeeded"), None)
    if waiting is not None:
        return waiting
    which = "No training" if name is None else f'No training of "{name}"'
    done = " (all are done)" if runs else ""
    raise UnknownNameError("training_unknown", f"{which} waits to be gone on with{done}.")


def _forget_unprepared(parent: Path) -> None:
    """Delete what a killed process left before there was a plan, unless it is recent."""
    with contextlib.suppress(OSError):
        for request in parent.glob("*/request.json"):
            age = time.time() - request.stat().st_mtime
            if age > UNPREPARED_SECONDS and not (request.parent / "plan.json").exists():
                shutil.rmtree(request.parent, ignore_errors=True)
