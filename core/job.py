"""Work that was accepted, what happens while it is done, and what comes out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from .plan import Plan
from .request import Frozen

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class ErrorInfo(Frozen):
    """A KizyError as data."""

    code: str
    message: str
    fix: str


class Artifact(Frozen):
    """A finished file. `id` is the sha256 of its content; its Plan is inside it, too."""

    id: str
    path: str
    media_type: str
    width: int
    height: int
    seed: int
    plan: Plan


def new_job_id() -> str:
    """A canonical lowercase UUID: ComfyUI takes no other prompt id."""
    return str(uuid.uuid4())


def now() -> datetime:
    """The present time, with its zone."""
    return datetime.now(UTC)


class Job(Frozen):
    """One accepted Plan, who owns it and how far it is."""

    id: str = Field(default_factory=new_job_id)
    plan: Plan
    owner: str = "local"
    priority: int = 0
    state: JobState = "queued"
    created: datetime = Field(default_factory=now)
    started: datetime | None = None
    ended: datetime | None = None
    error: ErrorInfo | None = None
    artifacts: tuple[Artifact, ...] = ()


class ProgressEvent(Frozen):
    """How far the job is: `fraction` 0 to 1, never smaller than before; `left` in seconds."""

    kind: Literal["progress"] = "progress"
    job_id: str
    fraction: Annotated[float, Field(ge=0, le=1)]
    doing: str
    left: float | None = None


class PreviewEvent(Frozen):
    """What picture `index` looks like so far: a small PNG (base64 in JSON)."""

    kind: Literal["preview"] = "preview"
    job_id: str
    index: int
    png: bytes


class NoticeEvent(Frozen):
    """Something the person should know, such as a saving step on little memory."""

    kind: Literal["notice"] = "notice"
    job_id: str
    code: str
    text: str


class ArtifactEvent(Frozen):
    """A file is finished."""

    kind: Literal["artifact"] = "artifact"
    job_id: str
    artifact: Artifact


class EndEvent(Frozen):
    """The last event of a job."""

    kind: Literal["end"] = "end"
    job_id: str
    state: Literal["succeeded", "failed", "cancelled"]
    error: ErrorInfo | None = None


Event = Annotated[
    ProgressEvent | PreviewEvent | NoticeEvent | ArtifactEvent | EndEvent,
    Field(discriminator="kind"),
]
