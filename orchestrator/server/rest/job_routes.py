"""Jobs: list, look, cancel, change, try again; and the queue that they wait in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, ConfigDict

from ....core.job import JobKind, JobState
from ...service import MAX_PAGE, JobChange, JobQuery, QueueState
from .auth import Asking, require_admin
from .openapi_examples import DONE, JOB, QUEUE, example
from .openapi_responses import ACCEPTING, WITH_BODY, problems
from .parameters import TEXT, IdempotencyKey, JobId
from .responses import PREFIX, JobAnswer, JobPageAnswer, answer, job_answer, job_values

router = APIRouter(prefix=PREFIX, tags=["jobs"])


class JobChangeBody(JobChange):
    """What to change about a job that waits. `before`: another job's id, "first" or "last"."""

    model_config = ConfigDict(extra="forbid")

    before: Annotated[str | None, Body(max_length=100, pattern=TEXT)] = None


class QueueChange(BaseModel):
    """`paused`: begin nothing new; what runs goes on."""

    model_config = ConfigDict(extra="forbid")

    paused: bool


@router.get(
    "/jobs",
    operation_id="list_jobs",
    summary="List jobs",
    description="Newest first, a page at a time; `next` is the cursor of the following page.",
    response_description="Some jobs.",
    response_model=JobPageAnswer,
    responses=problems("request_invalid") | {200: example({"jobs": [DONE], "next": "MTI"})},
)
def list_jobs(
    asking: Asking,
    state: Annotated[
        list[JobState] | None, Query(description="Jobs in this state, again for more; else all.")
    ] = None,
    kind: Annotated[JobKind | None, Query(description="Drawings or trainings alone.")] = None,
    owner: Annotated[
        str | None,
        Query(description="Whose; others' are seen by administrators.", max_length=1000,
              pattern=TEXT),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Jobs a page.")] = 50,
    cursor: Annotated[
        str | None,
        Query(description="`next` of the page before.", max_length=200, pattern=TEXT),
    ] = None,
) -> Response:  # fmt: skip
    query = JobQuery(tuple(state or ()), kind, owner, limit, cursor)
    page = asking.service.jobs(query)
    return answer({"jobs": [job_values(job) for job in page.jobs], "next": page.next})


@router.get(
    "/jobs/{job_id}",
    operation_id="show_job",
    summary="Show a job",
    response_description="The job as it is now.",
    response_model=JobAnswer,
    responses=problems("job_unknown") | {200: example(DONE)},
)
def show_job(job_id: JobId, asking: Asking) -> Response:
    """State, place in the queue, time left, and files."""
    return job_answer(asking.service.job(job_id))


@router.delete(
    "/jobs/{job_id}",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_description="The job. One that runs ends within a step.",
    response_model=JobAnswer,
    responses=problems("job_unknown") | {200: example(JOB | {"state": "cancelled"})},
)
def cancel_job(job_id: JobId, asking: Asking) -> Response:
    """Stops it, queued or running. One that is over stays as it is."""
    return job_answer(asking.service.cancel(job_id))


@router.patch(
    "/jobs/{job_id}",
    operation_id="change_job",
    summary="Change a job that waits",
    response_description="The job.",
    response_model=JobAnswer,
    responses=problems("job_unknown", "job_not_waiting", *WITH_BODY) | {200: example(JOB)},
)
def change_job(
    job_id: JobId,
    body: Annotated[
        JobChangeBody,
        Body(
            openapi_examples={
                "next": {"summary": "It is next", "value": {"before": "first"}},
                "later": {"summary": "It keeps its place, and waits", "value": {"paused": True}},
                "sooner": {"summary": "Before all of lower priority", "value": {"priority": 10}},
            }
        ),
    ],
    asking: Asking,
) -> Response:
    """Its place in the queue, its priority, and whether it waits."""
    change = JobChange(priority=body.priority, paused=body.paused, before=body.before)
    return job_answer(asking.service.change(job_id, change))


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    operation_id="retry_job",
    summary="Try a job again",
    response_description="A new job of the same request and Plan.",
    response_model=JobAnswer,
    responses=problems("job_unknown", "job_not_over", *ACCEPTING) | {202: example(JOB)},
)
def retry_job(job_id: JobId, asking: Asking, idempotency_key: IdempotencyKey = None) -> Response:
    """For a job that failed or was cancelled."""
    return job_answer(asking.service.retry(job_id, idempotency_key), 202)


@router.get(
    "/queue",
    operation_id="show_queue",
    summary="Show the queue",
    response_description="How the queue is.",
    response_model=QueueState,
    responses=problems() | {200: example(QUEUE)},
)
def show_queue(asking: Asking) -> Response:
    """How many jobs wait and run, and whether anything new is begun."""
    return answer(asking.service.queue().model_dump(mode="json"))


@router.patch(
    "/queue",
    operation_id="pause_queue",
    summary="Pause the queue, or let it go on",
    response_description="How the queue is.",
    response_model=QueueState,
    responses=problems("not_allowed", *WITH_BODY) | {200: example(QUEUE | {"paused": True})},
)
def pause_queue(
    body: Annotated[
        QueueChange, Body(openapi_examples={"pause": {"value": {"paused": True}}})
    ],
    asking: Asking,
) -> Response:  # fmt: skip
    """For administrators. While it is paused nothing new is begun; what runs goes on."""
    require_admin(asking)
    return answer(asking.service.pause(body.paused).model_dump(mode="json"))
