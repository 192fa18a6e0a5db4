"""A picture that is improved: the request for it, from what is asked and what the picture tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...catalog.index.name_lookup import is_path
from ...core.errors import PictureError
from ...core.picture_files import read_plan
from ...core.plan import ModelFile, Plan
from .told_files import told_lora, told_model

SAID_OF_FACES = "a face"
SAID_OF_A_MASK = "a detailed picture"
"""Prompts where nobody gave one and the picture does not tell what it was drawn from."""


def improvements(
    what: Sequence[str], amount: str = "normal", prompts: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The request's `improve`: "faces", or masks by their paths or ids.

    `prompts`: lines for the faces, or the parts of each mask, from left to right.
    """
    shared = {"amount": amount, "prompts": list(prompts)}
    return [
        {"what": "faces", **shared} if one == "faces" else {"what": "mask", "mask": one, **shared}
        for one in what
    ]


def improving(
    picture: str,
    improve: Sequence[Mapping[str, Any]],
    drawn: Mapping[str, Any],
    *,
    prompt: str = "auto",
    model: str = "auto",
    loras: Any = None,
) -> dict[str, Any]:
    """Values of a GenerationRequest that keeps `picture` (a path or id) and improves it.

    `drawn`: what it says of itself (`as_drawn`); what is given beside it wins.
    """
    faces = any(one["what"] == "faces" for one in improve)
    values: dict[str, Any] = {
        "prompt": SAID_OF_FACES if faces else SAID_OF_A_MASK,
        # Without words of the person, there is nothing to pick a LoRA by.
        "loras": "none" if prompt == "auto" else "auto",
    }
    if prompt == "auto":
        values |= drawn
    else:
        values["prompt"] = prompt
    if model != "auto":
        values["model"] = model
    if loras:
        values["loras"] = loras
    start = {"picture": picture, "strength": 0}
    return {**values, "improve": list(improve), "start": start}


def as_drawn(picture: Path, *, here: bool = True) -> dict[str, Any]:
    """What a picture of Kizy's says of itself, as values of a request; {} for any other picture.

    `here`: the request is for this machine, where models and LoRAs may be named by path. Raises
    UnknownNameError `file_missing` or PictureError `picture_unreadable`.
    """
    try:
        plan = read_plan(picture)
    except PictureError as error:
        if error.code in ("plan_missing", "plan_invalid"):
            return {}
        raise
    return told_by(plan, here=here)


def told_by(plan: Plan, *, here: bool) -> dict[str, Any]:
    """What was drawn, in the words of a request; `here` as for `as_drawn`.

    The Plan may be a stranger's: a path counts only where what was drawn with lies there, and a
    name that is a path is none.
    """
    named = (
        (_name(lora.file, told_lora(lora.file) if here else None), lora) for lora in plan.loras
    )
    loras = [
        {"name": name, "model_weight": lora.model_weight, "clip_weight": lora.clip_weight}
        for name, lora in named
        if name is not None
    ]
    model = _name(plan.model, told_model(plan.model) if here else None)
    return {
        "prompt": plan.request_prompt,
        "negative": plan.negative,
        "model": model or "auto",
        "loras": loras or "none",
        "style": plan.style or "auto",
    }


def _name(file: ModelFile, lies: Path | None) -> str | None:
    if lies is not None:
        return str(lies)
    return None if is_path(file.name) else file.name
