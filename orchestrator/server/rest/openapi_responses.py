"""What the OpenAPI document says beside the handlers' own types: problems, events, examples."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ....core.errors import CODES
from .openapi_examples import EVENT
from .problems import MEDIA_TYPE, document, status_of

ALWAYS = ("key_missing", "key_wrong", "origin_refused", "server_mistake", "database_unusable")
"""Any route may answer so."""

WITH_BODY = ("request_invalid", "upload_too_large", "upload_too_slow")
"""Any route that reads a body, or another value of a limited form, may answer so."""

ACCEPTING = ("queue_full", "server_stopping", "idempotency_conflict", "deadline_passed")
"""Routes that take on work may answer so."""

_WORDS = {
    401: "A key is wanted, or the given one is wrong.",
    403: "Not allowed.",
    404: "Not there, or somebody else's.",
    408: "The body came in too slowly.",
    409: "It does not fit how things stand.",
    410: "It was removed.",
    413: "Too large.",
    415: "The body is no JSON.",
    422: "A value cannot be used; `code` says why, `errors` where.",
    429: "Too much waits already.",
    500: "It could not be done.",
    503: "Not now: try again after a while.",
    507: "The server's disk is full.",
}

PROBLEM = {
    "type": "object",
    "description": "What happened and what to do (RFC 9457). docs/errors.md lists the codes.",
    "required": ["type", "title", "status", "detail", "code", "fix"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:kizy:error:size_invalid"]},
        "title": {"type": "string", "description": "What the code means."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened."},
        "code": {"type": "string", "description": "Never changes.", "examples": ["size_invalid"]},
        "fix": {"type": "string", "description": "What to do."},
        "errors": {
            "type": "array",
            "description": "Values of the request that are wrong.",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
}

OPENAI_PROBLEM = {
    "type": "object",
    "description": "What OpenAI's clients read; `code` is Kizy's.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}

EVENTS: dict[str, Any] = {
    "description": "Events until the job's end. The `data` of each is a JobEvent.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "One event. The stream is such events, one behind the other.",
                "required": ["event", "data"],
                "properties": {
                    "event": {"type": "string", "description": "The `kind` of the data."},
                    "id": {"type": "string", "description": "For Last-Event-ID."},
                    "data": {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": {"$ref": "#/components/schemas/JobEvent"},
                    },
                },
            },
            "example": EVENT,
        }
    },
}

Responses = dict[int | str, dict[str, Any]]


def problems(*codes: str) -> Responses:
    """The responses of a route that may answer with these codes, and with those of any route."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for code in dict.fromkeys((*codes, *ALWAYS)):
        found[status_of(code)].append(code)
    if "upload_too_large" in codes:
        found[415].append("request_invalid")
    return {status: _response(status, which) for status, which in sorted(found.items())}


def openai_problems(*codes: str) -> Responses:
    """The same in OpenAI's form."""
    statuses = {400 if status == 422 else status for status in problems(*codes)}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIProblem"}}}
    return {
        status: {"description": _WORDS.get(int(status), "It cannot be done."), "content": content}
        for status in sorted(statuses, key=int)
    }


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    examples = {
        code: {"value": document(code, status, CODES[code].meaning, CODES[code].fix)}
        for code in codes
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    told: dict[str, Any] = {
        "description": _WORDS[status],
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    if status in (429, 503):
        told["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    if status == 401:
        told["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return told
