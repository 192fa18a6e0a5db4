"""The entrance of planning: what a request says is read here, once, for every way to Kizy.

After it, a model or LoRA is named by an absolute path only if the asker may name files by paths;
every other name is looked up in lists of what is installed, and never on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...catalog.formats.safetensors_header import MODEL_SUFFIXES, is_file
from ...catalog.index.models import STARTER, is_model, model_names
from ...catalog.index.name_lookup import is_path
from ...catalog.search.lora_tags import lora_tags
from ...catalog.search.select import Named
from ...core.errors import InputError, UnknownNameError
from ...core.plan import Plan, Reason
from ...core.request import GenerationRequest, LoraChoice, TrainingRequest

AUTO = "auto"
"""As a LoRA's name: beside those that are named, Kizy may pick others."""

PictureOf = Callable[[str], str]
"""Where the picture lies that a request names. Raises UnknownNameError `upload_unknown`."""


@dataclass(frozen=True)
class Resolved:
    """`request`: as planning works on it. `notices`: what of it counts for nothing, or for
    something else than it may seem, in sentences.
    """

    request: GenerationRequest
    notices: tuple[str, ...] = ()

    def told(self, plan: Plan) -> Plan:
        """The Plan with the notices among its reasons."""
        told = (Reason(choice="prompt", value="note", why=note) for note in self.notices)
        return plan.model_copy(update={"reasons": (*plan.reasons, *told)})


def resolve(request: GenerationRequest, *, files: bool, picture: PictureOf = str) -> Resolved:
    """The request as planning works on it. `files`: whether it may name files by their paths.

    Raises InputError `prompt_empty`, `request_invalid`, or `path_refused` for a path in a request
    that may name none, whatever lies there; what `picture` raises.
    """
    resolved = without_tags(request)
    request = resolved.request
    model = request.model if request.model == AUTO else _model(request.model, files=files)
    loras = request.loras
    if not isinstance(loras, str):
        loras = tuple(
            one.model_copy(update={"name": _lora(one.name, files=files)}) for one in loras
        )
    request = request.model_copy(update={"model": model, "loras": loras})
    return Resolved(request.with_pictures(picture), resolved.notices)


def resolve_training(request: TrainingRequest, *, files: bool) -> TrainingRequest:
    """The same for a training's base. Raises InputError `path_refused`."""
    if request.base == AUTO:
        return request
    return request.model_copy(update={"base": _model(request.base, files=files)})


def path_of(name: str) -> Path | None:
    """The path in a request that went through `resolve`; None: it is a name of a list."""
    path = Path(name)
    return path if is_path(name) and path.is_absolute() else None


def without_tags(request: GenerationRequest) -> Resolved:
    """The request with `<lora:NAME:WEIGHT>` taken out of its prompt and named as LoRAs instead.

    Tags elsewhere (negative prompt, lines of parts) name nothing, which is told. Raises InputError
    `prompt_empty` if nothing else was in the prompt, `request_invalid` for a tag that cannot be
    read.
    """
    prompt, tags, notices = lora_tags(request.prompt)
    if not prompt:
        raise InputError("prompt_empty", "The prompt names LoRAs and nothing to draw.")
    request, told = _without_stray_tags(request)
    notices = (*notices, *told)
    if not tags:
        return Resolved(request.model_copy(update={"prompt": prompt}), notices)
    named = tuple(_choice(tag) for tag in tags)
    if request.loras == "auto":
        named = (*named, LoraChoice(name=AUTO))
    elif not isinstance(request.loras, str):
        named = (*request.loras, *named)
    changed = request.model_copy(update={"prompt": prompt, "loras": named})
    return Resolved(changed, notices)


def _choice(tag: Named) -> LoraChoice:
    values = {
        "name": tag.name,
        "model_weight": "auto" if tag.model_weight is None else tag.model_weight,
        "clip_weight": "auto" if tag.clip_weight is None else tag.clip_weight,
    }
    try:
        return LoraChoice.model_validate(values)
    except ValidationError as error:
        message = f'No LoRA can be called as the prompt names one: "{tag.name[:60]}…".'
        raise InputError("request_invalid", message) from error


def _without_stray_tags(request: GenerationRequest) -> tuple[GenerationRequest, tuple[str, ...]]:
    """Without the tags in its negative prompt and in the lines of its parts."""
    negative, stray, notices = lora_tags(request.negative)
    if stray:
        notices = (*notices, "LoRAs in the negative prompt count for nothing.")
    improve = []
    for one in request.improve:
        lines = [lora_tags(line) for line in one.prompts]
        if any(tags for _, tags, _ in lines):
            note = "LoRAs in the line of a part count for nothing: they are drawn with as a whole."
            notices = (*notices, note)
        notices = (*notices, *(note for _, _, told in lines for note in told))
        improve.append(one.model_copy(update={"prompts": tuple(text for text, _, _ in lines)}))
    changed = request.model_copy(update={"negative": negative, "improve": tuple(improve)})
    return changed, tuple(dict.fromkeys(notices))


def _lora(name: str, *, files: bool) -> str:
    if not files:
        return _listed(name)
    path = _path(name)
    there = path.suffix.lower() in MODEL_SUFFIXES and is_file(path)
    return str(path) if is_path(name) or there else name


def _model(name: str, *, files: bool) -> str:
    if not files:
        return _listed(name)
    if is_path(name):
        return str(_path(name))
    # A name of the list goes before a file or folder that happens to be called so.
    path = _path(name)
    listed = name.strip().casefold() == STARTER or model_names().find(name)
    return str(path) if not listed and is_model(path) else name


def _listed(name: str) -> str:
    """The name, if it can be one of a list: this is told by its form, and nothing is looked at."""
    if is_path(name):
        message = "Models and LoRAs are named, not given by paths of the server's disk."
        raise InputError("path_refused", message, fix="Give the name that the server lists.")
    return name


def _path(name: str) -> Path:
    """Absolute, without `..`. Raises UnknownNameError `file_missing` for `~nobody`."""
    path = Path(name)
    if is_path(name):
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise UnknownNameError("file_missing", f"There is no file {name}.") from error
    return Path(os.path.abspath(path))  # noqa: PTH100 (links stay as they are)
