"""From a tool's arguments to a request of Kizy's."""

from __future__ import annotations

from typing import Any

from ....catalog.index.name_lookup import is_path
from ....core.errors import InputError
from ....core.request import GenerationRequest, TrainingRequest, parse_request
from ...planning.improve_request import improvements, improving, told_by
from .arguments import Edit, Improve, LoraWish, Manner, Means, Train, Wanted
from .inputs import GivenPictures


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
    what = "faces" if wanted.mask is None else pictures.id_of(wanted.mask)
    # Without words of the person, there is nothing to pick a LoRA by.
    means = _means(wanted, auto_loras=wanted.auto_loras and bool(wanted.prompt))
    values = improving(
        given.id,
        improvements([what], wanted.amount, wanted.parts),
        told_by(given.plan, here=False) if given.plan is not None else {},
        prompt=wanted.prompt or "auto",
        model=means["model"],
        loras=means["loras"] if wanted.loras or not wanted.auto_loras else None,
    )
    more = {"seed": means["seed"], "enlarge": means["enlarge"]}
    return parse_request(GenerationRequest, {**values, **more})


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
        "captions_encoding": _or_auto(wanted.captions_encoding),
    }
    return parse_request(TrainingRequest, values)


def _manner(wanted: Manner) -> dict[str, Any]:
    return {
        **_means(wanted, auto_loras=wanted.auto_loras),
        "negative": _or_auto(wanted.negative),
        "style": _or_auto(wanted.style),
        "size": _or_auto(wanted.size),
        "quality": wanted.quality,
        "steps": _or_auto(wanted.steps),
        "guidance": _or_auto(wanted.guidance),
    }


def _means(wanted: Means, *, auto_loras: bool) -> dict[str, Any]:
    enlarge: Any = "auto"
    if wanted.enlarge is not None and wanted.enlarge > 1:
        enlarge = {"factor": wanted.enlarge}
    return {
        "model": _name(wanted.model),
        "loras": _loras(wanted.loras, auto=auto_loras),
        "seed": _or_auto(wanted.seed),
        "enlarge": enlarge,
    }


def _loras(wishes: tuple[LoraWish, ...], *, auto: bool) -> Any:
    if not wishes:
        return "auto" if auto else "none"
    named = [{"name": _name(wish.name), "model_weight": _or_auto(wish.weight)} for wish in wishes]
    return [*named, {"name": "auto"}] if auto else named


def _name(text: str | None) -> str:
    """A model's or LoRA's name, "auto" for none. Raises InputError `path_refused` for a path."""
    if text is None:
        return "auto"
    if is_path(text.strip()):
        message = "A model or LoRA was named by a path; assistants name them by their names."
        raise InputError("path_refused", message, fix="find_loras lists the names of LoRAs.")
    return text


def _or_auto(value: Any) -> Any:
    return "auto" if value is None else value
