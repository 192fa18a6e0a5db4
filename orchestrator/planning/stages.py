"""The stages of a Plan: drawn, drawn again larger, enlarged, parts of it improved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.errors import PictureError
from ...core.picture_files import MASK_WHITE
from ...core.plan import (
    DrawStage,
    EnlargeStage,
    ImproveStage,
    PictureFacts,
    Reason,
    SecondPassStage,
    Stage,
)
from ...core.request import GenerationRequest, Improve
from ...imaging.improve import STRENGTHS
from .no_effect import keeps_start
from .sizes import MAX_DISTORTION, Size, native_shape

if TYPE_CHECKING:
    from .planner import Choices, EngineFacts

SECOND_PASS_FROM = 1.6
"""Pixels, as a multiple of the native ones, from which a picture is drawn small first: drawn at
once, models repeat things in pictures much larger than those that they learned from."""

SECOND_PASS_STRENGTH = 0.5
"""As in ComfyUI's example "Hires fix" with enlarged latents (2 Pass Txt2Img)."""

MAX_REACH = 8.0
"""The enlarger's largest factor."""

NETWORK_SCALE = 4.0
"""What its network makes of a picture at once."""


def all_stages(
    request: GenerationRequest,
    choices: Choices,
    size: Size,
    steps: int,
    worded: Callable[[str], str],
    reasons: list[Reason],
) -> tuple[int, int, tuple[Stage, ...]]:
    """Width and height of the draw stage, and all stages.

    `worded`: a line of words as the family wants a prompt, with triggers. Raises PictureError
    `mask_unusable`.
    """
    if keeps_start(request):
        width, height, stages = size.width, size.height, _enlarged(size, choices.engine)
    else:
        width, height, stages = _drawn(size, steps, choices, reasons)
    masks = choices.improve_masks or (None,) * len(request.improve)
    # Behind all others: on a picture that was enlarged, a face has the pixels to be drawn in.
    improved = tuple(
        _improved(asked, mask, choices, size, worded, reasons)
        for asked, mask in zip(request.improve, masks, strict=True)
    )
    return width, height, stages + improved


def _drawn(
    size: Size, steps: int, choices: Choices, reasons: list[Reason]
) -> tuple[int, int, tuple[Stage, ...]]:
    """Width and height of the draw stage, and the stages before any improvement."""
    engine, family = choices.engine, choices.family
    width, height = size.width, size.height
    stages: list[Stage] = [DrawStage()]
    large = width * height > SECOND_PASS_FROM * family.native_width * family.native_height
    if large and engine.second_pass and choices.start is None:
        small = native_shape((width, height), family)
        factor = math.sqrt(width * height / (small[0] * small[1]))
        again = SecondPassStage(factor=factor, strength=SECOND_PASS_STRENGTH, steps=steps)
        stages.append(again)
        why = f"drawn at {small[0]}x{small[1]} first: at once, things would come out double"
        reasons.append(Reason(choice="second pass", value=f"{width}x{height}", why=why))
        width, height = small
    return width, height, (*stages, *_enlarged(size, engine))


def _enlarged(size: Size, engine: EngineFacts) -> tuple[Stage, ...]:
    """The enlarging in as many stages as its factor takes: each reaches `MAX_REACH` at most."""
    if size.enlarge <= 1 or engine.enlarger is None:
        return ()
    factors, left = [], size.enlarge
    while left > MAX_REACH:
        factors.append(NETWORK_SCALE)
        left /= NETWORK_SCALE
    return tuple(EnlargeStage(factor=one, model=engine.enlarger) for one in (*factors, left))


def _improved(
    asked: Improve,
    mask: PictureFacts | None,
    choices: Choices,
    size: Size,
    worded: Callable[[str], str],
    reasons: list[Reason],
) -> ImproveStage:
    family, enlarger = choices.family, choices.engine.enlarger
    strength = STRENGTHS[asked.amount]
    why = f"{strength:g} of the steps are drawn anew, each part at the size that is drawn best"
    reasons.append(Reason(choice="improve", value=f"{asked.what}, {asked.amount}", why=why))
    if mask is not None:
        _check_mask(mask, size)
    reach = min(MAX_REACH, family.enlarge or 1.0) if enlarger is not None else 1.0
    return ImproveStage(
        what=asked.what,
        amount=asked.amount,
        strength=strength,
        width=family.native_width,
        height=family.native_height,
        multiple=family.multiple,
        mask=mask.picture if mask is not None else None,
        prompts=tuple(worded(line) if line else "" for line in asked.prompts),
        reach=reach,
        enlarger=enlarger if reach > 1 else None,
    )


def _check_mask(mask: PictureFacts, size: Size) -> None:
    if mask.brightest < MASK_WHITE:
        raise PictureError("mask_unusable", "The mask is black: it marks nothing to improve.")
    shape = mask.width * size.output_height / (mask.height * size.output_width)
    if abs(shape - 1) > MAX_DISTORTION:
        message = (
            f"The mask ({mask.width} x {mask.height}) has another shape than the picture "
            f"({size.output_width} x {size.output_height})."
        )
        raise PictureError("mask_unusable", message)
