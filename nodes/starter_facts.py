"""The starter in ComfyUI's words, drawn from its contract (starter/architecture.py)."""

from __future__ import annotations

from typing import Any

from ..starter.architecture import LATENT_CHANNELS, SCHEDULER_CONFIG, TEXT_WIDTH, UNET_CONFIG

RECOGNISED: dict[str, Any] = {
    "context_dim": TEXT_WIDTH,
    "in_channels": LATENT_CHANNELS,
    "model_channels": UNET_CONFIG["block_out_channels"][0],
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
}
"""What ComfyUI's `detect_unet_config` finds in the starter's file and in no other family's."""

HEADS: dict[str, int] = {"num_heads": UNET_CONFIG["attention_head_dim"], "num_head_channels": -1}

SAMPLING: dict[str, Any] = {
    # ComfyUI's "linear" is linear in the root of beta: diffusers' "scaled_linear".
    "beta_schedule": "linear",
    "linear_start": SCHEDULER_CONFIG["beta_start"],
    "linear_end": SCHEDULER_CONFIG["beta_end"],
    "timesteps": SCHEDULER_CONFIG["num_train_timesteps"],
    "zsnr": SCHEDULER_CONFIG["rescale_betas_zero_snr"],
}
"""`sampling_settings` of ComfyUI's ModelSamplingDiscrete."""


def preview_factors(rows: list[list[float]]) -> tuple[list[list[float]], list[float]]:
    """ComfyUI's `latent_rgb_factors` and their bias, giving -1 to 1.

    `rows`: as in the starter's file, one of RGB for each channel and one for the constant, giving
    0 to 1.
    """
    *factors, constant = rows
    return [[2 * value for value in row] for row in factors], [2 * v - 1 for v in constant]
