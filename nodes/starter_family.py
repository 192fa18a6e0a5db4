"""The starter as a model family of ComfyUI: then ComfyUI's own loaders and samplers take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..language.quantized import dequantize
from ..starter.architecture import LATENT_CHANNELS
from ..starter.checkpoint import latent_facts
from ._host import BASE, ClipTarget, LatentFormat, ModelType
from .starter_facts import HEADS, RECOGNISED, SAMPLING, preview_factors
from .starter_text import StarterText, StarterTokenizer, text_weights

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]


class KizyStarterLatents(LatentFormat):
    """Eight channels, one scale, and the map for previews, as the starter's file has them."""

    latent_channels = LATENT_CHANNELS

    def __init__(self) -> None:
        facts = latent_facts()
        self.scale_factor = facts.scale
        self.latent_rgb_factors, self.latent_rgb_factors_bias = preview_factors(facts.preview)


class KizyStarter(BASE):
    """ComfyUI makes one for each file that it recognises."""

    unet_config = RECOGNISED
    unet_extra_config = HEADS
    sampling_settings = SAMPLING
    latent_format = KizyStarterLatents
    # As for SD 1.5, whose UNet is of the same kind.
    memory_usage_factor = 1.0

    @property
    def supported_inference_dtypes(self) -> list[torch.dtype]:
        """float32 alone, as in Kizy itself: the UNet is small."""
        import torch

        return [torch.float32]

    def model_type(self, state_dict: State, prefix: str = "") -> Any:
        return ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        # ComfyUI takes every UNet of more than four channels for one.
        return False

    def clip_target(self, state_dict: State | None = None) -> Any:
        return ClipTarget(StarterTokenizer, StarterText)

    def process_unet_state_dict(self, state_dict: State) -> State:
        """From 8 bits; a file that ComfyUI saved has float weights, which stay."""
        return dequantize(state_dict)

    def process_clip_state_dict(self, state_dict: State) -> State:
        """The encoder is not in the starter's file; in one that ComfyUI saved it is."""
        return super().process_clip_state_dict(state_dict) or text_weights()

    def process_vae_state_dict(self, state_dict: State) -> State:
        """With the scale and shift that ComfyUI's TAESD has besides; they do nothing here."""
        import torch

        none = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
        return {**none, **state_dict}
