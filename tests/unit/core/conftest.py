"""A builder of Plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.plan import ModelFile, Plan

PlanBuilder = Callable[..., Plan]


@pytest.fixture
def make_plan() -> PlanBuilder:
    """make_plan(seed=2, ...): a Plan of the starter; what is given replaces its fields."""

    def build(**changes: Any) -> Plan:
        values: dict[str, Any] = {
            "request_prompt": "a red fox",
            "prompt": "a red fox, 3d render",
            "negative": "",
            "family": "starter",
            "model": ModelFile(name="starter"),
            "width": 128,
            "height": 128,
            "output_width": 512,
            "output_height": 512,
            "count": 1,
            "seed": 1,
            "steps": 20,
            "guidance": 3.0,
            "sampler": "euler",
            "scheduler": "simple",
        }
        return Plan.model_validate({**values, **changes})

    return build
