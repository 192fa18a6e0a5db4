"""From a tool's arguments to a request of Kizy's."""

from __future__ import annotations

import re
from typing import Any

from ...core.errors import InputError
from ...core.plan import Plan
from ...core.request import GenerationRequest, TrainingRequest, parse_request
from .arguments import Edit, Improve, LoraWish, Manner, Means, Train, Wanted
from .given import GivenPictures

_FACE, _DETAILS = "a face", "a detailed picture"
"""Prompts of an improvement where nobody gave one and the picture tells nothing."""

_PATH = re.compile(r"[/~\\]|[A-Za-z]:[/\\]|.*(?:^|[/\\])\.\.(?:[/\\]|$)")
"""How a name begins that is a path of this machine, or one that leaves its folder."""


def wanted_request(wanted: Wanted, pictures: GivenPictures) -> GenerationRequest:
    """Of `generate` and `explain_plan`. Raises InputError, PictureError."""
    controls = [
        {"kind": one.kind, "picture": pictures.id_of(one.picture), "strength": one.strength}
        for one in wanted.controls
    ]
    values = {**_manner(wanted), "prompt": wanted.prompt, "count": wanted.count}
    return parse_request(GenerationRequest, {**values, "controls": controls})


def edit_request(wanted: Edit, pictures: GivenPictures) -> GenerationRequest:
    """Of `edit`. Raises InputError, PictureError."""
    start = {"picture": pictures.id_of(wanted.picture), "strength": _or_auto(wanted.strength)}
    mask = {"picture": pictures.id_of(wanted.mask)} if wanted.mask is not None else None
    values = {**_manner(wanted), "prompt": wanted.prompt, "count": wanted.count}
    return parse_request(GenerationRequest, {**values, "start": start, "mask": mask})


def improve_request(wanted: Improve, pictures: GivenPictures) -> GenerationRequest:
    """Of `improve`: as the picture was drawn, if it tells. Raises InputError, PictureError."""
    given = pictures.with_plan(wanted.picture)
    told = _drawn_from(given.plan) if given.plan is not None and not wanted.prompt else {}
    means = _means(wanted)
    if not wanted.prompt:
        # Without words of the person, there is nothing to pick a LoRA by.
        means["loras"] = told.get("loras", "none") if not wanted.loras else means["loras"]
    if wanted.model is None:
        means["model"] = told.get("model", "auto")
    part = {"amount": wanted.amount, "prompts": wanted.parts}
    if wanted.mask is None:
        part |= {"what": "faces"}
    else:
        part |= {"what": "mask", "mask": pictures.id_of(wanted.mask)}
    silent = _FACE if wanted.mask is None else _DETAILS
    values = {
        **told,
        **means,
        "prompt": wanted.prompt or told.get("prompt", silent),
        "start": {"picture": given.id, "strength": 0},
        "improve": [part],
    }
    return parse_request(GenerationRequest, values)


def training_request(wanted: Train, pictures: GivenPictures) -> TrainingRequest:
    """Of `train`. Raises InputError, PictureError."""
    values = {
        "files": pictures.ids_of(wanted.pictures),
        "name": wanted.name,
        "about": wanted.about,
        "goal": _or_auto(wanted.goal),
        "base": _name(wanted.base),
        "quality": wanted.quality,
        "steps": _or_auto(wanted.steps),
    }
    return parse_request(TrainingRequest, values)


def _manner(wanted: Manner) -> dict[str, Any]:
    return {
        **_means(wanted),
        "negative": _or_auto(wanted.negative),
        "style": _or_auto(wanted.style),
        "size": _or_auto(wanted.size),
        "quality": wanted.quality,
        "steps": _or_auto(wanted.steps),
        "guidance": _or_auto(wanted.guidance),
    }


def _means(wanted: Means) -> dict[str, Any]:
    enlarge: Any = "auto"
    if wanted.enlarge is not None:
        enlarge = {"factor": wanted.enlarge} if wanted.enlarge > 1 else None
    return {
        "model": _name(wanted.model),
        "loras": _loras(wanted.loras, auto=wanted.auto_loras),
        "seed": _or_auto(wanted.seed),
        "enlarge": enlarge,
    }


def _loras(wishes: tuple[LoraWish, ...], *, auto: bool) -> Any:
    if not wishes:
        return "auto" if auto else "none"
    named = [{"name": _name(wish.name), "model_weight": _or_auto(wish.weight)} for wish in wishes]
    return [*named, {"name": "auto"}] if auto else named


def _drawn_from(plan: Plan) -> dict[str, Any]:
    """What a Plan says of how a picture was drawn: by names, since paths are of that machine.

    Anybody can write a Plan into a picture: it names no paths either.
    """
    loras = [
        {
            "name": lora.file.name,
            "model_weight": lora.model_weight,
            "clip_weight": lora.clip_weight,
        }
        for lora in plan.loras
        if not _PATH.match(lora.file.name)
    ]
    return {
        "prompt": plan.request_prompt,
        "negative": plan.negative,
        "model": "auto" if _PATH.match(plan.model.name) else plan.model.name,
        "loras": loras or "none",
        "style": plan.style or "auto",
    }


def _name(text: str | None) -> str:
    """A model's or LoRA's name, "auto" for none. Raises InputError `path_refused` for a path."""
    if text is None:
        return "auto"
    if _PATH.match(text.strip()):
        message = "A model or LoRA was named by a path; assistants name them by their names."
        raise InputError("path_refused", message, fix="find_loras lists the names of LoRAs.")
    return text


def _or_auto(value: Any) -> Any:
    return "auto" if value is None else value
