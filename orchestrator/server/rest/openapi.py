"""The OpenAPI document: FastAPI's own, with what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from ....core.job import JobEvent
from .openapi_responses import OPENAI_PROBLEM, PROBLEM

DESCRIPTION = """\
Say what you want to see: Kizy picks the model, the LoRAs and the effects, says why, and draws.

Every request is a job that is never lost: it is accepted at once, waits for its turn, and can be
followed, cancelled and tried again. Errors are problem documents (RFC 9457) whose `code` never
changes and whose `fix` says what to do.

On the server's own machine no key is wanted; elsewhere send `Authorization: Bearer KEY`.
"""

TAGS = [
    {"name": "generations", "description": "Ask for pictures."},
    {"name": "trainings", "description": "Ask for a LoRA made from pictures."},
    {"name": "jobs", "description": "What was asked for, and how far it is."},
    {"name": "files", "description": "Hand files over, and fetch finished ones."},
    {"name": "catalog", "description": "What there is to ask for."},
    {"name": "openai", "description": "For clients that speak OpenAI's protocol."},
    {"name": "health", "description": "For those who watch over the server."},
]

_REF = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Let the app answer with the whole document; it is made once."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_completed(FastAPI.openapi(app)))
        return made

    app.openapi = openapi


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    events = TypeAdapter(JobEvent).json_schema(mode="serialization", ref_template=_REF)
    for name, schema in events.pop("$defs", {}).items():
        schemas.setdefault(name, schema)
    schemas |= {"JobEvent": events, "Problem": PROBLEM, "OpenAIProblem": OPENAI_PROBLEM}
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "`kizy keys add NAME` makes one.",
        }
    }
    document["security"] = [{}, {"key": []}]
    for item in document["paths"].values():
        for operation in item.values():
            _without_fastapis_own(operation["responses"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def _without_fastapis_own(responses: dict[str, Any]) -> None:
    """FastAPI adds what it would answer itself to wrong values; a problem stands for it here."""
    own = responses.get("422", {}).get("content", {}).get("application/json", {})
    if own.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
        del responses["422"]
