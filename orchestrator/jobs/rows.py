"""Rows of the database as the words that everybody speaks, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import RowMapping

from ...core.errors import StorageError
from ...core.job import ErrorInfo, Job, JobArtifact, JobEvent, Notice
from ...core.plan import Plan
from ...core.request import GenerationRequest, TrainingRequest

EVENT: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)


def job_of(row: RowMapping, files: Sequence[JobArtifact] = (), *, plan: Plan | None = None) -> Job:
    """A job with its files. `plan`: its own, where that is at hand.

    Raises StorageError for a row that this version cannot read.
    """
    kind = row["kind"]
    asked = GenerationRequest if kind == "generation" else TrainingRequest
    try:
        return Job(
            id=row["id"],
            kind=kind,
            state=row["state"],
            owner=row["owner"],
            priority=row["priority"],
            title=row["title"],
            request=asked.model_validate_json(row["request"]),
            plan=plan or plan_of(row),
            training=json.loads(row["training"]) if row["training"] else None,
            paused=row["paused"],
            progress=1.0 if row["state"] == "succeeded" else row["progress"],
            doing=row["doing"],
            left=row["remaining"] if row["state"] == "running" else None,
            created=moment(row["created"]),
            started=maybe_moment(row["started"]),
            ended=maybe_moment(row["ended"]),
            deadline=maybe_moment(row["deadline"]),
            attempts=row["attempts"],
            error=ErrorInfo.model_validate_json(row["error"]) if row["error"] else None,
            notices=tuple(notices_of(row)),
            artifacts=tuple(files),
            from_store=row["from_store"],
            retry_of=row["retry_of"],
        )
    except (ValidationError, ValueError) as error:
        message = f"Job {row['id']} was written by another version of Kizy, or is damaged."
        raise StorageError("database_unusable", message) from error


def plan_of(row: RowMapping) -> Plan | None:
    """The job's Plan, where it has one. ValidationError passes through."""
    return Plan.model_validate_json(row["plan"]) if row["plan"] else None


def file_of(row: RowMapping) -> JobArtifact:
    """A file of a job, from a row of both of its tables."""
    return JobArtifact(
        id=row["artifact_id"],
        index=row["idx"],
        kind=row["kind"],
        name=row["name"],
        media_type=row["media_type"],
        bytes=row["bytes"],
        width=row["width"],
        height=row["height"],
        seed=row["seed"],
        gone=row["gone"],
    )


def event_of(data: str) -> JobEvent:
    return EVENT.validate_json(data)


def event_text(event: JobEvent) -> str:
    return event.model_dump_json()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def maybe_moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def notices_text(notices: Sequence[Notice]) -> str:
    return json.dumps([notice.model_dump() for notice in notices], ensure_ascii=False)


def mapping_values(model: Any) -> str | None:
    """A pydantic model as JSON; None stays None."""
    return None if model is None else model.model_dump_json()


def notices_of(row: RowMapping) -> list[Notice]:
    return [Notice(**one) for one in json.loads(row["notices"])]
