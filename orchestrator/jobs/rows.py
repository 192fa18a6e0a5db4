"""Rows of the database as the words that everybody speaks, and back."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import RowMapping

from ...core.errors import EngineError
from ...core.job import (
    ErrorInfo,
    Job,
    JobArtifact,
    JobEvent,
    JobKind,
    JobState,
    Notice,
    NoticeEvent,
)
from ...core.plan import Plan
from ...core.request import GenerationRequest, TrainingRequest
from ..backends.base import COMFYUI, EMBEDDED

log = logging.getLogger(__name__)

EVENT: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)

TRAINING = "training"
"""The lane of trainings: one at a time."""

LANES = frozenset({EMBEDDED, COMFYUI, TRAINING})
"""What this version carries out jobs with."""

NEWER = Notice(
    code="newer_version",
    text="A newer version of Kizy wrote this: what this version can read of it is shown, and it is"
    " left alone. Update Kizy to use it.",
)


class Newness(StrEnum):
    """Whether this version can use a row."""

    OURS = "ours"
    NEWER = "newer"
    """Whole, but with words that only a newer version knows: it is left to that one."""
    DAMAGED = "damaged"


def newness(row: RowMapping) -> Newness:
    """Whether this version can carry out a job, as far as its row tells."""
    if (
        row["kind"] not in get_args(JobKind)
        or row["state"] not in get_args(JobState)
        or row["lane"] not in LANES
    ):
        return Newness.NEWER
    asked = GenerationRequest if row["kind"] == "generation" else TrainingRequest
    found = {_newness(asked, row["request"])}
    if row["plan"]:
        found.add(_newness(Plan, row["plan"]))
    if Newness.DAMAGED in found:
        return Newness.DAMAGED
    return Newness.NEWER if Newness.NEWER in found else Newness.OURS


def _newness(kind: type[BaseModel], text: str) -> Newness:
    """What is no JSON at all no version wrote."""
    try:
        kind.model_validate_json(text)
    except ValidationError as error:
        damaged = any(one["type"] == "json_invalid" for one in error.errors(include_url=False))
        return Newness.DAMAGED if damaged else Newness.NEWER
    return Newness.OURS


def job_of(row: RowMapping, files: Sequence[JobArtifact] = (), *, plan: Plan | None = None) -> Job:
    """A job with its files. `plan`: its own, where that is at hand.

    Of a row that a newer version wrote, or that is damaged, what can be read is told, with the
    notice `NEWER`.
    """
    request, planned = _json_of(row["request"]), plan or _json_of(row["plan"])
    error, training = _json_of(row["error"]), _json_of(row["training"])
    job = Job.model_validate(
        {
            "id": row["id"],
            "kind": row["kind"],
            "state": row["state"],
            "owner": row["owner"],
            "priority": row["priority"],
            "title": row["title"],
            "request": request,
            "plan": planned,
            "training": training if isinstance(training, dict) else None,
            "paused": row["paused"],
            "progress": 1.0 if row["state"] == "succeeded" else _share(row["progress"]),
            "doing": row["doing"],
            "left": row["remaining"] if row["state"] == "running" else None,
            "created": moment(row["created"]),
            "started": maybe_moment(row["started"]),
            "ended": maybe_moment(row["ended"]),
            "deadline": maybe_moment(row["deadline"]),
            "attempts": row["attempts"],
            "error": _error_of(error),
            "notices": tuple(notices_of(row)),
            "artifacts": tuple(files),
            "from_store": row["from_store"],
            "retry_of": row["retry_of"],
        }
    )
    unread = job.request is None or (row["plan"] and job.plan is None) or row["lane"] not in LANES
    if unread or "unknown" in (job.kind, job.state):
        return job.model_copy(update={"notices": (*job.notices, NEWER)})
    return job


def _json_of(text: str | None) -> Any:
    """None where there is none, and for what is no JSON."""
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _share(progress: float) -> float:
    return min(1.0, max(0.0, progress))


def _error_of(values: Any) -> ErrorInfo | None:
    try:
        return None if values is None else ErrorInfo.model_validate(values)
    except ValidationError:
        return ErrorInfo(code="drawing_failed", message=NEWER.text, fix="Update Kizy.")


def plan_of(row: RowMapping) -> Plan:
    """The Plan of a drawing. Raises EngineError `drawing_failed` if the row has none to read."""
    try:
        return Plan.model_validate_json(row["plan"] or "")
    except ValidationError as error:
        message = f"What the database keeps of job {row['id']} holds no Plan, or a damaged one."
        raise EngineError("drawing_failed", message, fix="Ask for the same once more.") from error


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


def event_of(job_id: str, data: str) -> JobEvent:
    """An event as it was kept; one that only a newer version can read becomes a notice of that."""
    try:
        return EVENT.validate_json(data)
    except ValidationError:
        log.debug("an event of job %s cannot be read", job_id, exc_info=True)
        return NoticeEvent(job_id=job_id, code=NEWER.code, text=NEWER.text)


def event_text(event: JobEvent) -> str:
    return event.model_dump_json()


def moment(seconds: float) -> datetime:
    """The time; the nearest that there is for what is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(0.0, UTC)


def maybe_moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def notices_text(notices: Sequence[Notice]) -> str:
    return json.dumps([notice.model_dump() for notice in notices], ensure_ascii=False)


def mapping_values(model: Any) -> str | None:
    """A pydantic model as JSON; None stays None."""
    return None if model is None else model.model_dump_json()


def notices_of(row: RowMapping) -> list[Notice]:
    """What the person was told; what is no notice that can be read is left out."""
    found = _json_of(row["notices"])
    notices: list[Notice] = []
    for one in found if isinstance(found, list) else []:
        with contextlib.suppress(ValidationError):
            notices.append(Notice.model_validate(one))
    return notices
