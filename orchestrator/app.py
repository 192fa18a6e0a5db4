"""Composition root: the only place that names concrete classes. All adapters go through here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from ..catalog.family import Family, family
from ..catalog.loras import LoraEntry, find_lora
from ..catalog.models import ModelEntry, find_model, list_models
from ..catalog.styles import Style, find_style, style_in_prompt
from ..core import home
from ..core.errors import InputError, ModelFileError, UnknownNameError
from ..core.job import Event, new_job_id
from ..core.picture_files import read_plan
from ..core.plan import ModelFile, Plan, PlannedLora, PlannedMask, PlannedStart
from ..core.request import GenerationRequest, LoraChoice
from ..core.version import VERSION
from ..drawing.schedulers import PLAIN_SAMPLERS, sampler_names
from .engines.base import Engine, Handle
from .planner import Choices, ChosenLora, PictureFacts, make_plan, refuse_unavailable
from .settings import Settings, load_settings
from .storage.inputs import InputFolder
from .storage.pictures import PictureFolder

DEFAULT_STYLE = "3d"
"""The starter draws in one of its three styles; this one, unless the person names another."""

MAX_AUTO_SEED = 2**32 - 1
"""Seeds that are rolled fit what other programs take."""


class App:
    """Plans requests and draws Plans with the embedded engine."""

    def __init__(self, *, pictures: Path | None = None, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        folder = pictures or self.settings.pictures or home.pictures_folder()
        self.pictures = PictureFolder(folder, VERSION)
        self._inputs = InputFolder(home.inputs_folder())
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, made on first use. Raises EngineError `local_missing`."""
        if self._engine is None:
            from .engines.embedded import EmbeddedEngine

            self._engine = EmbeddedEngine(self.pictures.save, previews=self.settings.previews)
        return self._engine

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        """Decide everything about a request. Raises InputError and its kinds."""
        refuse_unavailable(request)
        if request.engine not in ("auto", "embedded"):
            message = f'No engine is called "{request.engine}". There is: embedded.'
            raise InputError("feature_unavailable", message)
        model, why = self._model(request)
        return make_plan(request, self._choices(request, model, why, raw=raw))

    def start(self, plan: Plan) -> Handle:
        """Begin to draw a Plan. Raises StorageError if the pictures could not be saved."""
        self.pictures.check()
        return self.engine.start(plan, new_job_id())

    def follow(self, handle: Handle) -> Iterator[Event]:
        """The events of a drawing that was started."""
        return self.engine.follow(handle)

    def cancel(self, handle: Handle) -> None:
        """Stop a drawing within a step."""
        self.engine.cancel(handle)

    def plan_of(self, path: Path) -> Plan:
        """The Plan inside a picture, with everything it needs found again on this machine.

        Raises PictureError, UnknownNameError, ModelFileError.
        """
        plan = read_plan(path)
        changes: dict[str, object] = {"loras": tuple(self._find_lora(x) for x in plan.loras)}
        if plan.model.path is not None:
            # The path comes out of a file: what lies there is checked like any other model.
            there = Path(plan.model.path).is_dir()
            entry = _drawable(find_model(plan.model.path if there else plan.model.name))
            changes["model"] = plan.model.model_copy(update={"path": str(entry.path)})
        if plan.start is not None:
            picture = self._inputs.find(plan.start.picture)
            changes["start"] = PlannedStart(picture=picture, strength=plan.start.strength)
        if plan.mask is not None:
            picture = self._inputs.find(plan.mask.picture)
            changes["mask"] = PlannedMask(picture=picture, feather=plan.mask.feather)
        return plan.model_copy(update=changes)

    def _find_lora(self, planned: PlannedLora) -> PlannedLora:
        path = planned.file.path
        entry = find_lora(path if path and Path(path).is_file() else planned.file.name)
        if planned.file.sha256 is not None and entry.sha256() != planned.file.sha256:
            message = f'The LoRA "{entry.name}" is not the file that this was drawn with.'
            raise UnknownNameError("lora_unknown", message)
        file = ModelFile(name=entry.name, path=str(entry.path), sha256=planned.file.sha256)
        return planned.model_copy(update={"file": file})

    def _model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        if request.model != "auto":
            return _drawable(find_model(request.model)), "you named it"
        if self.settings.model is not None:
            return _drawable(find_model(self.settings.model)), "your settings name it"
        return self._best_model()

    def _best_model(self) -> tuple[ModelEntry, str]:
        entries = list_models()
        starter = next(entry for entry in entries if entry.kind == "builtin")
        others = [entry for entry in entries if entry is not starter and entry.drawable_here]
        if not others:
            return starter, "the only model that is installed"
        from ..drawing.memory import best_device, free_bytes

        device = best_device()
        if device.type == "cpu":
            return starter, "quick on a machine without GPU; --model takes a larger one"
        free = free_bytes(device)
        fitting = [entry for entry in others if entry.size <= free]
        if not fitting:
            return starter, "the installed models do not fit into the GPU's free memory"
        best = max(fitting, key=lambda entry: (entry.size, entry.name))
        return best, "the largest installed model that fits into the GPU's memory"

    def _choices(
        self, request: GenerationRequest, model: ModelEntry, why: str, *, raw: bool
    ) -> Choices:
        facts = family(model.family or "")
        style, style_reason, named = _style(request, facts)
        return Choices(
            model=model,
            model_reason=why,
            family=facts,
            style=style,
            style_reason=style_reason,
            style_in_prompt=named,
            loras=_loras(request, facts),
            start=self._keep(request.start.picture if request.start else None),
            mask=self._keep(request.mask.picture if request.mask else None),
            seed=random.SystemRandom().randint(0, MAX_AUTO_SEED),
            samplers=sampler_names(zero_snr=facts.id == "starter"),
            plain_samplers=PLAIN_SAMPLERS,
            raw=raw,
        )

    def _keep(self, path: str | None) -> PictureFacts | None:
        if path is None:
            return None
        try:
            return self._inputs.keep(Path(path).expanduser())
        except RuntimeError as error:
            raise UnknownNameError("file_missing", f"There is no file {path}.") from error


def _drawable(entry: ModelEntry) -> ModelEntry:
    if not entry.drawable_here:
        problem = entry.problem or "the embedded engine cannot draw with it"
        raise ModelFileError("model_folder_invalid", f"{entry.name}: {problem}")
    return entry


def _style(request: GenerationRequest, facts: Family) -> tuple[Style | None, str | None, bool]:
    """(style, why, whether the prompt's own words for it suffice).

    A model that learned captions wants their very words, not others for the same.
    """
    found = style_in_prompt(request.prompt, facts.id)
    literal = facts.prompt_style == "caption"
    if request.style != "auto":
        style = find_style(request.style, facts.id)
        named = found is not None and found.id == style.id
        return style, "you asked for it", named and not literal
    if found is not None:
        return found, "your prompt says so", not literal
    if not literal:
        return None, None, False
    why = "you named none; flat sticker and cartoon are the others"
    return find_style(DEFAULT_STYLE, facts.id), why, False


def _loras(request: GenerationRequest, facts: Family) -> tuple[ChosenLora, ...]:
    if isinstance(request.loras, str):
        return ()
    return tuple(_chosen(find_lora(choice.name), choice, facts) for choice in request.loras)


def _chosen(entry: LoraEntry, choice: LoraChoice, facts: Family) -> ChosenLora:
    if entry.problem is not None:
        raise ModelFileError("model_file_damaged", f"{entry.name}: {entry.problem}")
    if entry.family is not None and entry.family != facts.id:
        message = (
            f'The LoRA "{entry.name}" was made for {family(entry.family).name}; '
            f"the model is of {facts.name}."
        )
        raise ModelFileError("lora_other_family", message)
    weights = [None if w == "auto" else w for w in (choice.model_weight, choice.clip_weight)]
    return ChosenLora(entry, entry.sha256(), weights[0], weights[1])
