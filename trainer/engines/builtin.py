"""The built-in engine: the starter, and diffusers folders of Stable Diffusion 1.5 and SDXL."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from ...core import launch
from ...core.errors import EngineError, InputError, KizyError
from ..plan import TrainingPlan
from .base import Command

FAMILIES = ("starter", "sd15", "sdxl")
NEEDED = ("torch", "diffusers", "transformers", "peft", "accelerate")


class BuiltinEngine:
    """Trains with peft, in a process of its own; accelerate is how diffusers loads folders."""

    name = "builtin"

    def missing(self) -> KizyError | None:
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            message = f"To train here, {', '.join(missing)} must be installed."
            return EngineError("local_missing", message)
        return None

    def refusal(self, plan: TrainingPlan) -> KizyError | None:
        if plan.family not in FAMILIES:
            message = f"The built-in engine does not train {plan.base.name}."
            fix = "Name kohya's folder as [trainer] kohya in kizy.toml."
            return InputError("trainer_cannot", message, fix=fix)
        path = Path(plan.base.path) if plan.base.path is not None else None
        if path is not None and not path.is_dir():
            message = f"The built-in engine trains diffusers folders; {path.name} is one file."
            fix = "Leave --engine out: sd-scripts trains files, if [trainer] kohya names them."
            return InputError("trainer_cannot", message, fix=fix)
        return None

    def command(self, folder: Path) -> Command:
        # Who types it has Kizy installed there; `process` also works where it is not.
        return Command((sys.executable, "-m", "kizy.trainer.builtin", str(folder)), folder)

    def lay_out(self, folder: Path) -> None:
        """It reads the run's folder as it is."""

    def process(self, folder: Path) -> list[str]:
        return launch.command("trainer.builtin", [str(folder)])
