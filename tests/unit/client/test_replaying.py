"""A picture's Plan as a request: what a server would plan otherwise is known beforehand."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.core.plan import (
    DrawStage,
    EnlargeStage,
    ImproveStage,
    InputPicture,
    ModelFile,
    Plan,
    PlannedControl,
    PlannedLora,
    PlannedMask,
    PlannedStart,
)
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.sdk.remote.replay import differences, request_of

from tests.fakes.draws import plan_of

PICTURE = InputPicture(path="a.png", sha256="f" * 64)
WISHES: list[dict[str, Any]] = [
    {"prompt": "a red fox"},
    {"prompt": "a red fox, cartoon", "size": "portrait", "seed": 3, "steps": 7},
    {"prompt": "a red fox", "size": "192x128", "enlarge": None, "guidance": 5.5},
    {"prompt": "a red fox", "style": "flat sticker", "enlarge": {"factor": 2.0}, "count": 2},
    {"prompt": "a red fox", "enlarge": {"factor": 4.0}},
    {"prompt": "a red fox", "size": "wide", "enlarge": {"factor": 8.0}},
    {"prompt": "a red fox", "sampler": "euler", "quality": "best", "negative": "rain"},
]


def plan(**changes: Any) -> Plan:
    return plan_of(GenerationRequest(prompt="a fox", seed=1), **changes)


@pytest.mark.parametrize("wish", WISHES)
def test_the_same_is_planned_again(wish: dict[str, Any]) -> None:
    app = App()
    try:
        first = app.plan(GenerationRequest.model_validate(wish))
        again = app.plan(request_of(first, lambda picture: picture.path))
    finally:
        app.close()
    assert differences(first, again) == []
    assert again.digest() == first.digest()


def test_pictures_are_named_as_the_caller_says() -> None:
    stage = ImproveStage(
        what="mask", amount="strong", strength=0.6, width=64, height=64, multiple=8, mask=PICTURE
    )
    control = PlannedControl(kind="canny", picture=PICTURE, strength=1, start=0, end=0.5)
    made = plan(
        start=PlannedStart(picture=PICTURE, strength=0.4),
        mask=PlannedMask(picture=PICTURE, feather=5),
        controls=(control,),
        stages=(DrawStage(), stage),
    )
    request = request_of(made, lambda picture: picture.sha256)
    assert request.start and (request.start.picture, request.start.strength) == ("f" * 64, 0.4)
    assert request.mask and (request.mask.picture, request.mask.feather) == ("f" * 64, 5)
    assert request.controls[0].picture == request.improve[0].mask == "f" * 64
    assert request.size == "auto"


def test_a_picture_that_was_only_improved_is_kept() -> None:
    stage = ImproveStage(
        what="faces", amount="normal", strength=0.4, width=64, height=64, multiple=8
    )
    start = PlannedStart(picture=PICTURE, strength=0.0)
    enlarged = EnlargeStage(factor=2, model=ModelFile(name="e"))
    request = request_of(plan(start=start, stages=(enlarged, stage)), lambda picture: "id")
    assert request.start and request.start.strength == 0
    assert request.improve[0].what == "faces"
    assert request.enlarge and request.enlarge.factor == 2  # type: ignore[union-attr]


def test_loras_keep_their_weights() -> None:
    lora = PlannedLora(file=ModelFile(name="ink"), model_weight=0.7, clip_weight=0.5)
    request = request_of(plan(loras=(lora,)), lambda picture: "id")
    (named,) = request.loras
    assert (named.name, named.model_weight, named.clip_weight) == ("ink", 0.7, 0.5)  # type: ignore


def test_what_a_server_does_otherwise_is_said_in_words() -> None:
    before = plan()
    assert differences(before, before) == []
    after = before.model_copy(update={"sampler": "dpmpp_2m", "model": ModelFile(name="b")})
    assert differences(before, after) == [
        "model b (it was starter)",
        "sampler dpmpp_2m (it was euler)",
    ]


def test_one_model_in_two_places_is_no_difference() -> None:
    here = plan(model=ModelFile(name="XL/Painter.safetensors"))
    there = plan(model=ModelFile(name="painter"))
    assert differences(here, there) == []
