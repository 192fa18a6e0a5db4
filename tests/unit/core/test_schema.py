from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from kizy.core.job import EndEvent, ErrorInfo, Job, JobArtifact, NoticeEvent, PreviewEvent
from kizy.core.job import ProgressEvent as Progress
from kizy.core.plan import DrawStage, EnlargeStage, ModelFile, Plan
from kizy.core.request import GenerationRequest, TrainingRequest
from kizy.core.schema import json_schemas

PlanBuilder = Callable[..., Plan]


def check(kind: str, value: Any) -> None:
    schema = json_schemas()[kind]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("kind", json_schemas())
def test_every_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schemas()[kind])


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "a fox"},
        {"prompt": "a fox", "loras": [{"name": "x"}], "size": "512x512", "seed": 3, "steps": 4},
        {"prompt": "a fox", "start": {"picture": "a.png", "strength": 0.5}, "enlarge": None},
    ],
)
def test_requests_fit_the_schema(values: dict[str, Any]) -> None:
    check("GenerationRequest", values)
    check("GenerationRequest", GenerationRequest(**values).model_dump(mode="json"))


@pytest.mark.parametrize(
    "values",
    [{}, {"prompt": ""}, {"prompt": "a", "seed": -2}, {"prompt": "a", "what": 1}],
    ids=["no-prompt", "empty", "seed", "unknown"],
)
def test_bad_requests_do_not_fit_the_schema(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check("GenerationRequest", values)


def test_a_training_request_fits_the_schema() -> None:
    request = TrainingRequest(files=("a.png",), name="fox")
    check("TrainingRequest", request.model_dump(mode="json"))


def test_a_plan_fits_the_schema(make_plan: PlanBuilder) -> None:
    stages = (DrawStage(), EnlargeStage(factor=4, model=ModelFile(name="x")))
    check("Plan", make_plan(stages=stages).model_dump(mode="json"))


def test_a_finished_job_fits_the_schema_and_survives_json(make_plan: PlanBuilder) -> None:
    plan = make_plan()
    artifact = JobArtifact(
        id="ab", name="a.png", media_type="image/png", bytes=9, width=8, height=8, seed=1
    )
    request = GenerationRequest(prompt="a fox")
    error = ErrorInfo(code="cancelled", message="Stopped.", fix="Start it again.")
    job = Job(request=request, plan=plan, state="failed", error=error, artifacts=(artifact,))
    check("Job", job.model_dump(mode="json"))
    assert Job.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(
    "event",
    [
        Progress(job_id="1", fraction=0.5, doing="drawing", left=2.0),
        PreviewEvent(job_id="1", index=0, png=b"\x89PNG\xff\xfe"),
        NoticeEvent(job_id="1", code="saving", text="Less memory."),
        EndEvent(job_id="1", state="succeeded"),
    ],
    ids=lambda event: event.kind,
)
def test_an_event_fits_the_schema_and_survives_json(event: Any) -> None:
    check("Event", event.model_dump(mode="json"))
    check("JobEvent", event.model_dump(mode="json"))
    assert type(event).model_validate_json(event.model_dump_json()) == event
