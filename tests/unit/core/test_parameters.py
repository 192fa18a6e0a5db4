"""Generation parameters as text: read in every form that is pasted, written as Civitai reads it."""

from __future__ import annotations

import json
import re

import pytest
from kizy.catalog.search.lora_tags import lora_tags
from kizy.core.parameters import parameters_text, read_parameters
from kizy.core.plan import ModelFile, PlannedLora

from tests.fakes.drawer import plan_of

FACTS = "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: -1, Size: 512x768"
READ = {
    "steps": "20",
    "sampler": "DPM++ 2M Karras",
    "cfg scale": "7",
    "seed": "-1",
    "size": "512x768",
}


@pytest.mark.parametrize(
    "text",
    [
        f"a red fox, snow\nNegative prompt: blurry, bad\n{FACTS}",
        f"a red fox, snow, Negative prompt: blurry, bad, {FACTS}",
        f"a red fox, snow Negative prompt: blurry, bad {FACTS}",
        f"a red fox, snow.\r\nNegative prompt: blurry, bad\r\n{FACTS}".replace("snow.", "snow"),
        f"Prompt: a red fox, snow\nnegative prompt: blurry, bad\n{FACTS.replace('Steps', 'steps')}",
        f"a red fox, snow\n{FACTS}, Negative prompt: blurry, bad",
    ],
)
def test_a_block_is_read_however_it_was_pasted(text: str) -> None:
    found = read_parameters(text)
    assert found is not None
    assert (found.prompt, found.negative, found.facts) == ("a red fox, snow", "blurry, bad", READ)


def test_a_block_without_negative_prompt_has_none() -> None:
    found = read_parameters(f"a fox\n{FACTS}")
    assert found is not None and found.negative is None and found.prompt == "a fox"


def test_a_negative_prompt_alone_is_a_block() -> None:
    found = read_parameters("a fox\nNegative prompt: blurry")
    assert found is not None and (found.negative, found.facts) == ("blurry", {})


def test_values_may_be_quoted_or_json() -> None:
    text = (
        f'a fox\n{FACTS}, Model: "a, b: c", Lora hashes: "ink: 0123456789ab, x: ba9876543210", '
        'Civitai resources: [{"type":"checkpoint","modelVersionId":1,"modelName":"x, y"}], '
        'Hashes: {"model": "0123456789", "lora:ink": "abcdef0123"}, Version: v1.10'
    )
    found = read_parameters(text)
    assert found is not None
    assert found.facts["model"] == "a, b: c" and found.facts["version"] == "v1.10"
    assert found.facts["lora hashes"] == "ink: 0123456789ab, x: ba9876543210"
    assert json.loads(found.facts["hashes"])["lora:ink"] == "abcdef0123"


@pytest.mark.parametrize(
    "text",
    [
        "a red fox",
        "ten steps: a staircase",
        "a poster that says Steps: 20",
        "Size: 10x10 meters of snow",
        "a negative prompt",
        "[[{{",
        "",
    ],
)
def test_words_are_no_block(text: str) -> None:
    assert read_parameters(text) is None


@pytest.mark.parametrize("end", ['"', '"unended', "{", "[" * 500, "a: b: c,,,: ,", ":" * 500])
def test_what_is_broken_behind_the_facts_is_passed_over(end: str) -> None:
    found = read_parameters(f"a fox\n{FACTS}, Model: {end}")
    assert found is not None and found.prompt == "a fox" and found.facts["steps"] == "20"


def lora(name: str, sha256: str | None, tensors: str | None) -> PlannedLora:
    file = ModelFile(name=name, sha256=sha256, tensors_sha256=tensors)
    return PlannedLora(file=file, model_weight=0.8, clip_weight=0.8)


def test_hashes_are_written_as_civitai_reads_them() -> None:
    plan = plan_of(
        model=ModelFile(name="fox-model", sha256="0123456789abcdef" * 4),
        loras=(lora("ink", "a" * 64, "b" * 64), lora("wash", "c" * 64, None)),
    )
    last = parameters_text(plan, (64, 64), "1").splitlines()[-1]
    assert 'Lora hashes: "ink: bbbbbbbbbbbb"' in last
    # As Civitai cuts them out: github.com/civitai/civitai, src/utils/metadata.
    hashes = re.search(r", Hashes:\s*({[^}]+})", last)
    assert hashes is not None
    assert json.loads(hashes[1]) == {
        "model": "0123456789",
        "lora:ink": "a" * 10,
        "lora:wash": "c" * 10,
    }


def test_what_is_not_known_is_left_out() -> None:
    plan = plan_of(model=ModelFile(name="fox-model"), loras=(lora("ink", None, None),))
    assert "ash" not in parameters_text(plan, (64, 64), "1").splitlines()[-1]


def test_what_is_written_is_read_again() -> None:
    plan = plan_of(
        prompt="a red fox, 3d render",
        negative="blurry",
        model=ModelFile(name="my, model: v2", sha256="0" * 64),
        loras=(lora('a "b": {c}', "a" * 64, "b" * 64),),
    )
    found = read_parameters(parameters_text(plan, (64, 32), "1"))
    assert found is not None and found.negative == "blurry"
    assert found.facts["model"] == "my, model: v2" and found.facts["size"] == "64x32"
    assert found.facts["lora hashes"] == f"a b c: {'b' * 12}"


def test_the_hash_of_the_tensors_identifies_no_plan() -> None:
    known, unknown = (
        plan_of(loras=(lora("ink", "a" * 64, tensors),)).digest() for tensors in ("b" * 64, None)
    )
    assert known == unknown


@pytest.mark.parametrize(
    ("model", "clip", "written"),
    [
        (0.8, 0.8, "<lora:ink:0.8>"),
        (0.8, 0.3, "<lora:ink:te=0.3:unet=0.8>"),
        (1.0, 0.0, "<lora:ink:te=0:unet=1>"),
        (-0.5, 1.0, "<lora:ink:te=1:unet=-0.5>"),
    ],
)
def test_both_weights_of_a_lora_are_read_again(model: float, clip: float, written: str) -> None:
    ink = lora("ink", None, None).model_copy(update={"model_weight": model, "clip_weight": clip})
    found = read_parameters(parameters_text(plan_of(loras=(ink,)), (64, 64), "1.0"))
    assert found is not None and found.prompt.endswith(written)
    (named,) = lora_tags(found.prompt)[1]
    assert (named.name, named.model_weight) == ("ink", model)
    assert clip == (named.model_weight if named.clip_weight is None else named.clip_weight)
