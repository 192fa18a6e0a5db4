"""The OpenAPI document: it is whole, its examples are right, and no request that fits it or not
brings the server down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database, sqlite_url
from kizy.orchestrator.jobs.recorder import Ledger
from kizy.orchestrator.jobs.runs.drawing import SavedInLedger
from kizy.orchestrator.jobs.service import QueueService
from kizy.orchestrator.jobs.table import JobTable
from kizy.orchestrator.jobs.upload_table import Uploads
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.settings import Settings
from kizy.orchestrator.storage.artifacts import ArtifactStore
from kizy.orchestrator.storage.uploads import UploadStore
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fakes.draws import FakeApp
from tests.fakes.service import FakeService

Document = dict[str, Any]

ROUTES = """
POST /v1/generations
POST /v1/trainings
POST /v1/plan
GET /v1/jobs
GET /v1/jobs/{job_id}
DELETE /v1/jobs/{job_id}
PATCH /v1/jobs/{job_id}
GET /v1/jobs/{job_id}/events
POST /v1/jobs/{job_id}/retry
GET /v1/queue
PATCH /v1/queue
GET /v1/artifacts/{artifact_id}
POST /v1/uploads
GET /v1/models
GET /v1/loras
GET /v1/styles
GET /v1/families
GET /v1/templates
GET /v1/servers
POST /v1/images/generations
POST /v1/images/edits
GET /healthz
GET /readyz
GET /metrics
"""

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]

EXAMPLES = 8
"""Requests for each route and phase: enough to find what is wrong now and then, in seconds."""


@pytest.fixture
def document(tmp_path: Path) -> Document:
    return make_api(FakeService(tmp_path)).openapi()


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_there_and_no_other(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    assert {name for name, _ in operations(document)} == set(ROUTES.split("\n")[1:-1])


def test_every_route_says_what_it_is(document: Document) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"] or operation["responses"]["200"]["description"], name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]), name
        assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}, name


def test_every_refusal_is_a_problem_document(document: Document) -> None:
    kinds = {"application/problem+json": "Problem", "application/json": "OpenAIProblem"}
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) < 400 or status == "416":
                continue
            for kind, content in response["content"].items():
                assert content["schema"]["$ref"].endswith(f"/{kinds[kind]}"), (name, status)
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_request_body_has_an_example(document: Document) -> None:
    for name, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            if content["schema"] != {"type": "string"}:
                assert "example" in content or content["examples"], name


def test_every_example_fits_its_schema(document: Document) -> None:
    found = list(examples(document, document["paths"]))
    assert len(found) > 60
    for schema, value in found:
        whole = {**schema, "components": document["components"]}
        checker = jsonschema.FormatChecker()
        jsonschema.Draft202012Validator(whole, format_checker=checker).validate(value)


def test_every_schema_is_one(document: Document) -> None:
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert name == "HTTPValidationError" or "$defs" not in schema, name


def examples(document: Document, value: Any) -> Iterator[tuple[Document, Any]]:
    """(schema, example) of all media types and parameters."""
    if isinstance(value, dict):
        schema = value.get("schema")
        if isinstance(schema, dict):
            if "example" in value:
                yield schema, value["example"]
            yield from ((schema, one["value"]) for one in value.get("examples", {}).values())
            yield from ((schema, one) for one in schema.get("examples", []))
        for item in value.values():
            yield from examples(document, item)
    elif isinstance(value, list):
        for item in value:
            yield from examples(document, item)


class OnThisMachine:
    """An ASGI app that is called from the machine that it runs on."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            own = [(name, value) for name, value in scope["headers"] if name != b"host"]
            headers = [*own, (b"host", b"127.0.0.1:7433")]
            scope = {**scope, "client": ("127.0.0.1", 50000), "headers": headers}
        await self._app(scope, receive, send)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueService]:
    """The queue itself, with a job that failed and one that is done."""
    database = Database(sqlite_url(tmp_path / "jobs.sqlite"))
    store = ArtifactStore(tmp_path / "artifacts", "1")
    ledger = Ledger(JobTable(database), store)
    app: Any = FakeApp(store, SavedInLedger(ledger))
    uploads = Uploads(database, UploadStore(tmp_path / "uploads"))
    service = QueueService(database, app, ledger, uploads)
    yield service
    service.close(0.5)


@pytest.fixture
def there(queue: QueueService) -> dict[str, list[str]]:
    """Parameter of paths -> what is there of it: a job that is done, one that was cancelled."""
    done = queue.generate(GenerationRequest(prompt="a fox", seed=1))
    assert [heard.event.kind for heard in queue.follow(done.id)][-1] == "end"
    cancelled = queue.cancel(queue.generate(GenerationRequest(prompt="an owl", seed=2)).id)
    files = [artifact.id for artifact in queue.job(done.id).artifacts]
    return {"job_id": [done.id, cancelled.id], "artifact_id": files}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_brings_the_server_down(
    queue: QueueService, there: dict[str, list[str]], mode: GenerationMode
) -> None:
    """Neither one that fits the document nor one that does not; and answers are as it says."""
    app = OnThisMachine(make_api(queue, Settings()))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    schema.config.generation.with_security_parameters = False
    asked = 0
    operations: Any = schema.get_all_operations()
    for found in operations:
        operation = found.ok()
        known = {name: ids for name, ids in there.items() if f"{{{name}}}" in operation.path}
        asked += try_out(operation.as_strategy(generation_mode=mode))
        for name, ids in known.items():
            for one in ids:
                own = operation.as_strategy(generation_mode=mode, path_parameters={name: one})
                asked += try_out(own)
    assert asked > 100


def try_out(cases: Any) -> int:
    """Send some requests; how many it were."""
    asked = 0

    @given(case=cases)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(checks=CHECKS)

    try:
        ask()
    except Unsatisfiable:
        # A route without parameters takes no request that does not fit.
        return 0
    return asked
