"""Print, as JSON, how many layers of LoRAs ComfyUI's own loader finds in the models they are for.

    cd COMFYUI && COMFYUI_PYTHON comfyui_lora_reading.py < CASES

CASES is JSON: name -> [family, {tensor: shape}]. Runs in ComfyUI's environment. The networks have
their real shapes and no weights; the LoRAs' tensors take no memory.
"""

from __future__ import annotations

import json
import sys

from comfyui_lora_keys import Names, start, texts, unets

FLUX = {"depth": 19, "depth_single_blocks": 38, "hidden_size": 3072}
MMDIT = {"sd35": (38, ()), "sd35-medium": (24, tuple(range(13)))}


def keys():
    """family -> ComfyUI's names for LoRAs -> tensors."""
    import comfy.lora
    import comfy.model_base
    import torch
    from comfy import ops
    from comfy.ldm.flux.model import Flux
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

    class FluxNames(Names, comfy.model_base.Flux):
        __init__ = Names.__init__
        __setattr__ = object.__setattr__

    class Sd3Names(Names, comfy.model_base.SD3):
        __init__ = Names.__init__
        __setattr__ = object.__setattr__

    found = dict(unets())
    common = {"operations": ops.disable_weight_init, "dtype": torch.float16}
    with torch.device("meta"):
        flux = Flux(
            in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=4096, mlp_ratio=4.0,
            num_heads=24, axes_dim=[16, 56, 56], theta=10000, patch_size=2, qkv_bias=True,
            guidance_embed=True, **txt_ids(), **FLUX, **common,
        )  # fmt: skip
    found["flux1-dev"] = both(comfy.lora, FluxNames(prefixed(flux), FLUX), texts(["clip_l"], 24))
    for family, (depth, dual) in MMDIT.items():
        context = {"in_features": 4096, "out_features": 64 * depth}
        with torch.device("meta"):
            mmdit = MMDiT(
                depth=depth,
                x_block_self_attn_layers=list(dual),
                qk_norm="rms",
                adm_in_channels=2048,
                context_embedder_config={"target": "torch.nn.Linear", "params": context},
                device="meta",
                **common,
            )
        names = Sd3Names(prefixed(mmdit), {"depth": depth})
        found[family] = both(comfy.lora, names, texts(["clip_l", "clip_g"], 24))
    return found


def txt_ids():
    """What newer ComfyUIs want to know of a FLUX model."""
    import inspect

    from comfy.ldm.flux.model import FluxParams

    return (
        {"txt_ids_dims": []} if "txt_ids_dims" in inspect.signature(FluxParams).parameters else {}
    )


def prefixed(network):
    return [f"diffusion_model.{name}" for name in network.state_dict()]


def both(lora, model, encoders):
    return lora.model_lora_keys_clip(Names(encoders), lora.model_lora_keys_unet(model, {}))


def main() -> None:
    cases = json.load(sys.stdin)
    start()
    import comfy.lora
    import comfy.lora_convert
    import torch

    known, counted = keys(), {}
    for name, (family, shapes) in cases.items():
        tensors = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
        tensors = comfy.lora_convert.convert_lora(tensors)
        patches = comfy.lora.load_lora(tensors, dict(known[family]), log_missing=False)
        counted[name] = len(patches)
    print(json.dumps(counted))


if __name__ == "__main__":
    main()
