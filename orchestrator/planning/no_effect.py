"""Options that change nothing, or not what their name says: each is named, with why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...catalog.families.family import Family
from ...core.plan import Reason
from ...core.request import Control, Enlarge, GenerationRequest

NEAR_ONE = 0.95
"""A strength from here on may as well draw all anew."""

SHARE_ERROR = 0.15
"""By how much the share of a start picture that is drawn anew may miss the strength."""

MAX_STEPS = 1000

MAX_DISTORTION = 0.03
"""Largest change of a picture's shape that goes unnoticed."""


def keeps_start(request: GenerationRequest) -> bool:
    """Whether the start picture is kept as it is: at most parts of it are drawn, or it is enlarged.

    A size that was asked for without either is reached by drawing.
    """
    start = request.start
    if start is None or start.strength != 0 or request.mask is not None or request.controls:
        return False
    enlarged = isinstance(request.enlarge, Enlarge) and request.enlarge.factor > 1
    return bool(request.improve) or enlarged or request.size == "auto"


def steps_for(steps: int, strength: float) -> int:
    """The fewest steps, `steps` at least, of which about the share `strength` can be drawn.

    Both engines draw round(steps * strength) of them, at least one: of a few steps that may be
    all of them, which keeps nothing of the start picture, or a far larger share than asked for.
    """
    if not 0 < strength < NEAR_ONE:
        return steps
    return next((n for n in range(steps, MAX_STEPS) if _draws_share(n, strength)), steps)


def _draws_share(steps: int, strength: float) -> bool:
    drawn = max(1, round(steps * strength))
    return drawn < steps and abs(drawn / steps - strength) <= SHARE_ERROR


def idle_options(request: GenerationRequest, family: Family, strength: float) -> list[Reason]:
    """A reason for each option that was asked for and has no effect.

    `strength`: of the start picture, as planned; 1 without one.
    """
    found = [*_where_nothing_is_drawn(request, strength), *_of_steps(request, family)]
    found += _of_guidance(request, family)
    found += [reason for control in request.controls for reason in _of_control(control)]
    whole = request.start is not None and request.mask is None and strength == 1
    if whole and not family.comfyui.reference:
        kept = "only its shape is kept" if request.size == "auto" else "nothing is kept"
        why = f"1 draws all anew: of the start picture {kept}"
        found.append(Reason(choice="strength", value="1", why=why))
    return found


def stretched(maps: Sequence[tuple[str, int, int]], width: int, height: int) -> Iterator[Reason]:
    """Of control maps (kind, width, height) those that do not have the shape of what is drawn."""
    for kind, across, down in maps:
        if abs(across * height / (down * width) - 1) > MAX_DISTORTION:
            why = f"the map, {across}x{down}, is stretched to {width}x{height}"
            yield Reason(choice="control", value=kind, why=why)


def _where_nothing_is_drawn(request: GenerationRequest, strength: float) -> Iterator[Reason]:
    if request.start is None or strength != 0:
        return
    kept = keeps_start(request)
    if kept and request.size != "auto":
        why = "left out: the picture is kept as it is"
        yield Reason(choice="size", value=request.size, why=why)
    if kept and request.improve:
        return
    told = "0 keeps the start picture: nothing is drawn"
    if not kept:
        told += ", and it passes through the model as it is"
    yield Reason(choice="strength", value="0", why=told)
    for name in ("negative", "style", "seed", "steps", "guidance", "sampler"):
        asked = getattr(request, name)
        if asked not in ("auto", ""):
            yield Reason(choice=name, value=f"{asked}", why="left out: nothing is drawn")
    if request.quality != "balanced":
        yield Reason(choice="quality", value=request.quality, why="left out: nothing is drawn")
    if not isinstance(request.loras, str):
        names = ", ".join(lora.name for lora in request.loras)
        yield Reason(choice="loras", value=names, why="left out: nothing is drawn")
    if request.mask is not None:
        why = "left out: nothing is drawn anew inside it"
        yield Reason(choice="mask", value="given", why=why)
    for control in request.controls:
        yield Reason(choice="control", value=control.kind, why="left out: nothing is drawn")
    if request.count > 1:
        why = "all are alike: nothing is drawn"
        yield Reason(choice="count", value=f"{request.count}", why=why)


def _of_steps(request: GenerationRequest, family: Family) -> Iterator[Reason]:
    quality = request.quality
    if quality == "balanced":
        return
    if request.steps != "auto":
        why = f"left out: you gave the steps, {request.steps}"
        yield Reason(choice="quality", value=quality, why=why)
    elif family.steps[quality] == family.steps["balanced"]:
        why = f"as balanced: {family.name} is made for {family.steps[quality]} steps"
        yield Reason(choice="quality", value=quality, why=why)


def _of_guidance(request: GenerationRequest, family: Family) -> Iterator[Reason]:
    asked = request.guidance
    if asked == "auto":
        return
    if family.guidance_kind == "none" and asked != family.guidance:
        why = f"left out: {family.name} is drawn without guidance"
        yield Reason(choice="guidance", value=f"{asked:g}", why=why)
    elif family.guidance_kind == "cfg" and asked < 1:
        why = "below 1 the prompt counts less than without guidance, and at 0 not at all"
        yield Reason(choice="guidance", value=f"{asked:g}", why=why)


def _of_control(control: Control) -> Iterator[Reason]:
    if control.strength == 0:
        yield Reason(choice="control", value=control.kind, why="strength 0 steers nothing")
    elif control.start >= control.end:
        why = f"from {control.start:g} to {control.end:g} of the steps it steers nothing"
        yield Reason(choice="control", value=control.kind, why=why)
