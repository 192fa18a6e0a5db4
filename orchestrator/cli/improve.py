"""`kizy improve`, and the options of `kizy generate` that improve and enlarge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ..planning import improve_request as shared
from ..planning.improve_request import as_drawn
from ..settings import load_settings
from .draw import generate, lora_choices, number
from .outcome import View


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
    if what:
        return shared.improvements(what, amount, faces or ())
    if faces or amount != "normal":
        message = "--amount and --face say how parts of the picture are drawn again."
        raise InputError("request_invalid", message, fix="Say which: --improve faces")
    return []


def enlargement(text: str) -> Any:
    """The request's `enlarge`: "auto", which 1 is as well, or a factor."""
    factor = number(text)
    return "auto" if factor in ("auto", 1) else {"factor": factor}


def improve(picture: Path, values: dict[str, Any], given: Given, *, view: View) -> None:
    """Plan and draw it, here or on the server of the settings. Raises KizyError."""
    here = load_settings().server is None
    wanted = shared.improving(
        str(picture),
        values["improve"],
        as_drawn(picture, here=here) if given.prompt == "auto" else {},
        prompt=given.prompt,
        model=given.model,
        loras=lora_choices(given.loras) if given.loras else None,
    )
    generate({**values, **wanted}, raw=False, view=view)
