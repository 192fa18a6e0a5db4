"""Networks of the real shapes of Stable Diffusion 1.5 and SDXL, without their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from kizy.trainer.builtin.adapter import Adapter
from kizy.trainer.lora_file import Pair, Part

from tests.unit.trainer.run_builders import training_plan

# unet/config.json and text_encoder*/config.json of stable-diffusion-v1-5 and
# stable-diffusion-xl-base-1.0.
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
CLIP_L = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12,
}  # fmt: skip
CLIP_G = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
    "num_attention_heads": 20,
}  # fmt: skip
ENCODERS: dict[str, dict[Part, dict[str, int]]] = {
    "sd15": {"text_encoder": CLIP_L},
    "sdxl": {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G},
}
MODULES = {"sd15": 264, "sdxl": 986}
"""As many as sd-scripts trains: 192 and 722 of the UNet, 6 a layer of the text encoders."""


def trained_pairs(family: str) -> dict[tuple[Part, str], Pair]:
    """What a training of UNet and text encoders changes, as matrices without values."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        networks: dict[Part, torch.nn.Module] = {"unet": UNet2DConditionModel(**UNETS[family])}
        for part, config in ENCODERS[family].items():
            networks[part] = CLIPTextModel(CLIPTextConfig(**config))  # pyright: ignore
        plan = training_plan(Path(family), text_encoder_learning_rate=1e-4)
        return Adapter(networks, plan).pairs()
