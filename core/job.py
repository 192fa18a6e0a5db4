"""Work that was accepted, what happens while it is done, and what comes out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from .plan import Plan
from .request import Frozen, GenerationRequest, TrainingRequest

JobKind = Literal["generation", "training"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FileKind = Literal["picture", "lora", "sample", "report"]

Unknown = Literal["unknown"]
"""Stands for a word that only a newer version of Kizy knows."""


def _or_unknown(words: Any) -> BeforeValidator:
    known = frozenset(get_args(words))

    def read(value: Any) -> Any:
        return "unknown" if isinstance(value, str) and value not in known else value

    return BeforeValidator(read)


SeenKind = Annotated[JobKind | Unknown, _or_unknown(JobKind)]
SeenState = Annotated[JobState | Unknown, _or_unknown(JobState)]
SeenFileKind = Annotated[FileKind | Unknown, _or_unknown(FileKind)]


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """None for what only a newer version can read: the rest of its job is told all the same."""
    try:
        return read(value)
    except ValidationError:
        return None


_IfReadable = WrapValidator(_or_none)


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


class Told(Frozen):
    """Base of what a server tells of its jobs: fields that a newer one adds are passed over."""

    model_config = ConfigDict(extra="ignore")


class ErrorInfo(Told):
    """A KizyError as data."""

    code: str
    message: str
    fix: str


class Notice(Told):
    """Something the person should know about a job; `code` never changes."""

    code: str
    text: str


class JobArtifact(Told):
    """A finished file of a job. `id` is the sha256 of its content.

    `index`: which picture of the job, or which sample of a training. `width`, `height` in pixels
    and `seed` are of pictures. `gone`: the rules of how long files are kept removed it.
    """

    id: str
    index: int = 0
    kind: SeenFileKind = "picture"
    name: str
    media_type: str
    bytes: int
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    gone: bool = False


class Job(Told):
    """Accepted work: who owns it, how far it is, what came out.

    `title`: the prompt, or the name of what is trained. `training`: what was decided about a
    training, as trainer/plan.py has it. `paused`: it keeps its place, and waits. `progress`: 0 to
    1; `left`: seconds to its end, waiting included, as learned from earlier jobs. `place`: 1 is
    next; None unless it waits. `from_store`: the same Plan was drawn before, and these are its
    files. `attempts`: how often it was begun. Times are in UTC.

    Of a job that a newer version of Kizy wrote, kind and state may be "unknown", and `request` and
    `plan` None.
    """

    id: str = Field(default_factory=new_job_id)
    kind: SeenKind = "generation"
    state: SeenState = "queued"
    owner: str = "local"
    priority: int = 0
    title: str = ""
    request: Annotated[GenerationRequest | TrainingRequest | None, _IfReadable]
    plan: Annotated[Plan | None, _IfReadable] = None
    training: dict[str, Any] | None = None
    paused: bool = False
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0
    doing: str = ""
    left: float | None = None
    place: int | None = None
    created: datetime = Field(default_factory=now)
    started: datetime | None = None
    ended: datetime | None = None
    deadline: datetime | None = None
    attempts: int = 0
    error: ErrorInfo | None = None
    notices: tuple[Notice, ...] = ()
    artifacts: tuple[JobArtifact, ...] = ()
    from_store: bool = False
    retry_of: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("succeeded", "failed", "cancelled")


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
    """A file is finished. `server`: the name of what drew it, where there are several."""

    kind: Literal["artifact"] = "artifact"
    job_id: str
    artifact: Artifact
    server: str = ""


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

"""What an engine tells of a drawing."""


class StateEvent(Told):
    """The job as it is now: the first thing that a follower hears, and again when it changes."""

    kind: Literal["state"] = "state"
    job: Job


class JobArtifactEvent(Told):
    """A file of a job is finished."""

    kind: Literal["artifact"] = "artifact"
    job_id: str
    artifact: JobArtifact


JobEvent = Annotated[
    StateEvent | ProgressEvent | PreviewEvent | NoticeEvent | JobArtifactEvent | EndEvent,
    Field(discriminator="kind"),
]
"""What a job's follower hears, ending with the EndEvent."""
