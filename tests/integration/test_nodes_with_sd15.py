"""Kizy's nodes in a real ComfyUI with a full-size Stable Diffusion 1.5 of random weights.

KIZY_TEST_SD15 names the checkpoint (random_sd15.py makes one); without it these tests are skipped.
What is drawn is noise: that it is drawn at the right size and put back is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file

from tests.integration.conftest import ComfyUIError
from tests.integration.node_graphs import SD15, crowd, detail_graph, detailed, lora_file, node

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FILE = "v1-5-random.safetensors"


@pytest.fixture(scope="module")
def checkpoint(comfyui: RunningComfyUI) -> Iterator[str]:
    """Its name in ComfyUI's lists."""
    if SD15 is None:
        pytest.skip("KIZY_TEST_SD15 names no checkpoint")
    place = comfyui.base / "models" / "checkpoints" / FILE
    place.symlink_to(Path(SD15).resolve())
    yield FILE
    place.unlink()
    body = {"unload_models": True, "free_memory": True}
    requests.post(f"{comfyui.url}/free", json=body, timeout=60).raise_for_status()


def sd15_lora(path: Path) -> Path:
    """Of one layer in each of the UNet's first blocks, with weights that do nothing."""
    tensors: dict[str, torch.Tensor] = {}
    for block in (1, 2):
        layer = f"lora_unet_input_blocks_{block}_1_transformer_blocks_0_attn2_to_k"
        tensors[f"{layer}.lora_up.weight"] = torch.zeros(320, 4)
        tensors[f"{layer}.lora_down.weight"] = torch.zeros(4, 768)
    about = {"modelspec.title": "Copper Etching", "modelspec.description": "copper etchings"}
    save_file(tensors, path, about | {"modelspec.trigger_phrase": "cprtch"})
    return path


def test_a_face_is_drawn_at_the_models_own_size(comfyui: RunningComfyUI, checkpoint: str) -> None:
    picture = crowd(1, 1, 300).filter(ImageFilter.GaussianBlur(2))
    name = comfyui.put_input(picture, "sd15.png")
    graph = detail_graph(name, checkpoint, amount="subtle", steps=4, cfg=1.0)
    result, mask, told = detailed(comfyui, graph)
    assert "1 face found, 1 drawn again" in told
    before = np.asarray(picture)
    assert (result[mask == 0] == before[mask == 0]).all()
    assert (result[mask > 128] != before[mask > 128]).mean() > 0.1


def test_a_part_of_a_mask_is_drawn_with_a_prompt_of_its_own(
    comfyui: RunningComfyUI, checkpoint: str
) -> None:
    picture = crowd(1, 1, 256)
    alpha = Image.new("L", picture.size, 255)
    ImageDraw.Draw(alpha).rectangle((20, 180, 120, 240), fill=0)
    cut = picture.copy()
    cut.putalpha(alpha)
    graph = detail_graph(
        comfyui.put_input(cut, "sd15-mask.png"),
        checkpoint,
        what="everything in the mask",
        mask=["image", 1],
        prompts="a medal",
        amount="subtle",
        steps=4,
        cfg=1.0,
    )
    result, mask, told = detailed(comfyui, graph)
    assert "1 part of the mask drawn again" in told
    assert (result[mask == 0] == np.asarray(picture)[mask == 0]).all()


def test_the_family_is_told_and_a_lora_of_it_is_applied(
    comfyui: RunningComfyUI, checkpoint: str, tmp_path: Path
) -> None:
    comfyui.put_model("loras", sd15_lora(tmp_path / "etching.safetensors"))
    told = picked(comfyui, checkpoint, pinned="etching:0.5")
    assert "The model is Stable Diffusion 1.5" in told
    assert "Copper Etching (strength 0.5)" in told


def test_a_lora_of_the_starter_is_refused(
    comfyui: RunningComfyUI, checkpoint: str, tmp_path: Path
) -> None:
    file = lora_file(tmp_path / "other.safetensors", "Other Ink", "thrnk", "other ink")
    comfyui.put_model("loras", file)
    with pytest.raises(ComfyUIError, match="Other Ink") as caught:
        picked(comfyui, checkpoint, pinned="other")
    assert "lora_other_family" in str(caught.value)
    assert "Other Ink" not in picked(comfyui, checkpoint, prompt="a ship in other ink")


def picked(comfyui: RunningComfyUI, checkpoint: str, prompt: str = "soup", pinned: str = "") -> str:
    """The explanation of Kizy LoRA by Intent; nothing is drawn."""
    graph = {
        "model": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "kizy": node(
            "KizyLoraByIntent",
            model=["model", 0],
            clip=["model", 1],
            prompt=prompt,
            scope="everything",
            how_many=3,
            strength=1.0,
            pinned=pinned,
        ),
        "text": node("PreviewAny", source=["kizy", 3]),
    }
    return comfyui.run(graph)["text"]["text"][0]
