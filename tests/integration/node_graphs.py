"""Graphs with Kizy's nodes in ComfyUI's API form, and what they are fed with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from kizy.drawing.starter_model import StarterModel
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from tests.unit.drawing.builders import CPU, lora_pairs

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

CHECKPOINT = "kizy-starter.safetensors"
PORTRAIT = Path(__file__).parents[1] / "data" / "astronaut.jpg"
"""Of NASA, in the public domain; 256 x 256 pixels, one face."""

# Read now: no test sees variables that begin with KIZY_.
SD15 = os.environ.get("KIZY_TEST_SD15")


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def lora_file(path: Path, name: str, trigger: str, about: str, **changes: Any) -> Path:
    """A LoRA of random weights for the starter's attention, described as trainers describe it."""
    weights = StarterModel("starter", CPU).lora_weights()
    chosen = {key: value for key, value in weights.items() if "attn2" in key}
    tensors: dict[str, torch.Tensor] = {}
    for key, (up, down) in lora_pairs(chosen, size=0.05).items():
        tensors[f"{key}.lora_up.weight"] = up.contiguous()
        tensors[f"{key}.lora_down.weight"] = down.contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(2.0)
    metadata = {
        "modelspec.title": name,
        "modelspec.description": about,
        "modelspec.trigger_phrase": trigger,
        "modelspec.architecture": "kizy-starter/lora",
    }
    save_file(tensors | changes, path, metadata)
    return path


def smiley(size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), "#4a90d9")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((size * 0.1, size * 0.1, size * 0.9, size * 0.9), fill="#ffcc33")
    for x in (0.36, 0.64):
        pen.ellipse((size * (x - 0.06), size * 0.34, size * (x + 0.06), size * 0.5), fill="#40300a")
    pen.arc((size * 0.3, size * 0.4, size * 0.7, size * 0.75), 20, 160, "#40300a", size // 20)
    return picture


def crowd(columns: int, rows: int, side: int) -> Image.Image:
    """The portrait that often, each `side` pixels wide, half of them mirrored."""
    with Image.open(PORTRAIT) as opened:
        one = opened.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    other = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = Image.new("RGB", (columns * side, rows * side))
    for at in range(columns * rows):
        left, top = at % columns * side, at // columns * side
        picture.paste(other if (at + at // columns) % 2 else one, (left, top))
    return picture


def detail_graph(image: str, checkpoint: str = CHECKPOINT, **inputs: Any) -> dict[str, Any]:
    """A picture whose parts are drawn again; saved without loss."""
    given = {"what": "faces", "amount": "normal", "seed": 3, "steps": 4} | inputs
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "text": node("CLIPTextEncode", clip=["model", 1], text="a smiling face"),
        "image": node("LoadImage", image=image),
        "detail": node(
            "KizyDetailer",
            image=["image", 0],
            model=["model", 0],
            clip=["model", 1],
            vae=["model", 2],
            positive=["text", 0],
            negative=["text", 0],
            **given,
        ),
        "saved": node("SaveImage", images=["detail", 0], filename_prefix="detail"),
        "mask": node("MaskToImage", mask=["detail", 1]),
        "mask_saved": node("SaveImage", images=["mask", 0], filename_prefix="mask"),
        "found": node("PreviewImage", images=["detail", 2]),
    }


def detailed(
    comfyui: RunningComfyUI, graph: Mapping[str, Mapping[str, Any]]
) -> tuple[np.ndarray, np.ndarray, str]:
    """The picture, the mask of what may differ, and what the node says."""
    outputs = comfyui.run(graph)
    arrays = []
    for key in ("saved", "mask_saved"):
        (file,) = outputs[key]["images"]
        with Image.open(BytesIO(comfyui.get("/view", **file).content)) as picture:
            arrays.append(np.asarray(picture.convert("RGB")))
    return arrays[0], arrays[1][..., 0], outputs["detail"]["text"][0]
