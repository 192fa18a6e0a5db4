"""Fetch finished files, whole or in ranges (RFC 9110), and small versions of pictures."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BeforeValidator
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from ....core.errors import InputError, UnknownNameError
from ...service import ArtifactFile
from .auth import Asking
from .openapi_responses import problems
from .parameters import ArtifactId
from .problems import Refused
from .responses import PREFIX
from .thumbnails import MEDIA_TYPE, Side, Thumbnails

router = APIRouter(prefix=PREFIX, tags=["files"])

BLOCK = 256 * 1024
"""Bytes that are read at a time."""

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")

HEADERS = {
    # Named by their content, files never change; they are somebody's own, though.
    "Cache-Control": "private, max-age=31536000, immutable",
    # Whatever a file holds: a browser neither guesses what it is, nor runs anything in it.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

_BYTES: dict[str, Any] = {
    "image/png": {"schema": {"type": "string"}},
    "application/octet-stream": {"schema": {"type": "string"}},
    MEDIA_TYPE: {"schema": {"type": "string"}},
}


def _as_number(text: object) -> object:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 5 else text


RESPONSES = problems("artifact_unknown", "artifact_gone", "request_invalid") | {
    200: {"description": "The file, or its thumbnail.", "content": _BYTES},
    206: {"description": "A part of the file.", "content": _BYTES},
    304: {"description": "It is as it was."},
    416: {"description": "The file is shorter than that."},
}


@router.get(
    "/artifacts/{artifact_id}",
    operation_id="fetch_artifact",
    summary="Fetch a finished file",
    description=(
        "A picture has its Plan inside. The ETag is the file's id. With `thumbnail` it is a WebP "
        "of at most so many pixels a side."
    ),
    response_class=Response,
    responses=RESPONSES,
)
@router.head("/artifacts/{artifact_id}", include_in_schema=False)
async def fetch_artifact(
    artifact_id: ArtifactId,
    request: Request,
    asking: Asking,
    thumbnail: Annotated[
        Side | None,
        BeforeValidator(_as_number),
        Query(description="Pixels of the longer side, for pictures."),
    ] = None,
    range_: Annotated[
        str | None, Header(alias="Range", description="One range of bytes.", max_length=200)
    ] = None,
    if_none_match: Annotated[str | None, Header(max_length=8000)] = None,
    if_range: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    file = await run_in_threadpool(asking.service.artifact, artifact_id)
    etag = f'"{file.etag}"' if thumbnail is None else f'"{file.etag}-{thumbnail}"'
    headers = HEADERS | {"ETag": etag}
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    if thumbnail is not None:
        data = await run_in_threadpool(_thumbnail, request.app.state.thumbnails, file, thumbnail)
        return Response(data, headers=headers, media_type=MEDIA_TYPE)
    size = await run_in_threadpool(_size, file)
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": disposition(file)}
    wanted = None
    if range_ is not None and if_range in (None, etag):
        wanted = _wanted(range_, size)
    begin, end = wanted or (0, size)
    headers["Content-Length"] = str(end - begin)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    status = 206 if wanted is not None else 200
    if request.method == "HEAD":
        return Response(None, status, headers, file.media_type)
    return StreamingResponse(_read(file, begin, end), status, headers, file.media_type)


def disposition(file: ArtifactFile) -> str:
    """Pictures are shown, other files are saved; by a name of any letters (RFC 6266)."""
    kind = "inline" if file.media_type.startswith("image/") else "attachment"
    plain = re.sub(r'[^ !#-\[\]-~]', "_", file.name)  # fmt: skip
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"


def _thumbnail(thumbnails: Thumbnails, file: ArtifactFile, side: Side) -> bytes:
    if not file.media_type.startswith("image/"):
        raise InputError("request_invalid", f"{file.name} is no picture: it has no thumbnail.")
    _size(file)
    return thumbnails.get(file.etag, file.path, side)


def _size(file: ArtifactFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError as error:
        raise UnknownNameError("artifact_gone", f"The file {file.name} was removed.") from error


def _matches(given: str, etag: str) -> bool:
    """Whether If-None-Match names this version."""
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return etag in tags or "*" in tags


def _wanted(text: str, size: int) -> tuple[int, int] | None:
    """(first byte, byte behind the last) of a range; None for several or unclear ones.

    Those are answered with the whole file, as RFC 9110 allows. Raises Refused with status 416.
    """
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < begin:
            return None
    if begin >= end:
        error = InputError("request_invalid", f"The file has only {size:,} bytes.")
        refused = Refused(error, 416)
        refused.headers = {"Content-Range": f"bytes */{size}"}
        raise refused
    return begin, end


async def _read(file: ArtifactFile, begin: int, end: int) -> AsyncIterator[bytes]:
    async with await anyio.open_file(file.path, "rb") as opened:
        await opened.seek(begin)
        while begin < end and (data := await opened.read(min(BLOCK, end - begin))):
            begin += len(data)
            yield data
