"""A pasted block as prompt: taken for what it is, and told where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.core.errors import InputError, UnknownNameError
from kizy.core.plan import Plan
from kizy.core.request import GenerationRequest, parse_request
from kizy.orchestrator.planning.pasted import planned, read_pasted

from tests.fakes.drawer import plan_of

BLOCK = (
    "a red fox, [snow], Negative prompt: blurry, Steps: 20, Sampler: DPM++ 2M Karras, "
    'CFG scale: 7, Seed: -1, Size: 512x768, Model: foxModel_v1, Lora hashes: "ink: 0123456789ab"'
)


def wish(prompt: str = BLOCK, **changes: Any) -> GenerationRequest:
    return parse_request(GenerationRequest, {"prompt": prompt} | changes)


def read(prompt: str = BLOCK, **changes: Any) -> GenerationRequest:
    pasted = read_pasted(wish(prompt, **changes))
    assert pasted is not None
    return pasted.request


def notices(prompt: str = BLOCK, **changes: Any) -> str:
    pasted = read_pasted(wish(prompt, **changes))
    assert pasted is not None
    return " ".join(pasted.notices)


def test_all_of_a_block_reaches_the_request() -> None:
    found = read()
    assert found.prompt == "a red fox, (snow:0.91)"
    assert (found.negative, found.steps, found.guidance) == ("blurry", 20, 7.0)
    assert (found.seed, found.size) == ("auto", "512x768")
    assert (found.sampler, found.model) == ("dpmpp_2m", "foxModel_v1")


def test_what_the_request_says_itself_goes_before() -> None:
    found = read(negative="dark", steps=5, seed=3, size="64x64", model="mine", sampler="euler")
    assert (found.negative, found.steps, found.seed) == ("dark", 5, 3)
    assert (found.size, found.model, found.sampler) == ("64x64", "mine", "euler")


def test_other_options_stay() -> None:
    found = read(count=3, loras="none", owner="ada")
    assert (found.count, found.loras, found.owner) == (3, "none", "ada")


@pytest.mark.parametrize(
    ("written", "sampler", "schedule"),
    [
        ("Euler a", "euler_ancestral", None),
        ("DPM++ 2M SDE Karras", "dpmpp_2m_sde", "karras"),
        ("DPM++ SDE", "dpmpp_sde", None),
        ("UniPC", "uni_pc", None),
        ("DDIM", "ddim", None),
        ("DPM++ 2M, Schedule type: Exponential", "dpmpp_2m", "exponential"),
        ("Euler, Schedule type: Automatic", "euler", None),
        ("euler_ancestral, Schedule type: sgm_uniform", "euler_ancestral", "sgm_uniform"),
    ],
)
def test_samplers_are_named_as_comfyui_names_them(
    written: str, sampler: str, schedule: str | None
) -> None:
    pasted = read_pasted(wish(f"a fox\nSteps: 20, Sampler: {written}, Seed: 1"))
    assert pasted is not None
    assert (pasted.request.sampler, pasted.schedule) == (sampler, schedule)


def test_denoising_goes_to_a_start_picture_that_has_no_strength() -> None:
    block = "a fox\nSteps: 20, Seed: 1, Denoising strength: 0.4"
    assert read(block, start={"picture": "a.png"}).start.strength == 0.4  # type: ignore[union-attr]
    given = read(block, start={"picture": "a.png", "strength": 0.7})
    assert given.start is not None and given.start.strength == 0.7
    assert "needs a start picture" in notices(block)


def test_what_is_not_taken_is_told_by_name() -> None:
    said = notices("a fox\nSteps: 20, Seed: 1, Clip skip: 2, Hires upscale: 1.5, Version: v1")
    assert "clip skip 2" in said and "hires upscale 1.5" in said and "version" not in said


@pytest.mark.parametrize(
    "fact", ["Steps: 9999", "Size: 0x0x0", "CFG scale: 1000", f"Seed: {2**70}"]
)
def test_a_value_beyond_its_limits_is_told_and_not_taken(fact: str) -> None:
    name = {"Steps": "steps", "CFG scale": "guidance", "Seed": "seed"}.get(fact.split(":")[0])
    found = read(f"a fox\nSampler: Euler, Size: 64x64, {fact}")
    if name is not None:
        assert getattr(found, name) == "auto"
        assert f"the pasted {name} is not taken" in notices(
            f"a fox\nSampler: Euler, Seed: 1, {fact}"
        )


@pytest.mark.parametrize("model", ["/etc/passwd", "..\\x", "~/x", "folder/x", "C:\\x"])
def test_a_path_is_never_taken_from_a_block(model: str) -> None:
    block = f"a fox\nSteps: 20, Seed: 1, Model: {model}"
    assert read(block).model == "auto" and "path" in notices(block)


def test_plain_words_are_planned_as_they_are() -> None:
    asked: list[GenerationRequest] = []

    def plan(request: GenerationRequest) -> Plan:
        asked.append(request)
        return plan_of()

    assert planned(wish("a fox"), plan).reasons == ()
    assert [request.prompt for request in asked] == ["a fox"]


def test_a_model_and_a_sampler_that_are_not_here_are_told_and_left_to_kizy() -> None:
    def plan(request: GenerationRequest) -> Plan:
        if request.model != "auto":
            raise UnknownNameError("model_unknown", f'No model is called "{request.model}".')
        if request.sampler != "auto":
            raise InputError("request_invalid", f'No sampler is called "{request.sampler}".')
        return plan_of(prompt=request.prompt, negative=request.negative)

    made = planned(wish(), plan)
    said = " ".join(reason.why for reason in made.reasons)
    assert made.negative == "blurry"
    assert "foxModel_v1" in said and "dpmpp_2m" in said and "karras" in said


def test_loras_that_are_not_here_are_told_and_left_out() -> None:
    def plan(request: GenerationRequest) -> Plan:
        if "<lora" in request.prompt:
            raise UnknownNameError("lora_unknown", 'No LoRA is called "ink".')
        return plan_of(prompt=request.prompt)

    made = planned(wish("a fox <lora:ink:1>\nSteps: 20, Seed: 1"), plan)
    assert made.prompt == "a fox" and "ink" in " ".join(r.why for r in made.reasons)


def test_what_the_request_itself_names_wrongly_stays_an_error() -> None:
    def plan(request: GenerationRequest) -> Plan:
        raise UnknownNameError("model_unknown", f'No model is called "{request.model}".')

    with pytest.raises(UnknownNameError, match="mine"):
        planned(wish(model="mine"), plan)


def test_settings_without_a_prompt_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        read_pasted(wish("Negative prompt: blurry, Steps: 20, Seed: 1"))
    assert caught.value.code == "prompt_empty"
