"""The stages of a Plan that improve, and Plans that only do that."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.families.family import family
from kizy.catalog.index.models import ModelEntry
from kizy.core.errors import InputError, PictureError
from kizy.core.plan import DrawStage, EnlargeStage, ImproveStage, InputPicture, ModelFile, Plan
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.planning.planner import (
    ENLARGER,
    Choices,
    ChosenLora,
    EngineFacts,
    LoraChoices,
    PictureFacts,
    make_plan,
)

GIVEN = PictureFacts(InputPicture(path="given.png", sha256="1" * 64), 1000, 700)
MASK = PictureFacts(InputPicture(path="mask.png", sha256="2" * 64), 500, 350)
FACES = {"improve": [{"what": "faces"}]}
KEPT = {"start": {"picture": "given.png", "strength": 0}}
MASKED = {"improve": [{"what": "mask", "mask": "mask.png"}]}


def plan(of: str = "sdxl", facts: dict[str, Any] | None = None, **changes: Any) -> Plan:
    request = parse_request(GenerationRequest, {"prompt": "a girl"} | changes)
    values: dict[str, Any] = {
        "model": ModelEntry(
            name="the-model", family=of, path=None, kind="builtin", size=1, drawable_here=True
        ),
        "model_reason": "the only one",
        "family": family(of),
        "style": None,
        "style_reason": None,
        "style_in_prompt": False,
        "loras": LoraChoices(),
        "start": GIVEN if request.start else None,
        "mask": None,
        "seed": 77,
        "engine": EngineFacts("embedded", "a test", ("euler", "ddim"), enlarger=ENLARGER),
        "improve_masks": tuple(MASK if one.mask else None for one in request.improve),
    }
    return make_plan(request, Choices(**(values | (facts or {}))))


def improving(made: Plan) -> ImproveStage:
    (stage,) = (stage for stage in made.stages if isinstance(stage, ImproveStage))
    return stage


def test_faces_are_improved_behind_everything_else() -> None:
    made = plan(**FACES, enlarge={"factor": 2})
    assert [type(stage) for stage in made.stages] == [DrawStage, EnlargeStage, ImproveStage]


def test_a_part_is_drawn_at_the_familys_own_size() -> None:
    stage = improving(plan("sdxl", **FACES))
    assert (stage.width, stage.height, stage.multiple) == (1024, 1024, family("sdxl").multiple)
    assert stage.reach == 1


def test_the_starters_parts_are_enlarged_as_its_pictures_are() -> None:
    stage = improving(plan("starter", **FACES))
    assert (stage.reach, stage.enlarger) == (4, ENLARGER)


@pytest.mark.parametrize(
    ("amount", "strength"), [("subtle", 0.25), ("normal", 0.4), ("strong", 0.6)]
)
def test_the_amount_is_a_share_of_the_steps(amount: str, strength: float) -> None:
    made = plan(improve=[{"what": "faces", "amount": amount}])
    assert improving(made).strength == strength
    assert [r.value for r in made.reasons if r.choice == "improve"] == [f"faces, {amount}"]


def test_each_faces_words_get_the_triggers_too() -> None:
    file = ModelFile(name="anna", path="/anna.safetensors")
    lora = ChosenLora(file, ("ohwx",), 1.0, 1.0, "it fits")
    made = plan(
        improve=[{"what": "faces", "prompts": ["an old man", ""]}],
        facts={"loras": LoraChoices(loras=(lora,))},
    )
    assert improving(made).prompts == ("an old man, ohwx", "")


class TestAPictureThatIsKept:
    def test_nothing_is_drawn_but_its_faces(self) -> None:
        made = plan(**FACES, **KEPT)
        assert not made.draws
        assert (made.output_width, made.output_height) == (1000, 700)

    def test_it_is_enlarged_only_if_that_was_asked_for(self) -> None:
        made = plan("starter", **FACES, **KEPT, enlarge={"factor": 2})
        assert [type(stage) for stage in made.stages] == [EnlargeStage, ImproveStage]
        assert (made.output_width, made.output_height) == (2000, 1400)

    def test_it_does_not_grow_beyond_what_may_be_saved(self) -> None:
        with pytest.raises(InputError) as caught:
            plan(**FACES, **KEPT, enlarge={"factor": 8.0}, facts={"start": _wide(4000)})
        assert caught.value.code == "size_invalid"

    def test_with_a_strength_it_is_drawn_as_before(self) -> None:
        made = plan(**FACES, start={"picture": "given.png", "strength": 0.5})
        assert made.draws


class TestAMask:
    def test_it_is_in_the_stage(self) -> None:
        assert improving(plan(**MASKED, **KEPT)).mask == MASK.picture

    def test_of_another_shape_it_is_refused(self) -> None:
        square = PictureFacts(MASK.picture, 500, 500)
        with pytest.raises(PictureError) as caught:
            plan(**MASKED, **KEPT, facts={"improve_masks": (square,)})
        assert caught.value.code == "mask_unusable"

    def test_a_black_one_is_refused(self) -> None:
        black = PictureFacts(MASK.picture, 500, 350, brightest=0)
        with pytest.raises(PictureError) as caught:
            plan(**MASKED, **KEPT, facts={"improve_masks": (black,)})
        assert caught.value.code == "mask_unusable"

    @pytest.mark.parametrize("improve", [{"what": "mask"}, {"what": "faces", "mask": "m.png"}])
    def test_a_request_says_mask_if_and_only_if_it_names_one(self, improve: dict) -> None:
        with pytest.raises(InputError) as caught:
            parse_request(GenerationRequest, {"prompt": "a girl", "improve": [improve]})
        assert caught.value.code == "request_invalid"


def _wide(width: int) -> PictureFacts:
    return PictureFacts(GIVEN.picture, width, 700)
