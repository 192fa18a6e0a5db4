"""What every way to Kizy offers: REST, SDK, MCP and command line speak to a Service.

Three things are one: `jobs/service.py`, over a table of jobs that nothing is lost from (`kizy
serve`); the same over a table in memory (`Kizy.local()`); and `sdk/remote/`, a server far away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal, Protocol

from pydantic import Field

from ..core.job import Job, JobEvent, JobKind, JobState, Told
from ..core.plan import Plan
from ..core.request import GenerationRequest, TrainingRequest

MAX_PAGE = 200
"""Jobs that one page holds at most."""


@dataclass(frozen=True)
class Wish:
    """How a job is to be accepted.

    `fresh`: draw, also if the same Plan was drawn before. `deadline`: when it is of no use any
    more. `idempotency_key`: the same key of the same owner again gives the same job. `raw`: keep
    the size that the model draws.
    """

    fresh: bool = False
    deadline: datetime | None = None
    idempotency_key: str | None = None
    raw: bool = False


@dataclass(frozen=True)
class JobQuery:
    """Which jobs: newest first. Empty `states`: all. `cursor`: from the page before."""

    states: tuple[JobState, ...] = ()
    kind: JobKind | None = None
    owner: str | None = None
    limit: int = 50
    cursor: str | None = None


class JobPage(Told):
    """Some jobs, newest first. `next`: the cursor of the next page; None on the last."""

    jobs: tuple[Job, ...] = ()
    next: str | None = None


class JobChange(Told):
    """What to change about a job that waits. `before`: another job's id, "first" or "last"."""

    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    paused: bool | None = None
    before: str | None = None


class QueueState(Told):
    """`paused`: nothing new is begun. `limit`: of waiting jobs; one more is refused."""

    paused: bool = False
    waiting: int = 0
    running: int = 0
    limit: int = 0


class Upload(Told):
    """A file that was handed over. `id`: sha256 of its content; requests name it by this.

    `width` and `height` in pixels, of pictures.
    """

    id: str
    name: str
    media_type: str
    bytes: int
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class ArtifactFile:
    """A finished file, where it lies on this machine. `etag`: its sha256."""

    path: Path
    name: str
    media_type: str
    etag: str


@dataclass(frozen=True)
class Numbered:
    """An event. `id` grows; None: an event that is of no use later (progress, previews)."""

    id: int | None
    event: JobEvent


@dataclass(frozen=True)
class Figures:
    """Numbers for whoever watches over a server. `jobs`: (kind, state) -> how many there are.

    `seconds`: kind -> what the jobs took that this process ended, added up.
    """

    waiting: int = 0
    running: int = 0
    jobs: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class ModelInfo(Told):
    """A model that can be asked for by `name`. `where`: "here", or the names of servers."""

    name: str
    family: str | None
    title: str = ""
    where: tuple[str, ...] = ()


class LoraInfo(Told):
    """A LoRA that can be asked for by `name`. `score`: 0 to 1, how well it fits what was sought.

    `title`: what its author calls it; several may have the same. `versions`: names of what the same
    training saved on its way, the latest first.
    """

    name: str
    title: str = ""
    versions: tuple[str, ...] = ()
    family: str | None
    about: str = ""
    triggers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    weight: float | None = None
    score: float | None = None


class StyleInfo(Told):
    """A style that can be asked for. `families`: of models that know it."""

    id: str
    words: str
    families: tuple[str, ...] = ()


class FamilyInfo(Told):
    """A model family. `sizes`: word -> WIDTHxHEIGHT. `installed`: whether a model of it is here."""

    id: str
    title: str
    licence: str = ""
    sizes: dict[str, str] = Field(default_factory=dict)
    installed: bool = False


class TemplateInfo(Told):
    """A workflow that requests are drawn with on ComfyUI."""

    id: str
    title: str
    task: str
    family: str


class ServerInfo(Told):
    """Where is drawn: "embedded" (this process) or a ComfyUI. `state`: ready, or why not."""

    name: str
    kind: Literal["embedded", "comfyui"]
    state: str
    version: str = ""
    device: str = ""
    queue: int | None = None
    url: str | None = None


class Service(Protocol):
    """All that can be asked of Kizy. Every method raises KizyError; unknown jobs and files raise
    UnknownNameError `job_unknown` and `artifact_unknown`.
    """

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        """What would be drawn, and why; nothing is drawn."""
        ...

    def generate(self, request: GenerationRequest, wish: Wish = Wish()) -> Job:
        """Accept a drawing. EngineError `queue_full` if too many jobs wait."""
        ...

    def train(self, request: TrainingRequest, wish: Wish = Wish()) -> Job:
        """Accept a training."""
        ...

    def job(self, job_id: str) -> Job: ...

    def jobs(self, query: JobQuery = JobQuery()) -> JobPage: ...

    def follow(self, job_id: str, after: int | None = None) -> Iterator[Numbered]:
        """What happens to a job: its state first, then events to the end.

        `after`: the `id` of the last event that was heard; what came since follows the state.
        """
        ...

    def cancel(self, job_id: str) -> Job:
        """Stop it, queued or running. One that is over stays as it is."""
        ...

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        """A new job of the same request and Plan, for one that failed or was cancelled.

        InputError `job_not_over` for any other. `idempotency_key`: as in `Wish`.
        """
        ...

    def change(self, job_id: str, change: JobChange) -> Job:
        """Change order, priority or pause. InputError `job_not_waiting` for one that began."""
        ...

    def queue(self) -> QueueState: ...

    def pause(self, paused: bool) -> QueueState:
        """Begin nothing new until it is called with False; what runs goes on."""
        ...

    def upload(self, name: str, data: IO[bytes]) -> Upload:
        """Hand a file over. PictureError, InputError `upload_too_large`."""
        ...

    def artifact(self, artifact_id: str) -> ArtifactFile:
        """A finished file; from a server far away it is fetched into a temporary folder first.

        UnknownNameError `artifact_gone` if it was removed by age.
        """
        ...

    def models(self) -> tuple[ModelInfo, ...]: ...

    def loras(self, query: str = "", family: str | None = None) -> tuple[LoraInfo, ...]:
        """All LoRAs by name, or those that fit `query` best, best first."""
        ...

    def styles(self) -> tuple[StyleInfo, ...]: ...

    def families(self) -> tuple[FamilyInfo, ...]: ...

    def templates(self) -> tuple[TemplateInfo, ...]: ...

    def servers(self) -> tuple[ServerInfo, ...]: ...

    def close(self) -> None:
        """Let go of connections and threads; what runs is parked, and goes on later."""
        ...
