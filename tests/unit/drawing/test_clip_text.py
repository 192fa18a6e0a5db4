"""Prompts of SD 1.5 and SDXL in this process: as ComfyUI encodes them, and as before without any
syntax.
"""

from __future__ import annotations

import pytest
import torch
from kizy.drawing import memory
from kizy.drawing.clip_text import tokens_of
from kizy.drawing.model import Conditioning
from kizy.drawing.stable_diffusion import StableDiffusionModel

from tests.fakes import comfyui_text
from tests.fakes.diffusers_folders import sd15_folder, sdxl_folder

from .builders import CPU

PLACE = memory.Placement(CPU, torch.float32, offload=False)
LONG = ", ".join(["a red fox", "in the snow", "near an old tree"] * 9)
"""Well over 77 letters, which are the tokens of the tiny models."""

WEIGHED = [
    "a (fox:1.3)",
    "(a (red) fox:0.4), [tree]",
    r"a fox \(animal\), (b:-0.5)",
    f"(one two), {LONG}",
    f"{LONG}, (flat icon:1.4)",
    "a" * 72 + " (cat:1.2)",
]


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionModel:
    folder = sd15_folder(tmp_path_factory.mktemp("sd15") / "tiny")
    return StableDiffusionModel("tiny", "sd15", folder, PLACE)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionModel:
    folder = sdxl_folder(tmp_path_factory.mktemp("sdxl") / "tiny")
    return StableDiffusionModel("tiny", "sdxl", folder, PLACE)


def said(model: StableDiffusionModel, prompt: str, negative: str = "") -> Conditioning:
    return model.encode(prompt, negative, 64, 64)


def told_plainly(model: StableDiffusionModel, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """ComfyUI's formula with the model's own encoders: (states, what SDXL pools)."""
    pipe = model.pipe
    pairs = [(pipe.tokenizer, pipe.text_encoder)]
    if hasattr(pipe, "text_encoder_2"):
        pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
    columns, pooled = [], torch.zeros(0)
    for tokenizer, encoder in pairs:
        marks = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)

        def encode(ids: list[list[int]], encoder=encoder) -> tuple[torch.Tensor, torch.Tensor]:
            with torch.inference_mode():
                out = encoder(torch.tensor(ids), output_hidden_states=True)
            return (out[0] if len(pairs) == 1 else out.hidden_states[-2]), out[0]

        rows = comfyui_text.token_rows(
            prompt, lambda text, t=tokenizer: tokens_of(text, t), *marks, 77
        )
        states, pooled = comfyui_text.encoded(rows, encode, *marks)
        columns.append(states)
    return torch.cat(columns, -1), pooled


@pytest.mark.parametrize("prompt", ["a red fox", "", "[fox], {a|b}", "a cat. " * 8])
def test_a_prompt_without_syntax_means_what_diffusers_makes_of_it(
    sd15: StableDiffusionModel, prompt: str
) -> None:
    with torch.inference_mode():
        positive, negative = sd15.pipe.encode_prompt(prompt, CPU, 1, True, "b")
    found = said(sd15, prompt, "b")
    assert torch.equal(found.positive, positive) and torch.equal(found.negative, negative)


@pytest.mark.parametrize("prompt", ["a red fox", "", "a cat. " * 8])
def test_sdxl_without_syntax_means_what_diffusers_makes_of_it(
    sdxl: StableDiffusionModel, prompt: str
) -> None:
    with torch.inference_mode():
        parts = sdxl.pipe.encode_prompt(
            prompt, device=CPU, do_classifier_free_guidance=True, negative_prompt="b"
        )
    found = said(sdxl, prompt, "b")
    pooled = (found.positive_extra["text_embeds"], found.negative_extra["text_embeds"])
    for ours, theirs in zip((found.positive, found.negative, *pooled), parts, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("prompt", [*WEIGHED, LONG])
def test_sd15_reads_weights_and_long_prompts_by_comfyuis_formula(
    sd15: StableDiffusionModel, prompt: str
) -> None:
    states, _ = told_plainly(sd15, prompt)
    found = said(sd15, "a tree", prompt)
    torch.testing.assert_close(found.negative, states, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prompt", [*WEIGHED, LONG])
def test_sdxl_reads_weights_with_both_encoders_and_pools_the_first_row(
    sdxl: StableDiffusionModel, prompt: str
) -> None:
    states, pooled = told_plainly(sdxl, prompt)
    found = said(sdxl, prompt)
    torch.testing.assert_close(found.positive, states, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.positive_extra["text_embeds"], pooled, atol=1e-5, rtol=0)


def test_what_stands_behind_the_77th_token_counts(sd15: StableDiffusionModel) -> None:
    cartoon, flat = said(sd15, f"{LONG}, cartoon"), said(sd15, f"{LONG}, flat")
    assert cartoon.positive.shape == flat.positive.shape
    assert not torch.allclose(cartoon.positive, flat.positive)


def test_an_escaped_parenthesis_is_a_letter(sd15: StableDiffusionModel) -> None:
    letters, _ = told_plainly(sd15, r"a \(fox\)")
    weighed, escaped = said(sd15, "a (fox)").positive, said(sd15, r"a \(fox\)").positive
    torch.testing.assert_close(escaped, letters, atol=1e-5, rtol=0)
    assert not torch.allclose(weighed, escaped)


def test_parts_are_encoded_each_by_itself_and_follow_one_another(
    sdxl: StableDiffusionModel,
) -> None:
    whole = said(sdxl, "a (fox:1.2) BREAK a tree")
    first, second = said(sdxl, "a (fox:1.2)"), said(sdxl, "a tree")
    assert torch.equal(whole.positive, torch.cat([first.positive, second.positive], 1))
    assert torch.equal(whole.positive_extra["text_embeds"], first.positive_extra["text_embeds"])


def test_a_caption_is_letters_and_of_one_length(sd15: StableDiffusionModel) -> None:
    weighed, plain = sd15.encode_caption("a (fox:1.3)", 64, 64), said(sd15, "a fox")
    assert weighed.states.shape == plain.positive.shape
    letters = said(sd15, r"a \(fox:1.3\)").positive
    torch.testing.assert_close(weighed.states, letters, atol=1e-6, rtol=0)
    assert sd15.encode_caption(LONG, 64, 64).states.shape == plain.positive.shape
