"""The starter as one safetensors file in ComfyUI's key names, its UNet in 8 bits.

`model.diffusion_model.*`: the UNet (see language/quantized.py for the 8-bit form).
`first_stage_model.taesd_encoder.*`, `...taesd_decoder.*`: the autoencoder, float16.
Metadata: `latent_scale`, and `preview` (9 rows of 3 numbers: latents and 1 to RGB).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core.errors import ModelFileError
from ..core.out_of_memory import is_out_of_memory
from ..language.quantized import dequantize, quantize
from .ldm_names import diffusers_name, ldm_name

if TYPE_CHECKING:
    import torch

# Folders and files are called as ComfyUI's loaders shall list them: see nodes/offers.py.
WEIGHTS = Path(__file__).parent / "weights"
STARTER_FILE = WEIGHTS / "checkpoints" / "kizy-starter.safetensors"
ENLARGER_FILE = WEIGHTS / "upscale_models" / "kizy-enlarger-x4.safetensors"

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."


@dataclass(frozen=True)
class StarterWeights:
    """State dicts in diffusers' names, float32. `preview`: (9, 3), for linear previews."""

    unet: dict[str, torch.Tensor]
    autoencoder: dict[str, torch.Tensor]
    latent_scale: float
    preview: list[list[float]]


@dataclass(frozen=True)
class LatentFacts:
    """What the file's metadata says of the latents. `preview`: as in StarterWeights."""

    scale: float
    preview: list[list[float]]


def pack(weights: StarterWeights) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of the file."""
    import torch

    unet = {UNET_PREFIX + _ldm_key(key): value for key, value in weights.unet.items()}
    packed = quantize(unet)
    for key, value in weights.autoencoder.items():
        packed[VAE_PREFIX + _taesd_key(key)] = value.to(torch.float16).contiguous()
    metadata = {
        "modelspec.architecture": "kizy-starter",
        "modelspec.title": "Kizy starter",
        "modelspec.license": "Apache-2.0",
        "modelspec.prediction_type": "v",
        "latent_scale": repr(weights.latent_scale),
        "preview": json.dumps(weights.preview),
    }
    return packed, metadata


def load(path: Path = STARTER_FILE) -> StarterWeights:
    """Read the file. Raises ModelFileError `model_file_damaged`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = _latent_facts(file.metadata())
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        unet = dequantize({k: v for k, v in tensors.items() if k.startswith(UNET_PREFIX)})
        unet = {_diffusers_key(k.removeprefix(UNET_PREFIX)): v for k, v in unet.items()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelFileError("model_file_damaged", f"{path.name} cannot be read.") from error
    return StarterWeights(
        unet=unet,
        autoencoder={
            _autoencoder_key(key.removeprefix(VAE_PREFIX)): value.float()
            for key, value in tensors.items()
            if key.startswith(VAE_PREFIX)
        },
        latent_scale=facts.scale,
        preview=facts.preview,
    )


def latent_facts(path: Path = STARTER_FILE) -> LatentFacts:
    """Read the metadata alone. Raises ModelFileError `model_file_damaged`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return _latent_facts(file.metadata())
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelFileError("model_file_damaged", f"{path.name} cannot be read.") from error


def part_of(path: Path, part: Literal["unet", "autoencoder"]) -> dict[str, torch.Tensor]:
    """State dict of one part, float32: of a whole starter's file, or of that part's own file."""
    from safetensors.torch import load_file

    if _is_whole(path):
        weights = load(path)
        return weights.unet if part == "unet" else weights.autoencoder
    return {key: value.float() for key, value in load_file(path).items()}


def _latent_facts(metadata: dict[str, str] | None) -> LatentFacts:
    values = metadata or {}
    return LatentFacts(float(values["latent_scale"]), json.loads(values["preview"]))


def _is_whole(path: Path) -> bool:
    """Whether a file holds a whole starter, as `pack` makes it."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return "latent_scale" in (file.metadata() or {})


def _ldm_key(key: str) -> str:
    layer, _, kind = key.rpartition(".")
    return f"{ldm_name(layer)}.{kind}"


def _diffusers_key(key: str) -> str:
    layer, _, kind = key.rpartition(".")
    return f"{diffusers_name(layer)}.{kind}"


def _taesd_key(key: str) -> str:
    part, _, rest = key.partition(".layers.")
    index, _, tail = rest.partition(".")
    # ComfyUI's decoder has its clamp as layer 0; diffusers' has none.
    shifted = int(index) + (1 if part == "decoder" else 0)
    return f"taesd_{part}.{shifted}.{tail}"


def _autoencoder_key(key: str) -> str:
    found = re.fullmatch(r"taesd_(encoder|decoder)\.(\d+)\.(.+)", key)
    if found is None:
        raise ModelFileError("model_file_damaged", f"The starter's file holds an unknown {key}.")
    part, index, tail = found.groups()
    return f"{part}.layers.{int(index) - (1 if part == 'decoder' else 0)}.{tail}"
