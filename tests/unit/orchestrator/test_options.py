"""Every option, on every family and engine: it changes the Plan, or a reason names it."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.families.family import load_families
from kizy.catalog.index.models import ModelEntry
from kizy.core.errors import InputError
from kizy.core.plan import InputPicture, ModelFile, Plan
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.planning.no_effect import steps_for
from kizy.orchestrator.planning.planner import (
    ENLARGER,
    Choices,
    ChosenLora,
    EngineFacts,
    LoraChoices,
    PictureFacts,
    make_plan,
)

FAMILIES = sorted(load_families())
ENGINES = {
    "embedded": EngineFacts("embedded", "a test", ("euler", "ddim", "dpmpp_2m"), enlarger=ENLARGER),
    "comfyui": EngineFacts(
        "comfyui",
        "a test",
        ("euler", "ddim", "dpmpp_2m"),
        enlarger=ENLARGER,
        controls=True,
        second_pass=True,
    ),
}
START: dict[str, Any] = {"start": {"picture": "start.png"}}
MASK: dict[str, Any] = {**START, "mask": {"picture": "mask.png"}}
FAINT: dict[str, Any] = {"start": {"picture": "start.png", "strength": 0.3}}
KEPT: dict[str, Any] = {"start": {"picture": "start.png", "strength": 0}}
CANNY = {"kind": "canny", "picture": "map.png"}

OPTIONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"negative": "rain"}, "negative"),
    ({}, {"negative": "rain", "guidance": 1}, "negative"),
    ({}, {"size": "portrait"}, "size"),
    ({}, {"size": "256x256"}, "size"),
    ({}, {"count": 3}, "count"),
    ({}, {"seed": 5}, "seed"),
    ({}, {"steps": 1}, "steps"),
    ({}, {"guidance": 6.5}, "guidance"),
    ({}, {"guidance": 0}, "guidance"),
    ({}, {"sampler": "ddim"}, "sampler"),
    ({}, {"quality": "draft"}, "quality"),
    ({}, {"quality": "best"}, "quality"),
    ({"steps": 3}, {"quality": "best"}, "quality"),
    ({}, {"enlarge": {"factor": 2}}, "enlarge"),
    (START, {"enlarge": {"factor": 2}}, "enlarge"),
    (MASK, {"enlarge": {"factor": 2}}, "enlarge"),
    (KEPT, {"enlarge": {"factor": 2}}, "enlarge"),
    ({}, {"improve": [{"what": "faces"}]}, "improve"),
    (
        {"improve": [{"what": "faces"}]},
        {"improve": [{"what": "faces", "amount": "strong"}]},
        "improve",
    ),
    ({}, START, "start"),
    (START, {"start": {"picture": "start.png", "strength": 0.3}}, "strength"),
    (FAINT, {"start": {"picture": "start.png", "strength": 1}}, "strength"),
    (START, KEPT, "strength"),
    (START, MASK, "mask"),
    (MASK, {"mask": {"picture": "mask.png", "feather": 0}}, "feather"),
    (MASK, {"size": "portrait"}, "size"),
    (START, {"size": "portrait"}, "size"),
    (
        {**MASK, "start": {"picture": "start.png", "strength": 0.5}},
        {"start": {"picture": "start.png", "strength": 0}},
        "mask",
    ),
    ({}, {"controls": [CANNY]}, "control"),
    ({}, {"controls": [{**CANNY, "strength": 0}]}, "control"),
    ({}, {"controls": [{**CANNY, "start": 0.5, "end": 0.5}]}, "control"),
]
"""What is asked for anyway, the option beside it, and what a reason calls it."""

WITHOUT_DRAWING: list[dict[str, Any]] = [
    {"negative": "rain"},
    {"seed": 5},
    {"steps": 7},
    {"guidance": 3},
    {"sampler": "ddim"},
    {"quality": "best"},
    {"count": 2},
    {"loras": [{"name": "ink"}]},
]
"""Options that change a Plan, and not what it draws, where nothing is drawn."""


def plan(of: str, engine: str, values: dict[str, Any]) -> Plan:
    request = parse_request(GenerationRequest, {"prompt": "a fox"} | values)
    start = picture("start.png") if request.start else None
    mask = picture("mask.png") if request.mask else None
    named = () if isinstance(request.loras, str) else request.loras
    model = ModelEntry(
        name="the-model", family=of, path=None, kind="builtin", size=1, drawable_here=True
    )
    return make_plan(
        request,
        Choices(
            model=model,
            model_reason="the only one",
            family=load_families()[of],
            style=None,
            style_reason=None,
            style_in_prompt=False,
            loras=LoraChoices(
                tuple(
                    ChosenLora(ModelFile(name=x.name), (), 1.0, 1.0, "you named it") for x in named
                )
            ),
            start=start,
            mask=mask,
            seed=77,
            engine=ENGINES[engine],
            controls=tuple(picture(x.picture) for x in request.controls),
            improve_masks=(None,) * len(request.improve),
        ),
    )


def picture(path: str, width: int = 700, height: int = 500) -> PictureFacts:
    return PictureFacts(InputPicture(path=path, sha256="1" * 64), width, height)


def told(made: Plan) -> set[str]:
    return {reason.choice for reason in made.reasons}


def difference(before: Plan, after: Plan) -> set[tuple[str, str, str]]:
    return {(r.choice, r.value, r.why) for r in after.reasons} - {
        (r.choice, r.value, r.why) for r in before.reasons
    }


def effective(made: Plan) -> str:
    """All that decides the pixels, without what the engines leave unread."""
    known = load_families()[made.family]
    changes: dict[str, Any] = {}
    if not known.negative_prompt or (known.guidance_kind == "cfg" and made.guidance == 1):
        changes["negative"] = ""
    if known.guidance_kind == "none":
        changes["guidance"] = 1.0
    steering = (c for c in made.controls if c.strength > 0 and c.start < c.end)
    return made.model_copy(update={**changes, "controls": tuple(steering)}).digest()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("of", FAMILIES)
@pytest.mark.parametrize(("beside", "option", "name"), OPTIONS)
def test_an_option_has_an_effect_or_a_reason_names_it(
    of: str, engine: str, beside: dict[str, Any], option: dict[str, Any], name: str
) -> None:
    before = plan(of, engine, beside)
    try:
        after = plan(of, engine, {**beside, **option})
    except InputError as refused:
        assert refused.code == "feature_unavailable"
        return
    new = {choice for choice, _, _ in difference(before, after)}
    assert effective(before) != effective(after) or name in new


@pytest.mark.parametrize("option", WITHOUT_DRAWING)
@pytest.mark.parametrize("of", FAMILIES)
def test_what_cannot_change_a_picture_that_is_kept_is_named(
    of: str, option: dict[str, Any]
) -> None:
    made = plan(of, "embedded", {**KEPT, **option})
    (name,) = option
    whys = [r.why for r in made.reasons if r.choice == name and "nothing is drawn" in r.why]
    assert len(whys) == 1


@pytest.mark.parametrize("of", FAMILIES)
def test_a_picture_that_is_kept_is_saved_as_it_is(of: str) -> None:
    made = plan(of, "embedded", KEPT)
    assert made.stages == () and (made.output_width, made.output_height) == (700, 500)


def test_a_strength_of_one_says_what_is_left_of_the_start_picture() -> None:
    made = plan("sdxl", "comfyui", {"start": {"picture": "start.png", "strength": 1}})
    whys = [r.why for r in made.reasons if r.choice == "strength"]
    assert whys == ["1 draws all anew: of the start picture only its shape is kept"]


def test_a_strength_inside_a_mask_needs_no_word() -> None:
    assert "strength" in told(plan("sdxl", "comfyui", MASK))
    made = plan("sdxl", "comfyui", {**MASK, "start": {"picture": "start.png", "strength": 1}})
    assert "strength" not in told(made)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 20])
@pytest.mark.parametrize("strength", [0.02, 0.1, 0.3, 0.5, 0.6, 0.8, 0.9])
def test_few_steps_draw_about_the_share_that_was_asked_for(steps: int, strength: float) -> None:
    start = {"picture": "start.png", "strength": strength}
    made = plan("flux1-schnell", "comfyui", {"steps": steps, "start": start})
    drawn = max(1, round(made.steps * strength))
    assert drawn < made.steps
    assert abs(drawn / made.steps - strength) <= 0.15
    assert made.steps == steps or "steps" in told(made)


def test_steps_that_can_draw_the_share_stay() -> None:
    assert steps_for(25, 0.6) == 25
    assert steps_for(25, 1.0) == 25
    assert steps_for(1, 0.99) == 1


def test_a_control_map_that_is_stretched_is_told() -> None:
    made = plan("sdxl", "comfyui", {"controls": [CANNY]})
    assert any("700x500, is stretched" in r.why for r in made.reasons if r.choice == "control")
