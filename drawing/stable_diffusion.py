"""Stable Diffusion 1.5 and SDXL from a diffusers folder, as a DrawModel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.errors import ModelFileError
from ..core.out_of_memory import is_out_of_memory
from .clip_text import last_layer, layer_before
from .loras import kohya_weights
from .memory import OWN_MEMORY, Placement
from .model import Conditioning, DrawModel, TextStates

# Linear latents-to-RGB maps in 0 to 1, as ComfyUI's latent_formats has them for -1 to 1.
_PREVIEW = {
    "sd15": [
        [0.3512, 0.2297, 0.3227],
        [0.3250, 0.4974, 0.2350],
        [-0.2829, 0.1762, 0.2721],
        [-0.2120, -0.2616, -0.7177],
        [0.0, 0.0, 0.0],
    ],
    "sdxl": [
        [0.3651, 0.4232, 0.4341],
        [-0.2533, -0.0042, 0.1068],
        [0.1076, 0.1111, -0.0362],
        [-0.3165, -0.2492, -0.2188],
        [0.1084, -0.0175, -0.0011],
    ],
}

TILES = 2
"""Tiles along each side of a picture of the native size, where memory is short."""
MIN_TILE = 64
"""Pixels along a tile's side."""


class StableDiffusionModel(DrawModel):
    """Weights from safetensors only; nothing is downloaded."""

    latent_channels = 4
    latent_factor = 8

    def __init__(
        self, name: str, family: str, folder: Path, placement: Placement, *, unet: bool = True
    ) -> None:
        """`unet`: False leaves the UNet without weights until `read_unet`."""
        self.name, self.family = name, family
        self.device, self.dtype = placement.device, placement.dtype
        self._xl = family == "sdxl"
        self._folder = folder
        self.pipe = _load(folder, xl=self._xl, dtype=self.dtype, unet=unet)
        self.unet = self.pipe.unet if unet else _shapes_of_unet(folder, self.dtype)
        self.scheduler_config = dict(self.pipe.scheduler.config)
        self._native_tile = int(self.pipe.vae.tile_sample_min_size)
        preview = _PREVIEW["sdxl" if self._xl else "sd15"]
        self.preview_map = [
            [value / 2 + (0.5 if row == 4 else 0.0) for value in channel]
            for row, channel in enumerate(preview)
        ]
        modules = [m for m in self.pipe.components.values() if isinstance(m, torch.nn.Module)]
        modules += [] if unet else [self.unet]
        self.size = sum(p.numel() * p.element_size() for m in modules for p in m.parameters())
        for module in modules:
            module.eval().requires_grad_(False)
        self._offloaded = False
        # What does not fit must not be moved there even once.
        if not (placement.offload and self.set_offload()):
            self.pipe.to(self.device)

    def read_unet(self) -> None:
        if self.pipe.unet is None:
            self.unet = _load_unet(self._folder, self.dtype)
            self.unet.eval().requires_grad_(False).to(self.device)
            self.pipe.unet = self.unet

    def encode(self, prompt: str, negative: str, width: int, height: int) -> Conditioning:
        positive = self._encoded(prompt, width, height)
        unconditional = self._encoded(negative, width, height)
        return Conditioning(
            positive.states, unconditional.states, positive.extra, unconditional.extra
        )

    def _encoded(self, prompt: str, width: int, height: int) -> TextStates:
        pipe = self.pipe
        with torch.inference_mode():
            if not self._xl:
                return TextStates(
                    last_layer(prompt, pipe.tokenizer, pipe.text_encoder, self.device)
                )
            first, _ = layer_before(prompt, pipe.tokenizer, pipe.text_encoder, self.device)
            other, pooled = layer_before(prompt, pipe.tokenizer_2, pipe.text_encoder_2, self.device)
            # Both read the same text, but their tokenizers may be of different vocabularies.
            length = min(first.shape[1], other.shape[1])
            states = torch.cat([first[:, :length], other[:, :length]], -1)
            return self._sized(states, pooled, width, height)

    def _sized(
        self, states: torch.Tensor, pooled: torch.Tensor, width: int, height: int
    ) -> TextStates:
        # SDXL's size conditioning: original size, crop corner, target size (paper, section 2.2).
        ids = torch.tensor([[height, width, 0, 0, height, width]], device=self.device)
        return TextStates(states, {"text_embeds": pooled, "time_ids": ids.to(self.dtype)})

    def encode_caption(self, caption: str, width: int, height: int) -> TextStates:
        with torch.inference_mode():
            if not self._xl:
                return TextStates(self.pipe.encode_prompt(caption, self.device, 1, False)[0])
            states, _, pooled, _ = self.pipe.encode_prompt(
                caption, device=self.device, do_classifier_free_guidance=False
            )
            return self._sized(states, pooled, width, height)

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        extra: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        conditions: dict[str, Any] = {"added_cond_kwargs": dict(extra)} if extra else {}
        return self.pipe.unet(
            latents, timestep, encoder_hidden_states=text, return_dict=False, **conditions
        )[0]

    def to_latents(self, pixels: torch.Tensor) -> torch.Tensor:
        vae = self._vae()
        with torch.inference_mode():
            encoded = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        return (encoded * vae.config.scaling_factor).to(self.dtype)

    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        vae = self._vae()
        with torch.inference_mode():
            scaled = latents.to(vae.dtype) / vae.config.scaling_factor
            return vae.decode(scaled, return_dict=False)[0].clamp(-1, 1).float()

    def lora_weights(self) -> Mapping[str, torch.Tensor]:
        pipe = self.pipe
        if self._xl:
            encoders = {"lora_te1_": pipe.text_encoder, "lora_te2_": pipe.text_encoder_2}
        else:
            encoders = {"lora_te_": pipe.text_encoder}
        return kohya_weights(self.unet, encoders)

    def set_tiled_decode(self, tiled: bool) -> None:
        vae = self.pipe.vae
        # diffusers' tiles are as large as what the autoencoder was trained on: the native size.
        side = max(MIN_TILE, self._native_tile // TILES) if tiled else self._native_tile
        vae.tile_sample_min_size = side
        vae.tile_latent_min_size = side // self.latent_factor
        if tiled:
            vae.enable_tiling()
        else:
            vae.disable_tiling()

    def set_offload(self) -> bool:
        if self.device.type not in OWN_MEMORY or self._offloaded:
            return False
        self.pipe.enable_model_cpu_offload(device=self.device)
        self._offloaded = True
        return True

    def unload(self) -> None:
        self.pipe.maybe_free_model_hooks()

    def _vae(self) -> Any:
        vae = self.pipe.vae
        # SDXL's own autoencoder overflows in half precision; its config says so.
        if vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False) and self._xl:
            vae.to(torch.float32)
        return vae


def _has_plain_weights(part: Path) -> bool:
    return any(".fp16." not in file.name for file in part.glob("*.safetensors"))


def _load(folder: Path, *, xl: bool, dtype: torch.dtype, unet: bool) -> Any:
    import diffusers
    import transformers
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    # Their bars would cut through Kizy's own.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    options = _options(folder, dtype)
    if not unet:
        options["unet"] = None
    with _as_damaged(folder):
        if xl:
            return StableDiffusionXLPipeline.from_pretrained(str(folder), **options)
        return StableDiffusionPipeline.from_pretrained(
            str(folder),
            safety_checker=None,
            requires_safety_checker=False,
            feature_extractor=None,
            **options,
        )


def _load_unet(folder: Path, dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel

    with _as_damaged(folder):
        return UNet2DConditionModel.from_pretrained(
            str(folder), subfolder="unet", **_options(folder, dtype)
        )


def _shapes_of_unet(folder: Path, dtype: torch.dtype) -> Any:
    """The UNet without weights: they take no memory."""
    from diffusers import UNet2DConditionModel

    with _as_damaged(folder), torch.device("meta"):
        config: Any = UNet2DConditionModel.load_config(
            str(folder), subfolder="unet", local_files_only=True
        )
        unet: Any = UNet2DConditionModel.from_config(config)
    return unet.to(dtype)


def _options(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    options: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "local_files_only": True,
    }
    if not _has_plain_weights(folder / "unet"):
        options["variant"] = "fp16"
    return options


@contextlib.contextmanager
def _as_damaged(folder: Path) -> Iterator[None]:
    """Raises ModelFileError `model_file_damaged` for what diffusers cannot load."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        message = f"The model in {folder} cannot be loaded: {str(error).splitlines()[0][:200]}"
        raise ModelFileError("model_file_damaged", message) from error
