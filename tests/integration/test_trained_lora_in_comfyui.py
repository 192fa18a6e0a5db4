"""The names in a trained LoRA: ComfyUI's LoraLoader knows every single one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from kizy.trainer.builtin.adapter import Adapter
from kizy.trainer.lora_file import Pair, kohya_module, kohya_tensors, write

from tests.unit.trainer.run_builders import training_plan

from .conftest import FOLDER, PYTHON
from .full_size import MODULES, trained_pairs

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def known() -> dict[str, list[str]]:
    if FOLDER is None:
        pytest.skip("KIZY_TEST_COMFYUI names no folder of a ComfyUI")
    script = Path(__file__).with_name("comfyui_lora_keys.py")
    done = subprocess.run(
        [PYTHON, str(script)], cwd=FOLDER, capture_output=True, text=True, check=True, timeout=300
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_module_of_a_real_model_is_known_to_comfyui(
    known: dict[str, list[str]], family: str
) -> None:
    names = {kohya_module(part, module, family) for part, module in trained_pairs(family)}
    assert names - set(known[family]) == set()
    assert len(names) == MODULES[family]


def test_the_starters_lora_loads_without_a_key_left_over(
    comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    from kizy.starter.architecture import build_unet

    plan = training_plan(None)
    pairs = {
        key: Pair(pair.down, torch.full_like(pair.up, 1e-3))
        for key, pair in Adapter({"unet": build_unet()}, plan).pairs().items()
    }
    file = tmp_path / "trained.safetensors"
    write(file, kohya_tensors(pairs, "starter", plan.alpha, torch.float32), {})
    before = len(comfyui.log.read_text(errors="replace"))
    graph = lora_graph(comfyui.put_model("loras", file))
    assert len(comfyui.pictures(graph)) == 1
    assert "lora key not loaded" not in comfyui.log.read_text(errors="replace")[before:]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def lora_graph(lora: str | None) -> dict[str, Any]:
    """A small picture of the starter, with a LoRA."""
    graph = {
        "model": node("CheckpointLoaderSimple", ckpt_name="kizy-starter.safetensors"),
        "lora": node(
            "LoraLoader",
            model=["model", 0],
            clip=["model", 1],
            lora_name=lora,
            strength_model=1.0,
            strength_clip=1.0,
        ),
        "text": node("CLIPTextEncode", clip=["lora", 1], text="a fox"),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampler": node(
            "KSampler",
            model=["lora", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["latent", 0],
            seed=1,
            steps=1,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "pixels": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "saved": node("SaveImage", images=["pixels", 0], filename_prefix="kizy"),
    }
    if lora is None:
        del graph["lora"]
        graph["text"]["inputs"]["clip"] = ["model", 1]
        graph["sampler"]["inputs"]["model"] = ["model", 0]
    return graph
