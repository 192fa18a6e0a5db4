"""What the base of a training predicts, which its LoRA has to go on doing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from .plan import TrainingPlan

Prediction = Literal["epsilon", "v"]


def prediction_of(plan: TrainingPlan) -> Prediction | None:
    """The noise, or the velocity; None for families that follow a flow, for which there is no
    such word. A checkpoint in one file does not tell: the noise, as nearly all of them.
    """
    if plan.family == "starter":
        return "v"
    if plan.family.startswith(("flux", "sd35")):
        return None
    return "v" if plan.base.path is not None and _says_v(Path(plan.base.path)) else "epsilon"


def _says_v(base: Path) -> bool:
    """Whether a diffusers folder says that its model predicts velocity."""
    try:
        config = json.loads((base / "scheduler" / "scheduler_config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("prediction_type") == "v_prediction"
