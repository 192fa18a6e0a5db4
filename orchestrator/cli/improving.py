"""`kizy improve`, and the options of `kizy generate` that improve and enlarge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError, PictureError
from ...core.picture_files import read_plan
from ...core.plan import Plan
from .draw import View, generate, lora_choices, number

SAID_OF_FACES = "a face"
SAID_OF_A_MASK = "a detailed picture"
"""Prompts where nobody gave one and the picture does not tell what it was drawn from."""


@dataclass(frozen=True)
class Given:
    """What the person said of how to draw; "auto" and None for what they left out."""

    prompt: str
    model: str
    loras: list[str] | None


def improvements(
    what: list[str] | None, amount: str, faces: list[str] | None
) -> list[dict[str, Any]]:
    """The request's `improve`: "faces", or paths of masks.

    Raises InputError `request_invalid` for an amount or words without anything to improve.
    """
    if not what:
        if faces or amount != "normal":
            message = "--amount and --face say how parts of the picture are drawn again."
            raise InputError("request_invalid", message, fix="Say which: --improve faces")
        return []
    return [
        {"what": "faces", "amount": amount, "prompts": faces or []}
        if one == "faces"
        else {"what": "mask", "mask": one, "amount": amount, "prompts": faces or []}
        for one in what
    ]


def enlargement(text: str) -> Any:
    """The request's `enlarge`: "auto", or a factor; 1 is none."""
    factor = number(text)
    if factor == "auto":
        return factor
    return None if factor == 1 else {"factor": factor}


def improve(picture: Path, values: dict[str, Any], given: Given, *, view: View) -> None:
    """Plan and draw it. Raises KizyError."""
    start = {"picture": str(picture), "strength": 0}
    faces = any(one["what"] == "faces" for one in values["improve"])
    known = as_drawn(picture) if given.prompt == "auto" else {}
    told = {
        "prompt": SAID_OF_FACES if faces else SAID_OF_A_MASK,
        # Without words of the person, there is nothing to pick a LoRA by.
        "loras": "none" if given.prompt == "auto" else "auto",
        **known,
    }
    if given.prompt != "auto":
        told["prompt"] = given.prompt
    if given.model != "auto":
        told["model"] = given.model
    if given.loras:
        told["loras"] = lora_choices(given.loras)
    generate({**told, **values, "start": start}, raw=False, view=view)


def as_drawn(picture: Path) -> dict[str, Any]:
    """What a picture of Kizy's says of itself, as values of a request; {} for any other picture.

    Raises UnknownNameError `file_missing` or PictureError `picture_unreadable`.
    """
    try:
        plan = read_plan(picture)
    except PictureError as error:
        if error.code in ("plan_missing", "plan_invalid"):
            return {}
        raise
    return _told_by(plan)


def _told_by(plan: Plan) -> dict[str, Any]:
    loras = [
        {
            "name": lora.file.path or lora.file.name,
            "model_weight": lora.model_weight,
            "clip_weight": lora.clip_weight,
        }
        for lora in plan.loras
    ]
    return {
        "prompt": plan.request_prompt,
        "negative": plan.negative,
        "model": plan.model.path or plan.model.name,
        "loras": loras or "none",
        "style": plan.style or "auto",
    }
