"""OpenAI's routes for pictures, as its clients call them: each waits for its job.

Requests and answers are those of https://platform.openai.com/docs/api-reference/images; what
means nothing to Kizy (`user`, `moderation`, ...) is passed over.
"""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi.exceptions import RequestValidationError
from PIL import Image, ImageChops
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.concurrency import run_in_threadpool

from ....core import errors
from ....core.errors import CODES, InputError, KizyError
from ....core.job import Job, JobArtifact
from ....core.picture_files import as_mask, is_see_through, open_picture
from ....core.request import (
    GenerationRequest,
    Mask,
    Name,
    Prompt,
    Seed,
    StartPicture,
)
from ...service import Wish
from ...settings import ServeSettings
from .auth import Asking, Caller
from .body_limit import MEGABYTE
from .forms import Form, is_form, read_form
from .generation_routes import UNFIT
from .openapi_examples import IMAGE_REQUEST, IMAGES, example
from .openapi_responses import ACCEPTING, WITH_BODY, openai_problems
from .parameters import IdempotencyKey, without_null
from .responses import PREFIX, answer
from .upload_routes import take
from .upload_spool import ArrivingFolder
from .wait_for_job import finished

router = APIRouter(prefix=PREFIX, tags=["openai"])

MOST = 10
"""Pictures that one request may ask for, as at OpenAI."""

THEIR_MODELS = re.compile(r"(?:[\w.-]+[/:])*(?:dall-e|gpt-|chatgpt-)", re.IGNORECASE)
"""How names of OpenAI's models begin, behind a provider's: they leave the choice to Kizy."""

QUALITIES: dict[str, Literal["draft", "balanced", "best"]] = {
    "low": "draft",
    "draft": "draft",
    "high": "best",
    "hd": "best",
    "xhigh": "best",
    "max": "best",
    "best": "best",
}
"""Any other word means balanced."""

THEIR_STYLES = ("", "auto", "natural", "vivid")


class ImageRequest(BaseModel):
    """Pictures from words. `model`: of Kizy's, while names of OpenAI's leave it the choice.

    `seed` is Kizy's own: the same seed draws the same.
    """

    model_config = ConfigDict(extra="ignore")

    prompt: Prompt
    model: Name | None = None
    n: Annotated[int, Field(ge=1, le=MOST)] | None = None
    size: Name | None = Field(default=None, description='"auto", or pixels such as "1024x1024".')
    quality: str | None = Field(default=None, max_length=20)
    style: str | None = Field(default=None, max_length=1000, description="Or one of Kizy's styles.")
    background: str | None = Field(default=None, max_length=20)
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    seed: Seed | None = None
    stream: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, values: Any) -> Any:
        return without_null(values)

    @property
    def as_links(self) -> bool:
        """Whether the answer holds addresses, not the pictures themselves."""
        if self.response_format is None:
            return re.match(r"(?:[\w.-]+[/:])*dall-e", self.model or "", re.IGNORECASE) is not None
        return self.response_format == "url"

    def require_possible(self) -> None:
        """Raises InputError `feature_unavailable`."""
        if self.stream:
            message = "Pictures are not streamed here."
            raise InputError("feature_unavailable", message, fix="Leave out `stream`.")
        if self.background == "transparent":
            message = "Pictures with a transparent background cannot be drawn."
            raise InputError("feature_unavailable", message, fix="Leave out `background`.")
        if self.as_links and self.output_format not in (None, "png"):
            message = "Pictures behind a url are PNG."
            fix = "Ask for response_format b64_json, or for no output_format."
            raise InputError("feature_unavailable", message, fix=fix)

    def to_draw(self, asking: Caller, **more: Any) -> GenerationRequest:
        """The same in Kizy's words."""
        model, style = self.model or "auto", self.style or ""
        owner = asking.owner_of(None)
        values: dict[str, Any] = {
            "prompt": self.prompt,
            "model": "auto" if THEIR_MODELS.match(model) else model,
            "style": "auto" if style.lower() in THEIR_STYLES else style,
            "size": self.size or "auto",
            "count": self.n or 1,
            "seed": "auto" if self.seed is None else self.seed,
            "quality": QUALITIES.get((self.quality or "").lower(), "balanced"),
            **more,
        }
        if owner is not None:
            values["owner"] = owner
        return GenerationRequest(**values)


class ImageEntry(BaseModel):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = Field(default=None, description="What was drawn.")


class ImageList(BaseModel):
    created: int
    background: str
    output_format: str
    data: tuple[ImageEntry, ...]


EDIT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image", "prompt"],
                "properties": {
                    "image": {"type": "string", "description": "The picture."},
                    "mask": {
                        "type": "string",
                        "description": "Transparent where it is drawn anew; or white, if opaque.",
                    },
                    **{
                        name: {"type": "string"}
                        for name in ("prompt", "model", "n", "size", "quality", "response_format")
                    },
                },
            },
            "example": {"prompt": "a red heart", "image": "(bytes)", "mask": "(bytes)"},
        }
    },
}

UNDONE = ("out_of_memory", "drawing_failed", "cancelled")


@router.post(
    "/images/generations",
    operation_id="openai_generate",
    summary="Draw, as OpenAI's clients ask for it",
    description=(
        "Waits for the pictures; a client that goes away cancels them. For long work use "
        "/v1/generations, which answers at once."
    ),
    response_description="The pictures.",
    response_model=ImageList,
    responses=openai_problems(*UNFIT, *ACCEPTING, *WITH_BODY, *UNDONE) | {200: example(IMAGES)},
)
async def openai_generate(
    body: Annotated[
        ImageRequest, Body(openapi_examples={"a_picture": {"value": IMAGE_REQUEST}})
    ],
    request: Request,
    asking: Asking,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    body.require_possible()
    wanted = body.to_draw(asking)
    return await _drawn(wanted, body, request, asking, idempotency_key)


@router.post(
    "/images/edits",
    operation_id="openai_edit",
    summary="Edit a picture, as OpenAI's clients ask for it",
    description="Draws it anew where the mask is transparent; without a mask, all of it.",
    response_description="The pictures.",
    response_model=ImageList,
    responses=openai_problems(
        *UNFIT, *ACCEPTING, *WITH_BODY, *UNDONE, "picture_too_large", "disk_full"
    )
    | {200: example(IMAGES)},
    openapi_extra={"requestBody": EDIT_BODY},
)
async def openai_edit(
    request: Request, asking: Asking, idempotency_key: IdempotencyKey = None
) -> Response:
    serve: ServeSettings = request.app.state.settings.serve
    folder: ArrivingFolder = request.app.state.arriving
    if not is_form(request):
        raise InputError("request_invalid", "The request is no form (multipart/form-data).")

    def limit_of(field: str, _name: str) -> int:
        if field not in ("image", "image[]", "mask"):
            raise InputError("request_invalid", f"A file belongs into image or mask, not {field}.")
        return serve.upload_mb * MEGABYTE

    async with read_form(request, folder, limit_of) as form:
        body = _from_texts(form)
        body.require_possible()
        images = [*form.files["image"], *form.files["image[]"]]
        if len(images) != 1:
            message = f"One picture is edited at a time; {len(images)} were sent."
            raise InputError("request_invalid", message, fix="Send one file as `image`.")
        more: dict[str, Any] = {}
        if form.files["mask"]:
            mask = folder.new_file()
            try:
                given = form.files["mask"][-1].content.path
                await run_in_threadpool(convert_mask, given, mask)
                kept = await take(asking, mask, "mask.png")
            finally:
                mask.unlink(missing_ok=True)
            more["mask"] = Mask(picture=kept.id)
        # By its content: clients often send no name that tells.
        start = await take(asking, images[0].content.path, "")
        more["start"] = StartPicture(picture=start.id)
    wanted = body.to_draw(asking, **more)
    return await _drawn(wanted, body, request, asking, idempotency_key)


def convert_mask(given: Path, to: Path) -> None:
    """From OpenAI's mask, transparent where to paint, to Kizy's, white there; a PNG.

    One that is opaque all over is taken as Kizy's, also where its file has an alpha channel, as
    canvases and GIMP save it. Raises PictureError.
    """
    picture = open_picture(given)
    transparent = picture.mode == "RGBA" and is_see_through(picture)
    mask = ImageChops.invert(picture.getchannel("A")) if transparent else as_mask(picture)
    mask.save(to, "PNG")


def _from_texts(form: Form) -> ImageRequest:
    texts = {name.removesuffix("[]"): values[-1] for name, values in form.texts.items()}
    try:
        return ImageRequest.model_validate({k: v for k, v in texts.items() if v != ""})
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        wrong = [{**detail, "loc": ("body", *detail["loc"])} for detail in details]
        raise RequestValidationError(wrong) from None


async def _drawn(
    wanted: GenerationRequest,
    body: ImageRequest,
    request: Request,
    asking: Caller,
    idempotency_key: str | None,
) -> Response:
    service = asking.service
    wish = Wish(idempotency_key=idempotency_key)
    job = await run_in_threadpool(service.generate, wanted, wish)
    job = await finished(service, job, request)
    if job.state != "succeeded":
        raise _error_of(job)
    pictures = sorted((x for x in job.artifacts if x.kind == "picture"), key=lambda x: x.index)
    if body.as_links:
        base, links = str(request.base_url).rstrip("/"), request.app.state.links
        found = [{"url": base + links.path(picture.id)} for picture in pictures]
    else:
        found = await run_in_threadpool(_contents, asking, pictures, body)
    said = {"revised_prompt": job.plan.prompt if job.plan is not None else None}
    return answer(
        {
            "created": int(time.time()),
            "background": "opaque",
            "output_format": body.output_format or "png",
            "data": [one | said for one in found],
        }
    )


def _contents(
    asking: Caller, pictures: Sequence[JobArtifact], body: ImageRequest
) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for picture in pictures:
        data = asking.service.artifact(picture.id).path.read_bytes()
        if body.output_format in ("jpeg", "webp"):
            data = _converted(data, body.output_format, body.output_compression)
        found.append({"b64_json": base64.b64encode(data).decode()})
    return found


def _converted(data: bytes, kind: str, quality: int | None) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        picture.convert("RGB").save(buffer, kind, quality=90 if quality is None else quality)
    return buffer.getvalue()


def _error_of(job: Job) -> KizyError:
    """Why a job ended without pictures."""
    if job.error is None:
        return errors.CancelledError("cancelled", "The job was cancelled.")
    code = job.error.code if job.error.code in CODES else "drawing_failed"
    kind = getattr(errors, CODES[code].error)
    return kind(code, job.error.message, fix=job.error.fix)
