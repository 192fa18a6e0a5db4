"""The starter as a DrawModel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import language
from ..starter import checkpoint
from ..starter.architecture import (
    LATENT_CHANNELS,
    LATENT_FACTOR,
    SCHEDULER_CONFIG,
    build_autoencoder,
    build_unet,
)
from .loras import kohya_weights
from .model import Conditioning, DrawModel, TextStates


class StarterModel(DrawModel):
    """26 M parameters: on the CPU in float32, on a GPU in float32 too, for it is small."""

    latent_channels = LATENT_CHANNELS
    latent_factor = LATENT_FACTOR
    family = "starter"

    def __init__(self, name: str, device: torch.device, path: Path = checkpoint.STARTER_FILE):
        weights = checkpoint.load(path)
        self.name, self.device, self.dtype = name, device, torch.float32
        self.unet = _filled(build_unet, weights.unet, device)
        self._autoencoder = _filled(build_autoencoder, weights.autoencoder, device)
        self._scale = weights.latent_scale
        self.preview_map = weights.preview
        self.scheduler_config = dict(SCHEDULER_CONFIG)
        modules = (self.unet, self._autoencoder)
        self.size = sum(p.numel() * p.element_size() for m in modules for p in m.parameters())

    def encode(self, prompt: str, negative: str, width: int, height: int) -> Conditioning:
        states = language.encode_weighed([prompt, negative]).to(self.device)
        return Conditioning(states[:1], states[1:])

    def encode_caption(self, caption: str, width: int, height: int) -> TextStates:
        return TextStates(language.encode([caption, ""]).to(self.device)[:1])

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        extra: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        return self.unet(latents, timestep, encoder_hidden_states=text, return_dict=False)[0]

    def to_latents(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._autoencoder.encoder(pixels.to(self.device)) * self._scale

    def to_pixels(self, latents: torch.Tensor) -> torch.Tensor:
        return self._autoencoder.decoder(latents / self._scale).clamp(-1, 1).float()

    def lora_weights(self) -> Mapping[str, torch.Tensor]:
        return kohya_weights(self.unet, {})

    def set_tiled_decode(self, tiled: bool) -> None:
        # 64 x 64 latents are the largest that the starter draws: tiles would save nothing.
        del tiled

    def unload(self) -> None:
        # Nothing is held but the tensors.
        return


def _filled(
    build: Callable[[], Any], weights: dict[str, torch.Tensor], device: torch.device
) -> Any:
    with torch.device("meta"):
        module = build()
    module.load_state_dict(weights, assign=True)
    return module.to(device).eval().requires_grad_(False)
