from __future__ import annotations

from typing import Any

import pytest
from kizy.core.errors import InputError
from kizy.core.request import (
    MAX_PROMPT,
    MAX_SEED,
    GenerationRequest,
    TrainingRequest,
    parse_request,
)


def generation(**values: Any) -> GenerationRequest:
    return parse_request(GenerationRequest, {"prompt": "a fox", **values})


def test_everything_but_the_prompt_may_be_left_out() -> None:
    request = generation()
    assert (request.model, request.seed, request.size, request.count) == ("auto", "auto", "auto", 1)


def test_space_around_the_prompt_is_cut_off() -> None:
    assert generation(prompt="  a fox \n").prompt == "a fox"


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_a_prompt_without_words_is_refused(prompt: str) -> None:
    with pytest.raises(InputError) as caught:
        generation(prompt=prompt)
    assert caught.value.code == "prompt_empty"


def test_a_request_without_prompt_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        parse_request(GenerationRequest, {})
    assert caught.value.code == "prompt_empty"


def test_a_prompt_at_the_limit_is_taken() -> None:
    assert len(generation(prompt="x" * MAX_PROMPT).prompt) == MAX_PROMPT


@pytest.mark.parametrize("field", ["prompt", "negative"])
def test_a_text_over_the_limit_is_refused_with_its_length(field: str) -> None:
    with pytest.raises(InputError, match="10,001 characters") as caught:
        generation(**{field: "x" * (MAX_PROMPT + 1)})
    assert caught.value.code == "prompt_too_long"
    assert field in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", 7),
        ("prompt", None),
        ("negative", 7),
        ("model", ""),
        ("loras", "some"),
        ("loras", [{"model_weight": 1.0}]),
        ("loras", [{"name": "x", "model_weight": 11}]),
        ("loras", [{"name": "x", "clip_weight": float("nan")}]),
        ("style", " "),
        ("size", 512),
        ("count", 0),
        ("count", 1001),
        ("count", 1.5),
        ("seed", -2),
        ("seed", MAX_SEED + 1),
        ("seed", "lucky"),
        ("steps", 0),
        ("steps", 1001),
        ("guidance", -0.5),
        ("guidance", 101),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("sampler", ""),
        ("quality", "perfect"),
        ("start", {"picture": "a.png", "strength": 1.01}),
        ("start", {"picture": "a.png", "strength": -0.01}),
        ("start", {"picture": "", "strength": 0.5}),
        ("start", {"strength": 0.5}),
        ("mask", {"picture": "a.png", "feather": -1}),
        ("mask", {"picture": "a.png", "feather": 513}),
        ("controls", [{"kind": "depth", "picture": "a.png", "strength": 10.5}]),
        ("improve", [{"what": "hands"}]),
        ("enlarge", {"factor": 0.5}),
        ("enlarge", {"factor": 9}),
        ("video", {"seconds": 0}),
        ("engine", ""),
        ("owner", ""),
        ("priority", 101),
        ("nonsense", 1),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        generation(**{field: value})
    assert caught.value.code == "request_invalid"
    assert caught.value.message.startswith(f"{field} = ")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"name": ""},
        {"goal": "landscape"},
        {"steps": 0},
        {"rank": 0},
        {"resolution": 32},
        {"seed": -2},
        {"pictures": ["a.png"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_bad_value_of_a_training_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        parse_request(TrainingRequest, {"files": ["a.png"], "name": "fox", **changes})
    assert caught.value.code == "request_invalid"


def test_a_long_bad_value_is_shortened_in_the_message() -> None:
    with pytest.raises(InputError) as caught:
        generation(quality="x" * 5000)
    assert len(caught.value.message) < 300


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        generation().count = 2  # pyright: ignore[reportAttributeAccessIssue]


def test_a_request_survives_json() -> None:
    request = generation(loras=[{"name": "fox", "model_weight": 0.5}], seed=7)
    assert GenerationRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize("model", ["dall-e-3", "openai/gpt-image-1", "azure:gpt-image-1.5-mini"])
def test_a_model_of_openais_leaves_the_choice_to_kizy(model: str) -> None:
    assert generation(model=model).model == "auto"


@pytest.mark.parametrize("model", ["dall-e-style", "gpt", "my/gpt-images", "auto"])
def test_other_names_of_models_stay(model: str) -> None:
    assert generation(model=model).model == model


@pytest.mark.parametrize("seed", [-1, "auto"])
def test_a_seed_of_minus_one_is_rolled(seed: Any) -> None:
    assert generation(seed=seed).seed == "auto"
