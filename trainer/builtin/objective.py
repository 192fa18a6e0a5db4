"""What is learned at a step: noise, its level, the target and how much each level counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

Prediction = Literal["epsilon", "v_prediction"]

_BETAS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


@dataclass(frozen=True)
class Schedule:
    """The base model's noise. `signal`, `noise`: sqrt(alpha bar) and sqrt(1 - alpha bar)."""

    signal: torch.Tensor
    noise: torch.Tensor
    prediction: Prediction

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Schedule:
        """From a scheduler's configuration, as the model's folder has it."""
        import diffusers

        values = {key: config[key] for key in _BETAS if config.get(key) is not None}
        prediction = config.get("prediction_type", "epsilon")
        scheduler: Any = getattr(diffusers, "DDPMScheduler")(**values)  # noqa: B009
        alphas = scheduler.alphas_cumprod.double()
        return cls(alphas.sqrt().float(), (1 - alphas).sqrt().float(), prediction)

    @property
    def snr(self) -> torch.Tensor:
        """Signal to noise ratio of each timestep; 0 at the end of a zero-SNR schedule."""
        return (self.signal / self.noise).square()

    def weights(self, min_snr: float | None) -> torch.Tensor:
        """How much each timestep's squared error counts, by min-SNR (Hang et al., 2023).

        The picture's own error is weighted by min(SNR, gamma): divided by SNR where noise is
        predicted, by SNR + 1 where v is. Where the SNR falls to zero that weight would vanish,
        and with it what decides a picture's colours and layout: there it is 1 at least, as
        in Salimans & Ho (2022, "Progressive Distillation", section 4: max(SNR, 1)).
        """
        snr = self.snr
        if min_snr is None:
            return torch.ones_like(snr)
        if self.prediction == "epsilon":
            return snr.clamp(max=min_snr) / snr
        least = 1.0 if float(snr[-1]) == 0.0 else 0.0
        return snr.clamp(min=least, max=min_snr) / (snr + 1)


@dataclass(frozen=True)
class Noised:
    """Latents with noise, their timesteps, what the UNet shall say, and each row's weight."""

    latents: torch.Tensor
    timesteps: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


def spread_timesteps(count: int, steps: int, generator: torch.Generator) -> torch.Tensor:
    """One timestep from each of `count` equal slices: the same spread, less noise in the loss."""
    offset = torch.rand(count, generator=generator)
    share = (torch.arange(count) + offset) / count
    # Shuffled, so that no place in the batch always gets the same slice.
    share = share[torch.randperm(count, generator=generator)]
    return (share * steps).long().clamp(max=steps - 1)


def draw_noise(shape: torch.Size, offset: float, generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise (n x c x h x w); `offset` shifts whole channels (Guttenberg, 2023)."""
    noise = torch.randn(shape, generator=generator)
    if offset:
        noise = noise + offset * torch.randn(*shape[:2], 1, 1, generator=generator)
    return noise


def noised(
    schedule: Schedule,
    weights: torch.Tensor,
    latents: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
) -> Noised:
    """Bring latents to their timesteps. All of it on the CPU, in float32."""
    a = schedule.signal[timesteps].view(-1, 1, 1, 1)
    s = schedule.noise[timesteps].view(-1, 1, 1, 1)
    target = noise if schedule.prediction == "epsilon" else a * noise - s * latents
    return Noised(a * latents + s * noise, timesteps, target, weights[timesteps])


def squared_error(
    predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Mean squared error of each row, float32; `mask` (n x 1 x h x w): where it counts."""
    error = (predicted.float() - target.float()).square()
    if mask is None:
        return error.mean((1, 2, 3))
    return (error * mask).mean((1, 2, 3)) / mask.mean((1, 2, 3)).clamp(min=1e-3)
