"""Euler for models with zero terminal SNR, step for step as ComfyUI's `euler` with `simple`.

diffusers' DDIM comes near, but steps to `t - 1000 // steps` whatever timestep comes next, so the
two differ wherever the number of steps does not divide 1000; and its last alpha is exactly zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LAST_ALPHA = 4.8973451890853435e-08
"""alpha bar of the last step in ComfyUI (comfy/model_sampling.py): not quite zero."""


@dataclass(frozen=True)
class Step:
    prev_sample: torch.Tensor
    pred_original_sample: torch.Tensor


class ZeroSnrEuler:
    """The part of a diffusers scheduler that `sample` uses; v-prediction without noise."""

    order = 1
    init_noise_sigma = 1.0

    def __init__(self, alphas_bar: torch.Tensor) -> None:
        """`alphas_bar`: of the 1000 steps, rescaled; the last one is replaced."""
        self._alphas_bar = alphas_bar.clone()
        self._alphas_bar[-1] = LAST_ALPHA
        self.timesteps: torch.Tensor = alphas_bar.new_zeros(0)

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        """ComfyUI's "simple": the whole part of each step's share, from the end."""
        import torch

        total = len(self._alphas_bar)
        values = [total - 1 - int(index * (total / steps)) for index in range(steps)]
        self.timesteps = torch.tensor(values, device=device)

    def scale_model_input(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return sample

    def add_noise(
        self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        signal, spread = self._at(int(timesteps[0]))
        return signal * clean + spread * noise

    def step(self, prediction: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor) -> Step:
        signal, spread = self._at(int(timestep))
        clean = signal * sample - spread * prediction
        noise = signal * prediction + spread * sample
        later = self.timesteps[self.timesteps < timestep]
        signal, spread = self._at(int(later[0])) if len(later) else (1.0, 0.0)
        return Step(signal * clean + spread * noise, clean)

    def _at(self, timestep: int) -> tuple[float, float]:
        alpha = float(self._alphas_bar[timestep])
        return alpha**0.5, (1 - alpha) ** 0.5
