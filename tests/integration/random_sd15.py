"""Write a full-size Stable Diffusion 1.5 checkpoint with random weights, for tests of templates.

    cd COMFYUI && COMFYUI_PYTHON random_sd15.py TARGET.safetensors

Runs in ComfyUI's environment: its own networks say which tensors such a file has. The weights are
small, so that sampling stays finite.
"""

from __future__ import annotations

import sys
from pathlib import Path

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": (1, 2, 4, 4),
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "context_dim": 768,
    "legacy": False,
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def main(target: Path) -> None:
    sys.argv = [sys.argv[0], "--cpu"]
    sys.path.insert(0, str(Path.cwd()))
    import comfy.options

    comfy.options.enable_args_parsing()
    import torch
    from comfy import ops
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNetModel(**UNET, operations=ops.disable_weight_init, dtype=torch.float16)
        vae = AutoencoderKL(ddconfig=VAE, embed_dim=4)
        # OpenAI's CLIP ViT-L/14, text side
        shape = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
        clip = CLIPTextModel(shape)
    parts = {
        "model.diffusion_model.": unet.state_dict(),
        "first_stage_model.": vae.state_dict(),
        "cond_stage_model.transformer.": clip.state_dict(),
    }
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for prefix, state in parts.items():
        for key, value in state.items():
            if key.endswith("position_ids"):
                continue
            if value.dim() == 1:
                filled = torch.ones if key.endswith("weight") else torch.zeros
                tensors[prefix + key] = filled(value.shape, dtype=torch.float16)
            else:
                size = value[0].numel() ** -0.5
                drawn = torch.randn(value.shape, generator=generator) * size
                tensors[prefix + key] = drawn.half()
    temporary = target.with_name(target.name + ".part")
    save_file(tensors, temporary)
    temporary.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
