"""Hand files over: pictures to draw from, and what a training learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from ....core.errors import InputError
from ...service import Upload
from ...settings import ServeSettings
from ...storage.uploads import OTHERS, PICTURES, TAKEN, VIDEOS, clean_name
from .auth import Asking, Caller
from .body_limit import MEGABYTE
from .forms import is_form, read_form
from .openapi_examples import UPLOAD, example
from .openapi_responses import WITH_BODY, problems
from .parameters import TEXT
from .responses import PREFIX, answer
from .upload_spool import ArrivingFile, ArrivingFolder

router = APIRouter(prefix=PREFIX, tags=["files"])

FILE = "file"
"""The field of the form that holds the file."""

BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FILE],
                "properties": {FILE: {"type": "string", "contentMediaType": "image/*"}},
            },
            "example": {FILE: "(the bytes of card.png)"},
        },
        "application/octet-stream": {"schema": {"type": "string"}},
        "image/*": {"schema": {"type": "string"}},
    },
}


@router.post(
    "/uploads",
    status_code=201,
    operation_id="upload",
    summary="Hand a file over",
    description=(
        "Pictures to draw from (PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF, HEIC), and for trainings "
        "also zips, videos and captions: as a form with one file, or as the body itself with "
        "`?name=`. Requests name the file by the `id` of the answer; the same content has the "
        "same id."
    ),
    response_description="The file, as the server knows it.",
    response_model=Upload,
    responses=problems("picture_unreadable", "picture_too_large", "disk_full", *WITH_BODY)
    | {201: example(UPLOAD)},
    openapi_extra={"requestBody": BODY},
)
async def upload(
    request: Request,
    asking: Asking,
    name: Annotated[
        str,
        Query(description="The file's name, if the body is the file.", max_length=1000,
              pattern=TEXT, examples=["card.png"]),
    ] = "",
) -> Response:  # fmt: skip
    serve: ServeSettings = request.app.state.settings.serve
    folder: ArrivingFolder = request.app.state.arriving
    if not is_form(request):
        taken = await _take_body(request, asking, folder, name, serve)
        return answer(taken.model_dump(mode="json"), 201)

    def limit_of(field: str, file_name: str) -> int:
        if field != FILE:
            raise InputError("request_invalid", f'The file belongs into the field "{FILE}".')
        return limit_by_name(file_name, serve)

    async with read_form(request, folder, limit_of) as form:
        files = form.files[FILE]
        if len(files) != 1:
            raise InputError("request_invalid", f'The form holds no single file "{FILE}".')
        taken = await take(asking, files[0].content.path, form.text("name") or files[0].name)
    return answer(taken.model_dump(mode="json"), 201)


def limit_by_name(name: str, serve: ServeSettings) -> int:
    """Bytes that a file of that name may have. Raises InputError `request_invalid` for a kind that
    nothing here reads.
    """
    suffix = Path(clean_name(name)).suffix.lower()
    if suffix in PICTURES:
        return serve.upload_mb * MEGABYTE
    if suffix in VIDEOS | OTHERS:
        return serve.training_mb * MEGABYTE
    message = f'"{clean_name(name)}" is neither a picture nor a video, zip or text file.'
    raise InputError("request_invalid", message, fix=TAKEN)


async def take(asking: Caller, path: Path, name: str) -> Upload:
    """Keep a file that came in. Raises PictureError, InputError, StorageError."""
    return await run_in_threadpool(asking.service.take_upload, path, clean_name(name))


async def _take_body(
    request: Request, asking: Caller, folder: ArrivingFolder, name: str, serve: ServeSettings
) -> Upload:
    file = ArrivingFile(folder, limit_by_name(name, serve))
    try:
        async for chunk in request.stream():
            file.add(chunk)
            await file.settle()
        await file.settle(whole=True)
        if not file.size:
            raise InputError("request_invalid", "The request has no body: the file is missing.")
        return await take(asking, file.path, name)
    finally:
        file.discard()
