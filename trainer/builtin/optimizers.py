"""Optimizers by name, and the learning rate's way through a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from ...core.errors import EngineError

if TYPE_CHECKING:
    from ..plan import Optimizer, Schedule

RESTARTS = 3
"""Of cosine_with_restarts, as in Civitai's trainer."""


def make_optimizer(name: Optimizer, groups: list[dict[str, Any]]) -> Any:
    """The optimizer. Raises EngineError `local_missing` for one whose package is missing."""
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=1e-2, fused=True)
    if name == "adafactor":
        return torch.optim.Adafactor(groups)
    try:
        if name == "prodigy":
            from prodigyopt import Prodigy  # pyright: ignore[reportMissingImports]

            return Prodigy(groups, weight_decay=1e-2, use_bias_correction=True)
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]

        return AdamW8bit(groups, betas=(0.9, 0.999), weight_decay=1e-2)
    except ImportError as error:
        package = "prodigyopt" if name == "prodigy" else "bitsandbytes"
        message = f"The optimizer {name} needs {package}, which is not installed."
        fix = f"Install it (python -m pip install {package}), or train with another optimizer."
        raise EngineError("local_missing", message, fix=fix) from error


def share_of_rate(step: int, steps: int, warmup: int, schedule: Schedule) -> float:
    """Share of the peak learning rate at a step (from 0): linear warm-up, then the schedule."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "cosine_with_restarts":
        share = (share * RESTARTS) % 1.0 if share < 1 else 1.0
    return 0.5 * (1 + math.cos(math.pi * share))
