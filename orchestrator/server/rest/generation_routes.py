"""Ask for pictures, or only for what would be drawn."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from ....core.plan import Plan
from .auth import Asking
from .openapi_examples import GENERATIONS, JOB, PLAN, example
from .openapi_responses import ACCEPTING, WITH_BODY, problems
from .parameters import GenerationBody, IdempotencyKey
from .responses import PREFIX, JobAnswer, answer, job_answer, plan_values

router = APIRouter(prefix=PREFIX, tags=["generations"])

UNFIT = (
    "prompt_empty",
    "prompt_too_long",
    "size_invalid",
    "feature_unavailable",
    "model_unknown",
    "lora_unknown",
    "style_unknown",
    "path_refused",
    "upload_unknown",
    "picture_unreadable",
    "mask_unusable",
    "server_unreachable",
)
"""Why a wish cannot be drawn."""

Wanted = Annotated[GenerationBody, Body(openapi_examples=GENERATIONS)]


@router.post(
    "/generations",
    status_code=202,
    operation_id="generate",
    summary="Ask for pictures",
    description=(
        "The job is accepted and waits for its turn; it is never lost. Everything but the prompt "
        "may be left out. The same Plan again gives the same files at once, unless `fresh`."
    ),
    response_description="The job that was accepted.",
    response_model=JobAnswer,
    responses=problems(*UNFIT, *ACCEPTING, *WITH_BODY, "disk_full") | {202: example(JOB)},
)
def generate(body: Wanted, asking: Asking, idempotency_key: IdempotencyKey = None) -> Response:
    job = asking.service.generate(body.request(asking), body.wish(idempotency_key))
    return job_answer(job, 202)


@router.post(
    "/plan",
    operation_id="plan",
    summary="Ask what would be drawn, and why",
    description="Decides all that a drawing needs, with a reason for each choice; draws nothing.",
    response_description="The Plan.",
    response_model=Plan,
    responses=problems(*UNFIT, *WITH_BODY) | {200: example(PLAN)},
)
def plan(body: Wanted, asking: Asking) -> Response:
    return answer(plan_values(asking.service.plan(body.request(asking), raw=body.raw)))
