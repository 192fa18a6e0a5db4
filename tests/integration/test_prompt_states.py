"""Prompts mean to the embedded engine what ComfyUI's own code makes of them, state by state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kizy.drawing.clip_text import last_layer, layer_before
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

# Read now: no test sees variables that begin with KIZY_.
COMFYUI = os.environ.get("KIZY_TEST_COMFYUI", "")
PYTHON = os.environ.get("KIZY_TEST_COMFYUI_PYTHON", sys.executable)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not COMFYUI, reason="KIZY_TEST_COMFYUI names no ComfyUI"),
]

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 49408,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 64,
    "eos_token_id": 49407,
    "bos_token_id": 49406,
}
# Without Chinese or Japanese, which the tokenizers of transformers 4 and 5 part differently.
PROMPTS = [
    "a red fox",
    "",
    "a (red:1.4) fox, (snow), ((tree:0.6)), (a (b) c)",
    r"a fox \(animal\), [snow], closed) (fox:1.2)",
    ", ".join(["a red fox in the deep snow near an old tree"] * 10) + ", (flat icon:1.3)",
    "(one two three:0.8), " * 40,
    "(a fox:-0.5), (b:0), (open",
    "(über façade:1.2), don't 1999",
]


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModelWithProjection:
    torch.manual_seed(0)
    made = CLIPTextModelWithProjection(CLIPTextConfig(**SHAPE))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.fixture(scope="module")
def theirs(
    encoder: CLIPTextModelWithProjection, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("states")
    (folder / "config.json").write_text(json.dumps(SHAPE))
    (folder / "prompts.json").write_text(json.dumps(PROMPTS))
    save_file(encoder.state_dict(), folder / "weights.safetensors")
    names = ("config.json", "weights.safetensors", "prompts.json", "states.safetensors")
    script = Path(__file__).with_name("comfyui_prompt_states.py").resolve()
    command = [PYTHON, str(script), *(str(folder / name) for name in names)]
    subprocess.run(command, cwd=COMFYUI, check=True, timeout=300, capture_output=True)
    return load_file(folder / "states.safetensors")


def tokenizer(pad: str) -> CLIPTokenizer:
    words = str(Path(COMFYUI, "comfy", "sd1_tokenizer"))
    return CLIPTokenizer.from_pretrained(words, model_max_length=77, pad_token=pad)


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_sd15_reads_a_prompt_as_comfyui_does(
    encoder: CLIPTextModelWithProjection, theirs: dict[str, torch.Tensor], number: int
) -> None:
    def last(ids: torch.Tensor) -> tuple[torch.Tensor]:
        return (encoder(ids).last_hidden_state,)

    last.config = encoder.config  # type: ignore[attr-defined]
    with torch.inference_mode():
        ours = last_layer(PROMPTS[number], tokenizer("<|endoftext|>"), last, CPU)
    torch.testing.assert_close(ours, theirs[f"last.{number}"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_sdxl_reads_a_prompt_as_comfyui_does(
    encoder: CLIPTextModelWithProjection, theirs: dict[str, torch.Tensor], number: int
) -> None:
    with torch.inference_mode():
        first, _ = layer_before(PROMPTS[number], tokenizer("<|endoftext|>"), encoder, CPU)
        other, pooled = layer_before(PROMPTS[number], tokenizer("!"), encoder, CPU)
    states = torch.cat([first, other], -1)
    torch.testing.assert_close(states, theirs[f"hidden.{number}"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, theirs[f"pooled.{number}"], atol=1e-4, rtol=1e-4)
