"""A Plan inside a picture, with the files that it tells of found again on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...catalog.index.hashes import file_sha256, model_sha256
from ...catalog.index.loras import read_lora
from ...catalog.index.models import STARTER, STARTER_FILE, ModelEntry, model_at, named_model
from ...catalog.index.name_lookup import is_path
from ...core.errors import UnknownNameError
from ...core.plan import (
    ImproveStage,
    ModelFile,
    Plan,
    PlannedLora,
    PlannedMask,
    PlannedStart,
    Reason,
    Stage,
)
from ..backends.base import COMFYUI
from ..storage.inputs import InputFolder
from .embedded_offer import drawable
from .told_files import told_lora, told_model

LoraNamed = Callable[[ModelFile], Path]
"""Where the LoRA lies that the lists know by a Plan's name. Raises UnknownNameError, InputError."""


def found_again(plan: Plan, pictures: InputFolder, named: LoraNamed) -> Plan:
    """The Plan with paths of this machine. Raises PictureError, UnknownNameError, ModelFileError,
    InputError `name_ambiguous`.
    """
    changes: dict[str, object] = {}
    # A server finds its own files by the names in the Plan.
    found = _sent_again if plan.engine == COMFYUI else lambda lora: _lora(lora, named)
    changes["loras"] = tuple(found(lora) for lora in plan.loras)
    if plan.engine != COMFYUI:
        changes |= _model(plan)
    if plan.start is not None:
        picture = pictures.find(plan.start.picture)
        changes["start"] = PlannedStart(picture=picture, strength=plan.start.strength)
    if plan.mask is not None:
        picture = pictures.find(plan.mask.picture)
        changes["mask"] = PlannedMask(picture=picture, feather=plan.mask.feather)
    changes["stages"] = tuple(_stage(stage, pictures) for stage in plan.stages)
    changes["controls"] = tuple(
        control.model_copy(update={"picture": pictures.find(control.picture)})
        for control in plan.controls
    )
    return plan.model_copy(update=changes)


def _model(plan: Plan) -> dict[str, object]:
    if plan.family != STARTER or plan.model.path is not None:
        # What lies there is checked like any other model. A picture from a server names no path.
        lay = told_model(plan.model)
        entry = drawable(named_model(plan.model.name) if lay is None else model_at(lay))
        return _folder(plan, entry)
    now = file_sha256(STARTER_FILE)
    changes: dict[str, object] = {"model": plan.model.model_copy(update={"sha256": now})}
    if plan.model.sha256 not in (None, now):
        why = "the starter was trained on since this was drawn: the picture will differ"
        note = Reason(choice="model", value="note", why=why)
        changes["reasons"] = (*plan.reasons, note)
    return changes


def _folder(plan: Plan, entry: ModelEntry) -> dict[str, object]:
    """A diffusers folder, with a note if it is another than the picture was drawn with."""
    model = plan.model.model_copy(update={"path": str(entry.path)})
    if plan.model.sha256 is None or entry.path is None:
        return {"model": model}
    now = model_sha256(entry.path)
    changes: dict[str, object] = {"model": model.model_copy(update={"sha256": now})}
    if now != plan.model.sha256:
        why = f"{entry.name} was replaced since this was drawn: the picture will differ"
        note = Reason(choice="model", value="note", why=why)
        changes["reasons"] = (*plan.reasons, note)
    return changes


def _lora(planned: PlannedLora, named: LoraNamed) -> PlannedLora:
    """Where it lay, else where one of that name lies now: with the same content in any case."""
    file = planned.file
    path = told_lora(file)
    if path is None and is_path(file.name):
        raise UnknownNameError("lora_unknown", f'No LoRA is called "{file.name}".')
    entry = read_lora(named(file) if path is None else path)
    if file.sha256 is not None and entry.sha256() != file.sha256:
        message = f'The LoRA "{entry.name}" is not the file that this was drawn with.'
        raise UnknownNameError("lora_unknown", message)
    return planned.model_copy(update={"file": file.model_copy(update={"path": str(entry.path)})})


def _sent_again(planned: PlannedLora) -> PlannedLora:
    """A LoRA that goes to a server from here, if it is the very file that was drawn with."""
    path = told_lora(planned.file)
    told = str(path) if path is not None else None
    return planned.model_copy(update={"file": planned.file.model_copy(update={"path": told})})


def _stage(stage: Stage, pictures: InputFolder) -> Stage:
    if not isinstance(stage, ImproveStage) or stage.mask is None:
        return stage
    return stage.model_copy(update={"mask": pictures.find(stage.mask)})
