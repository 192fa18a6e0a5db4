"""What handlers answer: the words of core and service as JSON, with links and without paths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from fastapi import Response
from pydantic import BaseModel, Field

from ....core.job import Job
from ....core.plan import Plan
from ....core.surrogates import whole_json
from ...service import JobPage, ModelInfo

PREFIX = "/v1"


class Links(BaseModel):
    """Where to go from a job: paths on this server. `cancel` and `retry` say with which method."""

    self: str
    events: str
    cancel: str = Field(description="With DELETE.")
    retry: str = Field(description="With POST, once it failed or was cancelled.")
    artifacts: tuple[str, ...] = ()


class JobAnswer(Job):
    """A job, and where to go from it."""

    links: Links


class JobPageAnswer(JobPage):
    """Some jobs, newest first. `next`: the cursor of the next page; null on the last."""

    jobs: tuple[JobAnswer, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]


class ListedModel(ModelInfo):
    """A model, with what OpenAI's clients read of one."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "kizy"


class ModelList(BaseModel):
    """All models twice: as OpenAI's clients expect them (`data`), and as the other lists are."""

    object: str = "list"
    data: tuple[ListedModel, ...]
    models: tuple[ModelInfo, ...]


def answer(values: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Plain values as JSON."""
    return Response(as_json(values), status, headers, "application/json")


def as_json(values: Any) -> bytes:
    """JSON in ASCII. Names of files may hold what no parser of JSON would take."""
    return whole_json(json.dumps(values).encode())


def job_values(job: Job) -> dict[str, Any]:
    """A job as it is told."""
    values = job.model_dump(mode="json")
    for part in ("plan", "training"):
        values[part] = without_paths(values[part])
    values["links"] = job_links(job)
    return values


def job_answer(job: Job, status: int = 200) -> Response:
    """A job; one that was just accepted (202) says where it is."""
    headers = {"Location": f"{PREFIX}/jobs/{job.id}"} if status == 202 else None
    return answer(job_values(job), status, headers)


def job_links(job: Job) -> dict[str, Any]:
    """As `Links`; files that are gone have none."""
    own = f"{PREFIX}/jobs/{job.id}"
    files = [artifact_path(artifact.id) for artifact in job.artifacts if not artifact.gone]
    return {
        "self": own,
        "events": f"{own}/events",
        "cancel": own,
        "retry": f"{own}/retry",
        "artifacts": files,
    }


def artifact_path(artifact_id: str) -> str:
    return f"{PREFIX}/artifacts/{artifact_id}"


def plan_values(plan: Plan) -> dict[str, Any]:
    """A Plan as it is told."""
    return without_paths(plan.model_dump(mode="json"))


def list_values(infos: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [info.model_dump(mode="json") for info in infos]


def without_paths(value: Any) -> Any:
    """Where files lie on the server is its own matter: models lose it, pictures keep the name."""
    if isinstance(value, dict):
        told = {key: without_paths(item) for key, item in value.items()}
        if isinstance(told.get("path"), str):
            told["path"] = None if "name" in told else PurePath(told["path"]).name
        return told
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return value
