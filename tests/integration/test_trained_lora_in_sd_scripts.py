"""A LoRA of the built-in trainer, of real shapes: sd-scripts finds a place for every tensor.

| variable | what it names |
|---|---|
| KIZY_TEST_SD_SCRIPTS | sd-scripts' folder; without it these tests are skipped |
| KIZY_TEST_SD_SCRIPTS_PYTHON | the interpreter that has what sd-scripts needs |
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from kizy.trainer.best import Best
from kizy.trainer.lora_file import Pair, kohya_tensors, write
from kizy.trainer.metadata import Facts, metadata

from tests.fakes.training import data_set
from tests.unit.trainer.run_builders import training_plan

from .full_size import MODULES, trained_pairs

FOLDER = os.environ.get("KIZY_TEST_SD_SCRIPTS")
PYTHON = os.environ.get("KIZY_TEST_SD_SCRIPTS_PYTHON", "python")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="KIZY_TEST_SD_SCRIPTS names no folder"),
]

LOAD = """
import sys
import torch
from transformers import CLIPTextConfig, CLIPTextModel
from library import original_unet, sdxl_original_unet
from networks import lora
family, file = sys.argv[1:]
def clip(hidden, layers, heads):
    return CLIPTextModel(CLIPTextConfig(hidden_size=hidden, intermediate_size=4 * hidden,
                                        num_hidden_layers=layers, num_attention_heads=heads))
with torch.device("meta"):
    if family == "sdxl":
        unet = sdxl_original_unet.SdxlUNet2DConditionModel()
        text = [clip(768, 12, 12), clip(1280, 32, 20)]
    else:
        unet, text = original_unet.UNet2DConditionModel(64, 8, 768), clip(768, 12, 12)
network, weights = lora.create_network_from_weights(1.0, file, None, text, unet)
network.apply_to(text, unet, True, True)
print(network.load_state_dict(weights, True), len(network.unet_loras + network.text_encoder_loras))
"""


def sd_scripts(*words: str) -> str:
    assert FOLDER is not None
    done = subprocess.run(
        [PYTHON, *words],
        env={**os.environ, "PYTHONPATH": FOLDER, "COLUMNS": "200"},
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def lora_of(family: str, file: Path) -> Path:
    """As the built-in trainer writes it, with random matrices."""
    torch.manual_seed(0)
    pairs = {
        key: Pair(torch.randn(pair.down.shape), 1e-3 * torch.randn(pair.up.shape))
        for key, pair in trained_pairs(family).items()
    }
    plan = training_plan(Path(family))
    facts = Facts(
        started="2026-01-01", hash="00", modules=len(pairs), best=Best(6, "it is the last one")
    )
    tensors = kohya_tensors(pairs, family, plan.alpha, torch.float16)
    write(file, tensors, metadata(plan, data_set(), facts))
    return file


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_its_network_takes_every_tensor(family: str, tmp_path: Path) -> None:
    file = lora_of(family, tmp_path / "trained.safetensors")
    said = sd_scripts("-c", LOAD, family, str(file))
    assert f"<All keys matched successfully> {MODULES[family]}" in said


def test_its_tools_read_weights_rank_and_metadata(tmp_path: Path) -> None:
    file = lora_of("sd15", tmp_path / "trained.safetensors")
    checked = sd_scripts("networks/check_lora_weights.py", str(file))
    assert f"number of LoRA modules: {2 * MODULES['sd15']}" in checked
    merged = tmp_path / "merged.safetensors"
    words = ["--models", str(file), "--ratios", "0.5", "--save_to", str(merged)]
    said = sd_scripts("networks/merge_lora.py", *words)
    assert "dim: [4], alpha: [2.0]" in said
    shown = sd_scripts("tools/show_metadata.py", "--model", str(file))
    assert '"ss_network_dim": "4"' in shown and "mimicat" in shown
