"""The kohya engine: sd-scripts, in its own folder and with its own interpreter."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ...core import launch
from ...core.errors import InputError, KizyError
from ...core.files import storage_errors
from ...core.home import cache_folder
from .. import dataset
from ..memory import Machine, packages_of, probe, without_own_paths
from ..plan import TrainingPlan
from .base import Command
from .kohya_command import SCRIPTS, launch_words, script_words
from .kohya_files import (
    DATA_FILE,
    FOLDER,
    PROMPTS_FILE,
    data_toml,
    prompts_text,
    write_pictures,
    write_texts,
)
from .kohya_state import newest_state

NEEDED = (
    *("torch", "accelerate", "diffusers", "transformers", "safetensors", "tensorboard"),
    *("toml", "voluptuous", "imagesize", "cv2", "einops"),
)
"""What its scripts import that is easily forgotten; requirements.txt of sd-scripts has all."""

DRAWN_HERE = ("sd15", "sdxl")
"""Families that Kizy draws the samples of, if the base is a diffusers folder."""


@dataclass(frozen=True)
class KohyaSettings:
    """`folder`: of sd-scripts. `interpreter`: its Python; None: `venv` or `.venv` in the folder."""

    folder: Path | None = None
    interpreter: Path | None = None

    def python(self) -> Path:
        """Its interpreter. Raises InputError `kohya_invalid`."""
        folder = self.usable_folder()
        if self.interpreter is not None:
            if not self.interpreter.is_file():
                message = f"There is no Python at {self.interpreter}."
                raise InputError("kohya_invalid", message)
            return self.interpreter
        tail = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
        for name in ("venv", ".venv"):
            if (found := folder.joinpath(name, *tail)).is_file():
                return found
        return Path(sys.executable)

    def usable_folder(self) -> Path:
        """The folder, if it holds sd-scripts. Raises InputError `kohya_invalid`."""
        if self.folder is None:
            message = "This model is trained by kohya's sd-scripts, and no folder of it is set."
            raise InputError("kohya_invalid", message)
        if not (self.folder / "train_network.py").is_file():
            message = f"{self.folder} is no sd-scripts: train_network.py is not in it."
            raise InputError("kohya_invalid", message)
        return self.folder


def environment(base: dict[str, str]) -> dict[str, str]:
    """`base` without what leads its Python to Kizy's libraries."""
    own = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    return without_own_paths(base) | own


def tokenizers_folder() -> Path:
    """Where sd-scripts keeps the tokenizers that it downloads once."""
    return cache_folder() / "kohya-tokenizers"


def draws_itself(plan: TrainingPlan) -> bool:
    """Whether sd-scripts draws the samples, as Kizy cannot draw this base in its own process."""
    path = Path(plan.base.path) if plan.base.path is not None else None
    return path is None or not (plan.family in DRAWN_HERE and path.is_dir())


class KohyaEngine:
    """Trains with sd-scripts. Its settings are asked for at every call: they may change."""

    name = "kohya"

    def __init__(self, settings: KohyaSettings) -> None:
        self.settings = settings

    def missing(self) -> KizyError | None:
        """Why it cannot train anything here; None if it can."""
        try:
            python = self.settings.python()
            found = packages_of(str(python), NEEDED)
        except KizyError as error:
            return error
        gone = [name for name in NEEDED if name not in found]
        if gone:
            message = f"{python} lacks what sd-scripts needs: {', '.join(gone)}."
            fix = "Install sd-scripts' requirements.txt there, or name its own interpreter."
            return InputError("kohya_invalid", message, fix=fix)
        return None

    def machine(self) -> Machine:
        """What its interpreter sees. Raises InputError `kohya_invalid`, EngineError."""
        return probe(str(self.settings.python()), (*NEEDED, "bitsandbytes"))

    def refusal(self, plan: TrainingPlan) -> KizyError | None:
        script = SCRIPTS.get(plan.family)
        if script is None:
            message = f"sd-scripts does not train {plan.base.name}."
            return InputError("trainer_cannot", message, fix="Leave --engine out.")
        path = Path(plan.base.path) if plan.base.path is not None else None
        if path is None or not path.exists():
            return InputError("trainer_cannot", f"There is no model at {plan.base.path}.")
        if path.is_dir() and plan.family not in ("sd15", "sdxl"):
            message = f"sd-scripts trains {plan.family} from one file; {path.name} is a folder."
            return InputError("trainer_cannot", message, fix="Give the .safetensors file.")
        try:
            folder = self.settings.usable_folder()
        except InputError as error:
            return error
        if not (folder / script.file).is_file():
            message = f"{folder} is too old to train {plan.family}: {script.file} is missing."
            return InputError("kohya_invalid", message, fix="Update sd-scripts.")
        return None

    def command(self, folder: Path) -> Command:
        plan = TrainingPlan.model_validate_json((folder / "plan.json").read_bytes())
        data = dataset.load(folder)
        held_out = plan.validate_every > 0 and any(x.held_out for x in data.examples)
        draw = draws_itself(plan)
        state = newest_state(folder / FOLDER / "out", plan.slug)
        files = {folder / FOLDER / DATA_FILE: data_toml(folder, plan, data, held_out=held_out)}
        if draw:
            files[folder / FOLDER / PROMPTS_FILE] = prompts_text(plan)
        words = script_words(
            plan,
            folder,
            tokenizers_folder(),
            validate=held_out,
            draw=draw,
            state=state.path if state is not None else None,
        )
        argv = (*launch_words(self.settings.python(), plan), *words)
        return Command(argv, self.settings.usable_folder(), files=files)

    def lay_out(self, folder: Path) -> None:
        plan = TrainingPlan.model_validate_json((folder / "plan.json").read_bytes())
        write_pictures(folder, folder / dataset.PICTURES, dataset.load(folder), plan)
        write_texts(dict(self.command(folder).files))
        with storage_errors(folder / FOLDER / "out"):
            (folder / FOLDER / "out").mkdir(parents=True, exist_ok=True)

    def process(self, folder: Path) -> list[str]:
        settings = [str(self.settings.usable_folder()), str(self.settings.python())]
        return launch.command("trainer.engines.kohya_run", [str(folder), *settings])
