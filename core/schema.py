"""JSON Schemas (draft 2020-12) of the core models, for the API's documentation and for tests."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from .job import Event, Job, JobEvent
from .plan import Plan
from .request import GenerationRequest, TrainingRequest

_KINDS: dict[str, Any] = {
    "GenerationRequest": GenerationRequest,
    "TrainingRequest": TrainingRequest,
    "Plan": Plan,
    "Job": Job,
    "Event": Event,
    "JobEvent": JobEvent,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Name of the model -> its schema."""
    return {name: TypeAdapter(kind).json_schema() for name, kind in _KINDS.items()}
