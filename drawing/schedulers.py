"""Samplers and schedulers by ComfyUI's names, as diffusers' scheduler classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, nearest
from .zero_snr import ZeroSnrEuler

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    Scheduler = SchedulerMixin | ZeroSnrEuler

# Without lms and beta, which would need SciPy.
# ComfyUI's sampler name -> (diffusers class, its options). Pairs that are the same algorithm,
# by the table in diffusers' documentation ("Schedulers", A1111 and k-diffusion names).
_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "uni_pc": ("UniPCMultistepScheduler", {}),
}

# ComfyUI's scheduler name -> diffusers' options.
_SCHEDULES: dict[str, dict[str, Any]] = {
    "normal": {"timestep_spacing": "linspace"},
    "simple": {"timestep_spacing": "trailing"},
    "sgm_uniform": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
}

PLAIN_SAMPLERS = frozenset({"ddim", "euler_ancestral"})
"""Samplers whose diffusers class knows evenly spaced steps alone, not karras or exponential."""

_TWO_CALLS = ("heun", "dpm_2", "dpm_2_ancestral")

ZERO_SNR_SAMPLERS = ("euler", "ddim")
"""With zero terminal SNR the first step has no signal at all: k-diffusion forms divide by zero
there. Euler without noise is DDIM, which does not."""


def sampler_names(*, zero_snr: bool = False) -> tuple[str, ...]:
    """The samplers that `make_scheduler` knows."""
    return ZERO_SNR_SAMPLERS if zero_snr else tuple(_SAMPLERS)


def evaluations(sampler: str) -> int:
    """UNet calls a step, about: second-order samplers make two."""
    return 2 if sampler in _TWO_CALLS else 1


def make_scheduler(sampler: str, schedule: str, config: dict[str, Any]) -> Scheduler:
    """A fresh scheduler, diffusers' or one that stands for it. `config`: the model's own.

    Raises InputError `request_invalid` for a sampler or scheduler that the model cannot use.
    """
    import diffusers

    zero_snr = bool(config.get("rescale_betas_zero_snr"))
    known = sampler_names(zero_snr=zero_snr)
    if sampler not in known:
        message = f'The sampler "{sampler}" does not fit this model. {nearest(sampler, known)}'
        raise InputError("request_invalid", message)
    if schedule not in _SCHEDULES:
        message = f'No scheduler is called "{schedule}". {nearest(schedule, _SCHEDULES)}'
        raise InputError("request_invalid", message)
    name, options = _SAMPLERS[sampler]
    values = {key: value for key, value in config.items() if not key.startswith("_")}
    if zero_snr:
        rescaled: Any = diffusers.DDIMScheduler.from_config(values)
        return ZeroSnrEuler(rescaled.alphas_cumprod)
    return getattr(diffusers, name).from_config(values | _SCHEDULES[schedule], **options)
