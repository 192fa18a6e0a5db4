"""What tools answer, as data: models whose JSON schemas clients see."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from ....core.job import ErrorInfo, Job, JobArtifact, Notice, SeenKind, SeenState
from ....core.plan import Plan, Reason
from ...service import LoraInfo

Link = Callable[[str], str | None]
"""Artifact id -> where a person gets the file: an address or a path; None: nowhere."""

MAX_VERSIONS = 20

MAX_ABOUT = 300
"""Letters of what a stranger wrote about a LoRA."""


class Fact(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class FileFacts(Fact):
    """A finished file."""

    id: str = Field(description="Give it as `picture` to edit or improve it.")
    uri: str = Field(description="The resource that holds it.")
    link: str | None = Field(description="Where the person finds the whole file.")
    name: str
    kind: str
    bytes: int
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    gone: bool = Field(default=False, description="Whether it was removed by age.")


class JobFacts(Fact):
    """A job: how far it is, and what came out."""

    job_id: str
    kind: SeenKind
    state: SeenState
    title: str
    progress: float = Field(description="0 to 1.")
    doing: str = ""
    seconds_left: float | None = Field(description="To its end, waiting included; null: unknown.")
    place: int | None = Field(description="In the queue; 1 is next; null unless it waits.")
    files: tuple[FileFacts, ...] = ()
    from_store: bool = Field(
        default=False, description="Whether the very same was drawn before: these are its files."
    )
    model: str | None = None
    reasons: tuple[Reason, ...] = Field(default=(), description="What was picked, and why.")
    notices: tuple[Notice, ...] = ()
    error: ErrorInfo | None = None


class PlanFacts(Fact):
    """What would be drawn."""

    model: str
    family: str
    prompt: str
    negative: str
    loras: tuple[PlannedLoraFacts, ...]
    style: str | None
    size: str = Field(description="WIDTHxHEIGHT of the finished picture, in pixels.")
    count: int
    seed: int
    steps: int
    guidance: float
    sampler: str
    reasons: tuple[Reason, ...] = Field(description="What was picked, and why.")


class PlannedLoraFacts(Fact):
    """A LoRA of a plan."""

    name: str
    weight: float
    triggers: tuple[str, ...]


class LoraFacts(Fact):
    """A LoRA that can be named. `about` was written by whoever made it."""

    name: str
    versions: tuple[str, ...] = Field(
        default=(), description="Names of what the same training saved on its way."
    )
    family: str | None
    about: str
    triggers: tuple[str, ...]
    tags: tuple[str, ...]
    weight: float | None
    score: float | None = Field(description="0 to 1: how well it fits; null without a query.")


class FoundLoras(Fact):
    """LoRAs, best first."""

    loras: tuple[LoraFacts, ...]
    more: int = Field(description="How many others fit as well.")


def job_facts(job: Job, link: Link) -> JobFacts:
    """Of a job; no path of its plan is told."""
    return JobFacts(
        job_id=job.id,
        kind=job.kind,
        state=job.state,
        title=job.title[:200],
        progress=round(job.progress, 4),
        doing=job.doing,
        seconds_left=round(job.left, 1) if job.left is not None else None,
        place=job.place,
        files=tuple(_file_facts(one, link) for one in job.artifacts),
        from_store=job.from_store,
        model=job.plan.model.name if job.plan is not None else None,
        reasons=job.plan.reasons if job.plan is not None else (),
        notices=job.notices,
        error=job.error,
    )


def plan_facts(plan: Plan) -> PlanFacts:
    """Of a Plan, without its paths."""
    loras = tuple(
        PlannedLoraFacts(name=one.file.name, weight=one.model_weight, triggers=one.triggers)
        for one in plan.loras
    )
    return PlanFacts(
        model=plan.model.name,
        family=plan.family,
        prompt=plan.prompt,
        negative=plan.negative,
        loras=loras,
        style=plan.style,
        size=f"{plan.output_width}x{plan.output_height}",
        count=plan.count,
        seed=plan.seed,
        steps=plan.steps,
        guidance=plan.guidance,
        sampler=plan.sampler,
        reasons=plan.reasons,
    )


def found_loras(found: tuple[LoraInfo, ...], limit: int) -> FoundLoras:
    """The first `limit`."""
    loras = tuple(
        LoraFacts(
            name=one.name,
            versions=one.versions[:MAX_VERSIONS],
            family=one.family,
            about=one.about[:MAX_ABOUT],
            triggers=one.triggers[:20],
            tags=one.tags[:20],
            weight=one.weight,
            score=round(one.score, 3) if one.score is not None else None,
        )
        for one in found[:limit]
    )
    return FoundLoras(loras=loras, more=max(len(found) - limit, 0))


def _file_facts(artifact: JobArtifact, link: Link) -> FileFacts:
    return FileFacts(
        id=artifact.id,
        uri=f"kizy://artifacts/{artifact.id}",
        link=None if artifact.gone else link(artifact.id),
        name=artifact.name,
        kind=artifact.kind,
        bytes=artifact.bytes,
        width=artifact.width,
        height=artifact.height,
        seed=artifact.seed,
        gone=artifact.gone,
    )
