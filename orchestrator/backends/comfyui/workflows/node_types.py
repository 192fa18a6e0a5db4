"""What the node classes that Kizy uses take and give; a test compares it with a real server's.

One line each: `input:KIND ... -> KIND ...`; `?` behind an input that may be left out. COMBO is a
choice from the server's list.
"""

from __future__ import annotations

from dataclasses import dataclass

_TABLE = {
    "CheckpointLoaderSimple": "ckpt_name:COMBO -> MODEL CLIP VAE",
    "UNETLoader": "unet_name:COMBO weight_dtype:COMBO -> MODEL",
    "DualCLIPLoader": "clip_name1:COMBO clip_name2:COMBO type:COMBO -> CLIP",
    "TripleCLIPLoader": "clip_name1:COMBO clip_name2:COMBO clip_name3:COMBO -> CLIP",
    "VAELoader": "vae_name:COMBO -> VAE",
    "LoraLoader": "model:MODEL clip:CLIP lora_name:COMBO strength_model:FLOAT"
    " strength_clip:FLOAT -> MODEL CLIP",
    "CLIPTextEncode": "text:STRING clip:CLIP -> CONDITIONING",
    "ConditioningConcat": "conditioning_to:CONDITIONING conditioning_from:CONDITIONING"
    " -> CONDITIONING",
    "ConditioningZeroOut": "conditioning:CONDITIONING -> CONDITIONING",
    "FluxGuidance": "conditioning:CONDITIONING guidance:FLOAT -> CONDITIONING",
    "FluxKontextImageScale": "image:IMAGE -> IMAGE",
    "ReferenceLatent": "conditioning:CONDITIONING latent?:LATENT -> CONDITIONING",
    "EmptyLatentImage": "width:INT height:INT batch_size:INT -> LATENT",
    "EmptySD3LatentImage": "width:INT height:INT batch_size:INT -> LATENT",
    "KSampler": "model:MODEL seed:INT steps:INT cfg:FLOAT sampler_name:COMBO scheduler:COMBO"
    " positive:CONDITIONING negative:CONDITIONING latent_image:LATENT denoise:FLOAT -> LATENT",
    "LatentUpscale": "samples:LATENT upscale_method:COMBO width:INT height:INT crop:COMBO"
    " -> LATENT",
    "SetLatentNoiseMask": "samples:LATENT mask:MASK -> LATENT",
    "VAEEncode": "pixels:IMAGE vae:VAE -> LATENT",
    "VAEDecode": "samples:LATENT vae:VAE -> IMAGE",
    "VAEDecodeTiled": "samples:LATENT vae:VAE tile_size:INT overlap:INT temporal_size:INT"
    " temporal_overlap:INT -> IMAGE",
    "LoadImage": "image:COMBO -> IMAGE MASK",
    "EmptyImage": "width:INT height:INT batch_size:INT color:INT -> IMAGE",
    "ImageScale": "image:IMAGE upscale_method:COMBO width:INT height:INT crop:COMBO -> IMAGE",
    "ImageBlur": "image:IMAGE blur_radius:INT sigma:FLOAT -> IMAGE",
    "ImageCompositeMasked": "destination:IMAGE source:IMAGE x:INT y:INT resize_source:BOOLEAN"
    " mask?:MASK -> IMAGE",
    "ImageToMask": "image:IMAGE channel:COMBO -> MASK",
    "MaskToImage": "mask:MASK -> IMAGE",
    "ThresholdMask": "mask:MASK value:FLOAT -> MASK",
    "GrowMask": "mask:MASK expand:INT tapered_corners:BOOLEAN -> MASK",
    "MaskComposite": "destination:MASK source:MASK x:INT y:INT operation:COMBO -> MASK",
    "Canny": "image:IMAGE low_threshold:FLOAT high_threshold:FLOAT -> IMAGE",
    "ControlNetLoader": "control_net_name:COMBO -> CONTROL_NET",
    "SetUnionControlNetType": "control_net:CONTROL_NET type:COMBO -> CONTROL_NET",
    "ControlNetApplyAdvanced": "positive:CONDITIONING negative:CONDITIONING"
    " control_net:CONTROL_NET image:IMAGE strength:FLOAT start_percent:FLOAT end_percent:FLOAT"
    " vae?:VAE -> CONDITIONING CONDITIONING",
    "UpscaleModelLoader": "model_name:COMBO -> UPSCALE_MODEL",
    "ImageUpscaleWithModel": "upscale_model:UPSCALE_MODEL image:IMAGE -> IMAGE",
    "PreviewImage": "images:IMAGE ->",
    "SaveImage": "images:IMAGE filename_prefix:STRING ->",
    "KizyLoraByIntent": "model:MODEL clip:CLIP prompt:STRING scope:COMBO how_many:INT"
    " strength:FLOAT pinned?:STRING only?:STRING adult?:BOOLEAN -> MODEL CLIP STRING STRING",
    "KizyTrainLora": "name:STRING about:STRING files:STRING base:COMBO goal:COMBO quality:COMBO"
    " pictures?:IMAGE steps?:INT -> STRING IMAGE IMAGE",
    "KizyDetailer": "image:IMAGE model:MODEL clip:CLIP vae:VAE positive:CONDITIONING"
    " negative:CONDITIONING what:COMBO amount:COMBO seed:INT mask?:MASK prompts?:STRING"
    " steps?:INT cfg?:FLOAT sampler?:COMBO scheduler?:COMBO detector?:COMBO -> IMAGE MASK IMAGE",
    "KizySave": "images:IMAGE filename_prefix:STRING ->",
}

VALUE_KINDS: dict[str, type | tuple[type, ...]] = {
    "INT": int,
    "FLOAT": (int, float),
    "STRING": str,
    "BOOLEAN": bool,
    "COMBO": str,
}
"""Kinds that are given as values; all others come through links."""


@dataclass(frozen=True)
class NodeType:
    """`inputs`: name -> kind, in the node's order; `optional`: names; `outputs`: kinds."""

    inputs: dict[str, str]
    optional: frozenset[str]
    outputs: tuple[str, ...]


def _parse(line: str) -> NodeType:
    taken, _, given = line.partition("->")
    pairs = [part.split(":") for part in taken.split()]
    return NodeType(
        {name.rstrip("?"): kind for name, kind in pairs},
        frozenset(name.rstrip("?") for name, _ in pairs if name.endswith("?")),
        tuple(given.split()),
    )


NODE_TYPES: dict[str, NodeType] = {name: _parse(line) for name, line in _TABLE.items()}
"""Node class -> what it takes and gives."""

MODEL_FOLDERS: dict[tuple[str, str], str] = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name1"): "text_encoders",
    ("TripleCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name3"): "text_encoders",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoader", "lora_name"): "loras",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}
"""(node class, input) -> the folder below `models/` whose files it lists."""
