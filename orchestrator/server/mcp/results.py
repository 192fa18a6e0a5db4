"""What tools answer: words for the model, pictures, and the facts for programs.

Answers with pictures have no structured content: several clients show the model that alone, and
drop the pictures. Their facts are in `_meta`, which no model sees.
"""

from __future__ import annotations

import base64

from mcp import types
from pydantic import BaseModel

from ....core.errors import KizyError
from ....core.job import Job, JobArtifact
from ....core.plan import NOTICE
from ...service import Service
from .arguments import MAX_WAIT
from .result_schemas import FileFacts, JobFacts, Link, job_facts
from .shown import MAX_MESSAGE, MAX_SHOWN, for_message

FACTS = "kizy/job"
"""The key in `_meta` of a job's facts."""

_DOING = {"generation": "drawing", "training": "training"}


def job_answer(job: Job, link: Link) -> types.CallToolResult:
    """How a job is, without pictures; with structured content."""
    facts = job_facts(job, link)
    values = facts.model_dump(mode="json")
    return types.CallToolResult(
        content=[_text(_job_words(facts))], structured_content=values, _meta={FACTS: values}
    )


def drawn_answer(
    job: Job, service: Service, link: Link, *, show: bool = True, failed_is_error: bool = True
) -> types.CallToolResult:
    """How a job is, and its pictures once it is done. Blocks: it decodes and encodes them."""
    facts = job_facts(job, link)
    content: list[types.ContentBlock] = [_text(_job_words(facts))]
    if show and job.state == "succeeded":
        pictures, missing = _pictures(job, service)
        content += pictures
        if missing:
            content.append(_text("Not shown: " + "; ".join(missing)))
    failed = job.state in ("failed", "cancelled")
    return types.CallToolResult(
        content=content,
        is_error=failed and failed_is_error,
        _meta={FACTS: facts.model_dump(mode="json")},
    )


def data_answer(value: BaseModel) -> types.CallToolResult:
    """Structured content, and the same as text for clients that pass that on alone."""
    text = value.model_dump_json(exclude_none=True)
    return types.CallToolResult(
        content=[_text(text)], structured_content=value.model_dump(mode="json")
    )


def error_answer(error: KizyError) -> types.CallToolResult:
    """What happened, what to do, and the code. Never a traceback, nor another program's words."""
    return types.CallToolResult(
        content=[_text(f"{error.message}\nWhat to do: {error.fix}\nCode: {error.code}")],
        is_error=True,
        _meta={"kizy/error": error.as_dict()},
    )


def _pictures(job: Job, service: Service) -> tuple[list[types.ContentBlock], list[str]]:
    """(the first pictures of a job, why others are not among them)."""
    found = [one for one in job.artifacts if _is_picture(one)]
    here = [one for one in found if not one.gone][:MAX_SHOWN]
    content: list[types.ContentBlock] = []
    missing: list[str] = []
    for artifact in here:
        try:
            file = service.artifact(artifact.id)
            data, kind = for_message(file.path, MAX_MESSAGE // len(here))
        except KizyError as error:
            missing.append(f"{artifact.name}: {error.message}")
            continue
        encoded = base64.b64encode(data).decode("ascii")
        content.append(types.ImageContent(data=encoded, mime_type=kind))
    if len(found) > MAX_SHOWN:
        missing.append(f"{len(found) - len(here)} more; their ids are above")
    return content, missing


def _is_picture(artifact: JobArtifact) -> bool:
    return artifact.kind in ("picture", "sample") and artifact.media_type.startswith("image/")


def _job_words(job: JobFacts) -> str:
    lines = [_state_words(job)]
    lines += [_file_words(number, one) for number, one in enumerate(job.files, 1)]
    if job.state == "succeeded" and job.reasons:
        lines.append("Why:")
        told = [one for one in job.reasons if one.choice != NOTICE]
        lines += [f"- {one.choice} = {one.value}: {one.why}" for one in told]
    lines += [f"Note: {one.text}" for one in job.notices]
    return "\n".join(lines)


def _state_words(job: JobFacts) -> str:
    if job.state == "succeeded":
        done = "Drawn" if job.kind == "generation" else "Trained"
        before = " (the very same was drawn before; fresh=true draws it anew)"
        return f"{done}: {job.title}{before if job.from_store else ''}\njob_id: {job.job_id}"
    if job.error is not None:
        state = "was cancelled" if job.state == "cancelled" else "failed"
        error = f"{job.error.message}\nWhat to do: {job.error.fix}\nCode: {job.error.code}"
        return f"The job {state}. {error}\njob_id: {job.job_id}"
    if job.state in ("failed", "cancelled"):
        return f"The job is {job.state}.\njob_id: {job.job_id}"
    return f"Not done yet: {progress_words(job)}.\njob_id: {job.job_id}\n{_next_words(job)}"


def progress_words(job: JobFacts) -> str:
    """ "drawing, 40 % done, about 12 s left"."""
    words = [f"waiting, number {job.place} in the queue" if job.place else "waiting"]
    if job.state == "running":
        words = [job.doing or _DOING[job.kind], f"{job.progress:.0%} done"]
    if job.seconds_left is not None:
        words.append(f"about {_duration(job.seconds_left)} left")
    return ", ".join(words)


def _next_words(job: JobFacts) -> str:
    if job.kind == "training":
        return (
            "It goes on by itself. Tell the person how long it takes; job_status says how far it"
            " is, and cancel_job stops it."
        )
    return (
        f"It goes on by itself. To get the pictures, call job_status with this job_id and"
        f" wait_seconds={MAX_WAIT:.0f}; cancel_job stops it."
    )


def _file_words(number: int, file: FileFacts) -> str:
    words = [f"{file.kind.capitalize()} {number}: id {file.id}"]
    if file.width and file.height:
        words.append(f"{file.width}x{file.height}")
    if file.seed is not None:
        words.append(f"seed {file.seed}")
    words.append("removed by age" if file.gone else file.link or file.uri)
    return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)
