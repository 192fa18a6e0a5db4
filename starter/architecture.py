"""The starter's networks: the frozen contract that every room builds on.

A UNet that draws 16x16 latents of 8 channels from MiniLM's token states, TAESD's autoencoder at 8
channels, and v-prediction on a schedule rescaled to zero terminal SNR (Lin et al., 2023,
"Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderTiny, UNet2DConditionModel

NATIVE_SIZE = 128
"""Side of the pictures that the starter draws, in pixels."""

LATENT_CHANNELS = 8
LATENT_FACTOR = 8
"""Pixels to a latent, along each side."""

TEXT_TOKENS = 32
TEXT_WIDTH = 384

UNET_CONFIG: dict[str, Any] = {
    "sample_size": NATIVE_SIZE // LATENT_FACTOR,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "layers_per_block": 2,
    "block_out_channels": (64, 128, 256),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3,
    "up_block_types": ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": TEXT_WIDTH,
    # diffusers calls the number of heads "attention_head_dim" for historical reasons.
    "attention_head_dim": 8,
}

SCHEDULER_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}


def build_unet() -> UNet2DConditionModel:
    """The UNet with random weights (26.0 M parameters, float32)."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET_CONFIG)


def build_autoencoder() -> AutoencoderTiny:
    """The autoencoder with random weights: pixels in -1 to 1, latents unscaled."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(latent_channels=LATENT_CHANNELS, scaling_factor=1.0)


def alphas_and_sigmas() -> tuple[torch.Tensor, torch.Tensor]:
    """sqrt(alpha bar) and sqrt(1 - alpha bar) of the 1000 steps, float32; the last alpha is 0."""
    import torch

    config = SCHEDULER_CONFIG
    betas = (
        torch.linspace(
            config["beta_start"] ** 0.5,
            config["beta_end"] ** 0.5,
            config["num_train_timesteps"],
            dtype=torch.float64,
        )
        ** 2
    )
    alphas = torch.cumprod(1 - betas, 0).sqrt()
    first, last = alphas[0].clone(), alphas[-1].clone()
    alphas = (alphas - last) * first / (first - last)
    return alphas.float(), (1 - alphas**2).sqrt().float()
