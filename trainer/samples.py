"""Sample pictures: drawn by `drawing` from the LoRA file as written, with the very Plan that
`kizy generate` makes for that prompt and seed.

Whoever prepares a run makes these Plans with the planner and leaves them in the run's folder
(`write_plans`); without them, plain ones are made here from the family's facts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..catalog.families.family import family
from ..catalog.index.hashes import file_sha256
from ..catalog.index.models import STARTER_FILE
from ..core.files import replacing
from ..core.plan import DrawStage, EnlargeStage, ModelFile, Plan, PlannedLora, Stage

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from .plan import TrainingPlan

FILE = "sample_plans.json"
FOLDER = "samples"

ENLARGER = ModelFile(name="starter-enlarger-x4")


def write_plans(folder: Path, plans: Sequence[Plan]) -> None:
    """Leave the Plans in the run's folder, one for each sample prompt. Raises StorageError."""
    values = [plan.model_dump(mode="json") for plan in plans]
    with replacing(folder / FILE) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")


def plans_of(folder: Path, training: TrainingPlan) -> tuple[Plan, ...]:
    """The Plans in the run's folder; plain ones if there are none that can be read."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return tuple(Plan.model_validate(value) for value in values)
    except (OSError, ValueError, ValidationError):
        return tuple(plain_plan(training, prompt) for prompt in training.sample_prompts)


def plain_plan(training: TrainingPlan, prompt: str) -> Plan:
    """What `kizy generate` plans for a prompt when it is asked for nothing else."""
    facts = family(training.family)
    width, height = facts.sizes["square"]
    growth = facts.enlarge or 1.0
    stages: list[Stage] = [DrawStage()]
    if growth > 1:
        stages.append(EnlargeStage(factor=growth, model=ENLARGER))
    # As words: "cat" is not in "catalogue".
    trigger = re.escape(training.trigger)
    said = re.search(rf"(?<!\w){trigger}(?!\w)", prompt, re.IGNORECASE) is not None
    return Plan(
        engine="embedded",
        request_prompt=prompt,
        prompt=prompt if said else f"{prompt}, {training.trigger}",
        negative=facts.default_negative,
        family=facts.id,
        model=ModelFile(
            name=training.base.name,
            path=training.base.path,
            sha256=file_sha256(STARTER_FILE) if training.base.path is None else None,
        ),
        width=width,
        height=height,
        output_width=round(width * growth),
        output_height=round(height * growth),
        count=1,
        seed=training.sample_seed,
        steps=facts.steps["balanced"],
        guidance=facts.guidance,
        sampler=facts.sampler,
        scheduler=facts.scheduler,
        stages=tuple(stages),
    )


def with_lora(plan: Plan, file: Path, training: TrainingPlan) -> Plan:
    """The Plan with that file in the place of the LoRA that is trained, or added to the others."""
    found = ModelFile(name=training.slug, path=str(file))
    own = [lora for lora in plan.loras if lora.file.name == training.slug]
    if own:
        loras = tuple(
            lora.model_copy(update={"file": found}) if lora is own[0] else lora
            for lora in plan.loras
        )
    else:
        weight = training.weight
        added = PlannedLora(file=found, model_weight=weight, clip_weight=weight)
        loras = (*plan.loras, added)
    return plan.model_copy(update={"loras": loras, "count": 1})


def without_lora(plan: Plan, training: TrainingPlan) -> Plan:
    """The Plan as the base alone draws it."""
    others = tuple(lora for lora in plan.loras if lora.file.name != training.slug)
    return plan.model_copy(update={"loras": others, "count": 1})


class Sampler:
    """Draws Plans, one at a time, as the embedded engine does.

    A large model is loaded for each round and let go: its memory belongs to the training.
    """

    def __init__(self, device: torch.device, *, keep: bool) -> None:
        from ..drawing.drawer import Drawer

        self._device, self._keep = device, keep
        self._drawer: Drawer | None = None

    def draw(self, plan: Plan) -> Image.Image:
        """The picture. Raises KizyError."""
        from ..drawing.cancel import CancelToken
        from ..drawing.drawer import Drawer

        if self._drawer is None:
            self._drawer = Drawer(self._device, previews=False)
        pictures: list[Image.Image] = []
        self._drawer.draw(
            plan,
            cancel=CancelToken(),
            report=_Silent(),
            deliver=lambda index, picture: pictures.append(picture),
        )
        return pictures[0]

    def rest(self) -> None:
        """Let go of the model, unless it is kept."""
        from ..drawing.memory import release

        if not self._keep:
            self._drawer = None
            release()


class _Silent:
    def progress(self, fraction: float, doing: str, left: float | None) -> None: ...

    def preview(self, index: int, picture: Image.Image) -> None: ...

    def notice(self, code: str, text: str) -> None: ...
