"""Print, as JSON, the names of LoRA modules that ComfyUI's LoraLoader knows for SD 1.5 and SDXL.

    cd COMFYUI && COMFYUI_PYTHON comfyui_lora_keys.py

Runs in ComfyUI's environment. The networks have their real shapes and no weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from random_sd15 import UNET as SD15

SDXL = SD15 | {
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": (1, 2, 4),
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
}
LAYERS = {"clip_l": 12, "clip_g": 32}
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")


class Names:
    """Looks like a model to what asks for its tensors' names."""

    def __init__(self, names, config=None) -> None:
        self._names = names
        self.model_config = SimpleNamespace(unet_config=config)

    def state_dict(self):
        return dict.fromkeys(self._names)


def start() -> None:
    """Make ComfyUI's modules importable from the folder that this runs in."""
    sys.argv = [sys.argv[0], "--cpu"]
    sys.path.insert(0, str(Path.cwd()))
    import comfy.options

    comfy.options.enable_args_parsing()


def unets():
    """(family, names for UNet and text encoders -> tensors) of SD 1.5 and SDXL."""
    import comfy.lora
    import torch
    from comfy import ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    for family, config, encoders in (("sd15", SD15, ["clip_l"]), ("sdxl", SDXL, list(LAYERS))):
        with torch.device("meta"):
            unet = UNetModel(**config, operations=ops.disable_weight_init, dtype=torch.float16)
        names = [f"diffusion_model.{name}" for name in unet.state_dict()]
        known = dict(comfy.lora.model_lora_keys_unet(Names(names, config), {}))
        yield family, comfy.lora.model_lora_keys_clip(Names(texts(encoders)), known)


def texts(encoders, t5=0):
    """Names of the tensors of CLIPs, and of a T5 of so many blocks."""
    found = [
        f"{encoder}.transformer.text_model.encoder.layers.{layer}.{part}.weight"
        for encoder in encoders
        for layer in range(LAYERS[encoder])
        for part in (*PARTS, "mlp.fc1", "mlp.fc2")
    ]
    return found + [
        f"t5xxl.transformer.encoder.block.{block}.layer.0.SelfAttention.{part}.weight"
        for block in range(t5)
        for part in "qkvo"
    ]


def main() -> None:
    start()
    print(json.dumps({family: sorted(known) for family, known in unets()}))


if __name__ == "__main__":
    main()
