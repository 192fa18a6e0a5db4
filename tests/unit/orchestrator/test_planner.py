"""The planner: every decision, its reason, and what it refuses. Nothing is read or drawn."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.families.family import family
from kizy.catalog.families.styles import find_style
from kizy.catalog.index.models import ModelEntry
from kizy.core.errors import InputError, PictureError
from kizy.core.plan import EnlargeStage, InputPicture, ModelFile, Plan, SecondPassStage
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.planning.planner import (
    DEFAULT_MASKED_STRENGTH,
    DEFAULT_STRENGTH,
    ENLARGER,
    Choices,
    ChosenLora,
    EngineFacts,
    LoraChoices,
    PictureFacts,
    make_plan,
)

START = {"picture": "start.png"}


def wish(prompt: str = "a red fox", **changes: Any) -> GenerationRequest:
    return parse_request(GenerationRequest, {"prompt": prompt} | changes)


SAMPLERS = ("euler", "ddim", "dpmpp_2m")


def choices(of: str = "starter", **changes: Any) -> Choices:
    """What there is for a family, with nothing named."""
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
        "start": None,
        "mask": None,
        "seed": 77,
        "engine": EngineFacts("embedded", "a test", SAMPLERS, enlarger=ENLARGER),
    }
    return Choices(**(values | changes))


def styled(name: str, *, in_prompt: bool = False, of: str = "starter") -> Choices:
    style = find_style(name, of)
    return choices(of, style=style, style_reason="you asked for it", style_in_prompt=in_prompt)


def lora(name: str = "fox", *triggers: str, weight=1.0, clip=None, why="it fits") -> ChosenLora:
    file = ModelFile(name=name, path=f"/{name}.safetensors", sha256="0" * 64)
    return ChosenLora(file, triggers, weight, weight if clip is None else clip, why)


def loras(*chosen: ChosenLora, **more) -> LoraChoices:
    return LoraChoices(chosen, **more)


def picture(width: int, height: int) -> PictureFacts:
    return PictureFacts(InputPicture(path="/start.png", sha256="1" * 64), width, height)


def reasons(plan: Plan) -> dict[str, str]:
    return {reason.choice: reason.value for reason in plan.reasons}


def test_the_same_facts_give_the_same_plan() -> None:
    request = wish(loras=[{"name": "fox"}], start=START, mask={"picture": "mask.png"})

    def facts() -> Choices:
        return choices(
            start=picture(300, 200), mask=picture(300, 200), loras=loras(lora("fox", "fx"))
        )

    assert make_plan(request, facts()) == make_plan(request, facts())


def test_the_given_seed_is_used() -> None:
    assert make_plan(wish(seed=5), choices()).seed == 5


def test_a_rolled_seed_is_told_with_its_reason() -> None:
    plan = make_plan(wish(), choices())
    assert (plan.seed, reasons(plan)["seed"]) == (77, "77")


@pytest.mark.parametrize("choice", ["model", "size", "steps", "guidance", "seed", "sampler"])
def test_what_was_left_to_kizy_has_a_reason(choice: str) -> None:
    assert choice in reasons(make_plan(wish(), choices()))


@pytest.mark.parametrize("choice", ["strength", "feather"])
def test_what_was_left_open_about_pictures_has_a_reason(choice: str) -> None:
    request = wish(start=START, mask={"picture": "mask.png"})
    plan = make_plan(request, choices(start=picture(300, 200), mask=picture(300, 200)))
    assert choice in reasons(plan)


@pytest.mark.parametrize(
    ("choice", "value"), [("steps", 3), ("guidance", 2.5), ("seed", 9), ("sampler", "ddim")]
)
def test_what_was_asked_for_needs_no_reason(choice: str, value: object) -> None:
    plan = make_plan(wish(**{choice: value}), choices())
    assert getattr(plan, choice) == value
    assert choice not in reasons(plan)


def test_every_reason_has_words() -> None:
    plan = make_plan(wish(loras=[{"name": "fox"}]), styled("3d"))
    assert all(reason.why and reason.value for reason in plan.reasons)


@pytest.mark.parametrize("quality", ["draft", "balanced", "best"])
def test_quality_decides_the_steps(quality: str) -> None:
    assert make_plan(wish(quality=quality), choices()).steps == family("starter").steps[quality]


def test_the_familys_settings_are_the_defaults() -> None:
    plan, sdxl = make_plan(wish(), choices("sdxl")), family("sdxl")
    assert (plan.sampler, plan.scheduler, plan.guidance) == (
        sdxl.sampler,
        sdxl.scheduler,
        sdxl.guidance,
    )


def test_the_words_that_were_asked_for_are_kept() -> None:
    assert make_plan(wish("a fox"), styled("cartoon")).request_prompt == "a fox"


def test_a_styles_words_go_to_the_end() -> None:
    assert make_plan(wish("a fox"), styled("3d")).prompt == "a fox, 3d render"


def test_a_style_that_the_prompt_says_is_not_said_twice() -> None:
    plan = make_plan(wish("a cartoon fox"), styled("cartoon", in_prompt=True))
    assert plan.prompt.count("cartoon") == 1


def test_without_a_style_the_prompt_stays() -> None:
    assert make_plan(wish("a fox"), choices()).prompt == "a fox"


def test_a_trigger_is_added() -> None:
    plan = make_plan(wish("a fox"), choices(loras=loras(lora("x", "zk9 fox"))))
    assert plan.prompt == "a fox, zk9 fox"


def test_a_lora_keeps_its_weights_and_content() -> None:
    plan = make_plan(wish(), choices(loras=loras(lora("fox", weight=0.5, clip=0.25))))
    found = plan.loras[0]
    assert (found.model_weight, found.clip_weight, found.file.sha256) == (0.5, 0.25, "0" * 64)


def test_why_a_lora_was_picked_is_told_with_its_trigger() -> None:
    plan = make_plan(wish(), choices(loras=loras(lora("x", "zk9", why="You asked for foxes."))))
    (told,) = [reason for reason in plan.reasons if reason.choice == "lora"]
    assert (told.value, told.why) == ("x:1", "You asked for foxes. Its trigger: zk9.")


def test_why_no_lora_was_picked_is_told() -> None:
    facts = choices(loras=loras(why_none="None is about foxes.", by_words_only=True))
    told = {reason.choice: reason.value for reason in make_plan(wish(), facts).reasons}
    assert told["lora"] == "none" and told["lora search"] == "by words only"


def test_the_negative_prompt_is_kept_where_the_family_reads_it() -> None:
    assert make_plan(wish(negative="rain"), choices("sd15")).negative == "rain"


def test_the_negative_prompt_is_left_out_where_the_family_reads_none() -> None:
    assert make_plan(wish(negative="rain"), choices("flux1-schnell")).negative == ""


def test_a_negative_prompt_that_is_left_out_is_told() -> None:
    plan = make_plan(wish(negative="rain"), choices("flux1-schnell"))
    assert reasons(plan)["negative"] == "left out"


def test_a_mask_without_a_start_picture_is_refused() -> None:
    with pytest.raises(PictureError) as caught:
        make_plan(wish(mask={"picture": "m.png"}), choices(mask=picture(10, 10)))
    assert caught.value.code == "mask_unusable"


@pytest.mark.parametrize("shape", [(200, 300), (300, 300), (300, 210)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    request = wish(start=START, mask={"picture": "m.png"})
    with pytest.raises(PictureError) as caught:
        make_plan(request, choices(start=picture(300, 200), mask=picture(*shape)))
    assert caught.value.code == "mask_unusable"


def test_a_mask_of_the_same_shape_at_another_size_is_taken() -> None:
    request = wish(start=START, mask={"picture": "m.png"})
    plan = make_plan(request, choices(start=picture(300, 200), mask=picture(150, 100)))
    assert plan.mask is not None


def test_under_a_mask_the_start_pictures_size_is_saved() -> None:
    request = wish(start=START, mask={"picture": "m.png"})
    plan = make_plan(request, choices(start=picture(333, 217), mask=picture(333, 217)))
    assert (plan.output_width, plan.output_height) == (333, 217)


@pytest.mark.parametrize(
    ("mask", "strength"),
    [(None, DEFAULT_STRENGTH), ({"picture": "m.png"}, DEFAULT_MASKED_STRENGTH)],
)
def test_strength_depends_on_whether_there_is_a_mask(mask, strength: float) -> None:
    facts = choices(start=picture(64, 64), mask=picture(64, 64) if mask else None)
    assert make_plan(wish(start=START, mask=mask), facts).start.strength == strength


def test_a_model_that_sees_the_picture_draws_all_of_it_anew() -> None:
    plan = make_plan(wish(start=START), choices("flux1-kontext", start=picture(640, 480)))
    assert plan.start is not None and plan.start.strength == 1.0
    assert "changes the picture" in next(r.why for r in plan.reasons if r.choice == "strength")


def test_a_given_strength_is_kept() -> None:
    request = wish(start=START | {"strength": 0.25})
    assert make_plan(request, choices(start=picture(64, 64))).start.strength == 0.25


def test_a_given_feather_is_kept() -> None:
    request = wish(start=START, mask={"picture": "m.png", "feather": 7})
    plan = make_plan(request, choices(start=picture(64, 64), mask=picture(64, 64)))
    assert plan.mask.feather == 7


@pytest.mark.parametrize("width", [40, 5000])
def test_the_feather_stays_within_what_a_request_may_ask(width: int) -> None:
    facts = choices(start=picture(width, width), mask=picture(width, width))
    plan = make_plan(wish(start=START, mask={"picture": "m.png"}), facts)
    assert 1 <= plan.mask.feather <= 512


@pytest.mark.parametrize(
    "asked",
    [
        {"video": {"seconds": 2}},
        {"controls": [{"kind": "canny", "picture": "c.png"}]},
    ],
    ids=["video", "controls"],
)
def test_what_the_engine_cannot_do_is_refused(asked: dict) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(wish(**asked), choices())
    assert caught.value.code == "feature_unavailable"


def test_an_unknown_sampler_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match='"euler"') as caught:
        make_plan(wish(sampler="eular"), choices())
    assert caught.value.code == "request_invalid"


def test_the_starters_picture_is_enlarged() -> None:
    assert [stage.kind for stage in make_plan(wish(), choices()).stages] == ["draw", "enlarge"]


def test_a_raw_picture_is_only_drawn() -> None:
    assert [s.kind for s in make_plan(wish(), choices(raw=True)).stages] == ["draw"]


def test_the_enlarge_stage_has_the_factor_of_the_sizes() -> None:
    plan = make_plan(wish(size="1024x1024"), choices())
    factors = [stage.factor for stage in plan.stages if isinstance(stage, EnlargeStage)]
    assert factors == [plan.output_width / plan.width]


def test_a_plan_survives_json() -> None:
    request = wish(start=START, mask={"picture": "m.png"})
    facts = choices(start=picture(64, 64), mask=picture(64, 64), loras=loras(lora("a", "b")))
    plan = make_plan(request, facts)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def on_comfyui(of: str = "sdxl", **changes: Any) -> Choices:
    facts = EngineFacts("comfyui", "on here", ("euler",), controls=True, second_pass=True)
    return choices(of, engine=facts, **changes)


def test_the_plan_says_which_engine_it_is_for_and_why() -> None:
    plan = make_plan(wish(), on_comfyui())
    assert (plan.engine, reasons(plan)["engine"]) == ("comfyui", "comfyui")


def test_a_large_picture_is_drawn_small_first_where_the_engine_can() -> None:
    plan = make_plan(wish(size="1536x1536"), on_comfyui())
    assert (plan.width, plan.height) == (1024, 1024)
    assert (plan.output_width, plan.output_height) == (1536, 1536)
    assert plan.stages[1] == SecondPassStage(factor=1.5, strength=0.5, steps=plan.steps)


@pytest.mark.parametrize("size", ["square", "1216x1152"])
def test_a_picture_near_the_native_size_is_drawn_at_once(size: str) -> None:
    assert [s.kind for s in make_plan(wish(size=size), on_comfyui()).stages] == ["draw"]


def test_a_start_picture_keeps_its_shapes_so_it_is_drawn_at_once() -> None:
    large = on_comfyui(start=picture(1536, 1536))
    plan = make_plan(wish(size="1536x1536", start=START), large)
    assert [stage.kind for stage in plan.stages] == ["draw"]


def test_control_maps_come_into_the_plan() -> None:
    control = {"kind": "canny", "picture": "edges.png", "strength": 0.7, "end": 0.8}
    plan = make_plan(wish(controls=[control]), on_comfyui(controls=(picture(64, 64),)))
    (planned,) = plan.controls
    assert (planned.kind, planned.strength, planned.end) == ("canny", 0.7, 0.8)
    assert planned.picture == picture(64, 64).picture


def test_an_engine_without_control_maps_refuses_them() -> None:
    control = {"kind": "canny", "picture": "edges.png"}
    with pytest.raises(InputError) as caught:
        make_plan(wish(controls=[control]), choices(controls=(picture(64, 64),)))
    assert caught.value.code == "feature_unavailable"


def test_without_an_enlarger_enlarging_is_refused_only_when_it_was_asked_for() -> None:
    bare = EngineFacts("comfyui", "on here", ("euler",))
    assert make_plan(wish(), choices(engine=bare)).output_width == 128
    with pytest.raises(InputError) as caught:
        make_plan(wish(enlarge={"factor": 2}), choices(engine=bare))
    assert caught.value.code == "feature_unavailable"


def test_a_variants_prompt_begins_with_its_quality_tags() -> None:
    facts = choices("sdxl", family=family("sdxl").as_variant("pony"))
    assert make_plan(wish("a fox"), facts).prompt.startswith("score_9, score_8_up")
    assert make_plan(wish("score_9, a fox"), facts).prompt.count("score_9") == 1
