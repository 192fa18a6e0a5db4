"""Ask for a training: a form with files, or JSON that names files that were uploaded before."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from ....core.errors import InputError
from ...settings import ServeSettings
from .auth import Asking, Caller
from .forms import is_form, read_form
from .openapi_examples import JOB, TRAINING, example
from .openapi_responses import ACCEPTING, WITH_BODY, problems
from .parameters import IdempotencyKey, TrainingBody
from .responses import PREFIX, JobAnswer, job_answer
from .upload_routes import limit_by_name, take
from .upload_spool import ArrivingFolder

router = APIRouter(prefix=PREFIX, tags=["trainings"])

FILES = "files"


def _schema(*, form: bool) -> dict[str, Any]:
    """A training's fields. In a form `files` are files, or ids of uploads."""
    schema = TrainingBody.model_json_schema(mode="validation")
    if form:
        schema["properties"][FILES] = {
            "type": "array",
            "minItems": 1,
            "description": "Files, again for more; or ids of uploads.",
            "items": {"type": "string"},
        }
    return schema


BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _schema(form=True), "example": TRAINING},
        "application/json": {"schema": _schema(form=False), "example": TRAINING},
    },
}


@router.post(
    "/trainings",
    status_code=202,
    operation_id="train",
    summary="Ask for a training",
    description=(
        "Pictures, zips or videos, and a name, become a LoRA. The files come in the same form, or "
        "were uploaded before and are named by their ids."
    ),
    response_description="The job that was accepted.",
    response_model=JobAnswer,
    responses=problems(
        "upload_unknown",
        "path_refused",
        "trainer_cannot",
        "pictures_too_many",
        "disk_full",
        *ACCEPTING,
        *WITH_BODY,
    )
    | {202: example(JOB | {"kind": "training", "title": TRAINING["name"], "plan": None})},
    openapi_extra={"requestBody": BODY},
)
async def train(
    request: Request, asking: Asking, idempotency_key: IdempotencyKey = None
) -> Response:
    body = await (_from_form(request, asking) if is_form(request) else _from_json(request))
    wish = body.wish(idempotency_key)
    job = await run_in_threadpool(asking.service.train, body.request(asking), wish)
    return job_answer(job, 202)


async def _from_json(request: Request) -> TrainingBody:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # As FastAPI says it of a body of the wrong kind.
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "No form"}])
    try:
        values = await request.json()
    except (ValueError, RecursionError) as error:
        detail = {"type": "json_invalid", "loc": ("body", 0), "msg": "JSON decode error"}
        raise RequestValidationError([detail]) from error
    return _checked(values)


async def _from_form(request: Request, asking: Caller) -> TrainingBody:
    """The texts are checked before any file is kept."""
    serve: ServeSettings = request.app.state.settings.serve
    folder: ArrivingFolder = request.app.state.arriving

    def limit_of(field: str, name: str) -> int:
        if field != FILES:
            raise InputError("request_invalid", f'Files belong into the field "{FILES}".')
        return limit_by_name(name, serve)

    async with read_form(request, folder, limit_of) as form:
        values: dict[str, Any] = {name: texts[-1] for name, texts in form.texts.items()}
        given = [text for text in form.texts.get(FILES, []) if text.strip()]
        files = form.files[FILES]
        body = _checked(values | {FILES: [*given, *("0" * 64 for _ in files)]})
        kept = [await take(asking, file.content.path, file.name) for file in files]
    # With their names: captions belong to pictures of the same name.
    named = [f"{upload.id}/{upload.name}" for upload in kept]
    return body.model_copy(update={FILES: tuple(dict.fromkeys((*given, *named)))})


def _checked(values: Any) -> TrainingBody:
    try:
        return TrainingBody.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        wrong = [{**detail, "loc": ("body", *detail["loc"])} for detail in details]
        raise RequestValidationError(wrong) from None
