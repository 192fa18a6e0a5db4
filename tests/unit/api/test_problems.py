"""Everything that goes wrong is a problem document."""

from __future__ import annotations

import pytest
from kizy.core.errors import CODES, StorageError
from kizy.orchestrator.server.rest.problems import STATUS, status_of
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/jobs/", 404),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=0", 422),
        ("GET", "/v1/jobs?state=lost", 422),
        ("GET", "/v1/jobs/nothing", 404),
        ("GET", "/v1/jobs/5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11", 404),
        ("GET", "/v1/artifacts/nothing", 404),
    ],
)
def test_refusals_are_problem_documents(
    api: TestClient, method: str, path: str, status: int
) -> None:
    answer = api.request(method, path)
    said = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert said["status"] == status
    assert said["type"] == f"urn:kizy:error:{said['code']}"
    assert said["title"] == CODES[said["code"]].meaning
    assert said["detail"]
    assert said["fix"]


def test_another_method_is_told_which_there_are(api: TestClient) -> None:
    assert api.put("/v1/jobs").headers["allow"] == "GET"


@pytest.mark.parametrize("body", ["{", '{"prompt": ', "[" * 100_000, "\xff"])
def test_broken_json_is_a_problem_document(api: TestClient, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.post("/v1/generations", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == "request_invalid"


def test_a_mistake_of_kizys_own_tells_nothing_of_its_inside(
    fake: FakeService, api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(FakeService, "styles", broken)
    answer = api.get("/v1/styles")
    assert (answer.status_code, answer.json()["code"]) == (500, "server_mistake")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_an_error_of_the_disk_tells_no_path(fake: FakeService, api: TestClient) -> None:
    fake.raises["styles"] = StorageError("folder_not_writable", "Cannot write to /home/me/kizy.")
    answer = api.get("/v1/styles")
    assert answer.status_code == 500
    assert "/home/me" not in answer.text


def test_every_status_belongs_to_a_code_of_the_table() -> None:
    assert set(STATUS) - set(CODES) == set()


def test_input_errors_are_unprocessable_and_others_are_the_servers_fault() -> None:
    assert status_of("size_invalid") == status_of("model_unknown") == 422
    assert status_of("drawing_failed") == 500
