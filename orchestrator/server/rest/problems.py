"""Errors as problem documents (RFC 9457) with code and fix; to OpenAI's clients in their form."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ....core import errors
from ....core.errors import (
    CODES,
    EngineError,
    InputError,
    KizyError,
    StorageError,
    UnknownNameError,
)
from ....core.request import MAX_PROMPT
from ....core.surrogates import whole_json

MEDIA_TYPE = "application/problem+json"
OPENAI_PATHS = "/v1/images/"
"""Below this path errors have the form that OpenAI's clients read."""

QUEUE_WAIT, AWAY_WAIT = 10, 5
"""Seconds after which to try again: with a full queue, and with a server that is away."""

MAX_SHOWN = 20
"""Wrong values that one answer names."""

STATUS = {
    "key_missing": 401,
    "key_wrong": 401,
    "not_allowed": 403,
    "origin_refused": 403,
    "link_ended": 403,
    "job_unknown": 404,
    "artifact_unknown": 404,
    "route_unknown": 404,
    "upload_too_slow": 408,
    "idempotency_conflict": 409,
    "job_not_over": 409,
    "job_not_waiting": 409,
    "cancelled": 409,
    "artifact_gone": 410,
    "upload_too_large": 413,
    "deadline_passed": 422,
    "queue_full": 429,
    "page_missing": 501,
    "server_stopping": 503,
    "server_unreachable": 503,
    "database_unusable": 503,
    "disk_full": 507,
}

log = logging.getLogger("kizy.api")


class Refused(HTTPException):
    """A KizyError that FastAPI lets through while it reads a request's body.

    `answer`: an HTTP status, where it is not that of the code.
    """

    def __init__(self, error: KizyError, answer: int | None = None) -> None:
        super().__init__(answer or status_of(error.code), error.message)
        self.error = error


def status_of(code: str) -> int:
    """The HTTP status that belongs to an error."""
    kind = getattr(errors, CODES[code].error)
    return STATUS.get(code) or (422 if issubclass(kind, InputError) else 500)


def problem(
    error: KizyError,
    *,
    path: str = "",
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    wrong: Sequence[dict[str, str]] = (),
) -> Response:
    """The answer that tells of an error. `wrong`: values of the request, `where` and `what`."""
    status = status or status_of(error.code)
    # About the server's own disk and database only the server's log says all.
    detail = CODES[error.code].meaning if isinstance(error, StorageError) else error.message
    more = dict(headers or {}) | _headers(error.code, status)
    if path.startswith(OPENAI_PATHS):
        return _as_openai(error.code, f"{detail} {error.fix}", status, more, wrong)
    values = document(error.code, status, detail, error.fix)
    if wrong:
        values["errors"] = list(wrong)
    # In ASCII: what a request held may not be text that UTF-8 can write.
    return Response(whole_json(json.dumps(values).encode()), status, more, MEDIA_TYPE)


def document(code: str, status: int, detail: str, fix: str) -> dict[str, Any]:
    """A problem document. docs/errors.md tells about each code, which its `type` names."""
    return {
        "type": f"urn:kizy:error:{code}",
        "title": CODES[code].meaning,
        "status": status,
        "detail": detail,
        "code": code,
        "fix": fix,
    }


def install(app: FastAPI) -> None:
    """Answer every error of this app so."""
    app.add_exception_handler(KizyError, _on_kizy_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_values)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_mistake)


async def _on_kizy_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, KizyError)
    if status_of(error.code) >= 500:
        log.warning("%s %s: %s (%s)", request.method, request.url.path, error.message, error.code)
    return problem(error, path=request.url.path)


async def _on_wrong_values(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = list(error.errors())
    if request.method in ("POST", "PATCH") and _is_no_json(request, details):
        message = "The request's body is no JSON."
        fix = "Send JSON, with the header Content-Type: application/json (curl: --json)."
        wrong = InputError("request_invalid", message, fix=fix)
        return problem(wrong, path=request.url.path, status=415)
    where = [
        {"where": _place(detail), "what": str(detail["msg"])} for detail in details[:MAX_SHOWN]
    ]
    return problem(input_error(details[0]), path=request.url.path, wrong=where)


def input_error(detail: Mapping[str, Any]) -> InputError:
    """From the first of pydantic's errors; codes as `core.request.parse_request` gives them."""
    field = str(detail["loc"][-1]) if detail["loc"] else "request"
    kind, given = detail["type"], detail.get("input")
    if field in ("prompt", "negative"):
        if kind == "string_too_long":
            message = f"The {field} is {len(str(given)):,} characters long; {MAX_PROMPT:,} is the "
            return InputError("prompt_too_long", f"{message}limit.")
        if kind in ("string_too_short", "missing"):
            return InputError("prompt_empty", "The prompt is empty.")
    reason = str(detail["msg"]).removeprefix("Value error, ")
    return InputError("request_invalid", f"{_place(detail)}: {reason[:1].lower()}{reason[1:]}.")


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, headers = request.url.path, error.headers
    if isinstance(error, Refused):
        return problem(error.error, path=path, status=error.status_code, headers=headers)
    if error.status_code in (404, 405):
        message = f"There is nothing at {request.method} {path[:200]}."
        unknown = UnknownNameError("route_unknown", message)
        return problem(unknown, path=path, status=error.status_code, headers=headers)
    message = f"The request cannot be read: {error.detail}."
    wrong = InputError("request_invalid", message)
    # FastAPI tells broken JSON in two ways; here both are one.
    status = 422 if error.status_code == 400 else error.status_code
    return problem(wrong, path=path, status=status, headers=headers)


async def _on_gone(request: Request, error: Exception) -> Response:
    # Nobody reads it; 400 for the log of who stands between.
    return Response(status_code=400)


async def _on_mistake(request: Request, error: Exception) -> Response:
    # The traceback goes to the log: who catches this re-raises it.
    mistake = EngineError("server_mistake", "Kizy's server made a mistake.")
    return problem(mistake, path=request.url.path)


def _headers(code: str, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="kizy"'}
    if status in (429, 503):
        return {"Retry-After": str(QUEUE_WAIT if code == "queue_full" else AWAY_WAIT)}
    return {"Connection": "close"} if status in (408, 413) else {}


def _as_openai(
    code: str,
    message: str,
    status: int,
    headers: Mapping[str, str],
    wrong: Sequence[dict[str, str]],
) -> Response:
    status = 400 if status == 422 else status
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = wrong[0]["where"].rpartition(".")[2] if wrong else None
    error = {"message": message, "type": kind, "param": param, "code": code}
    text = whole_json(json.dumps({"error": error}).encode())
    return Response(text, status, headers, "application/json")


def _place(detail: Mapping[str, Any]) -> str:
    """`prompt`, or `loras.0.name`: without whether it stood in body, query or header."""
    loc = [str(part) for part in detail["loc"]]
    return ".".join(loc[1:] or loc)[:200]


def _is_no_json(request: Request, details: Sequence[Mapping[str, Any]]) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    json_sent = kind == "application/json" or kind.endswith("+json")
    return not json_sent and any(tuple(detail["loc"]) == ("body",) for detail in details)
