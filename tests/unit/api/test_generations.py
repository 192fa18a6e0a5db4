"""Asking for pictures and Plans."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from kizy.core.errors import EngineError, StorageError, UnknownNameError
from kizy.orchestrator.server.rest.responses import without_paths
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

PATH = "/v1/generations"


def test_a_sentence_is_enough(both: TestClient) -> None:
    answer = both.post(PATH, json={"prompt": "a red fox"})
    job = answer.json()
    assert answer.status_code == 202
    assert job["state"] in ("queued", "running", "succeeded")
    assert (job["title"], job["owner"], job["kind"]) == ("a red fox", "local", "generation")


def test_the_answer_says_where_to_go_on(api: TestClient) -> None:
    answer = api.post(PATH, json={"prompt": "a red fox"})
    job = answer.json()
    own = f"/v1/jobs/{job['id']}"
    assert answer.headers["location"] == job["links"]["self"] == job["links"]["cancel"] == own
    assert job["links"]["events"] == f"{own}/events"
    done = api.get(own).json()
    assert done["links"]["artifacts"] == [f"/v1/artifacts/{done['artifacts'][0]['id']}"]


def test_options_beside_the_wish_reach_the_queue(api: TestClient, fake: FakeService) -> None:
    body = {"prompt": "a fox", "fresh": True, "raw": True, "deadline": "2031-01-01T12:00:00Z"}
    job = api.post(PATH, json=body, headers={"Idempotency-Key": "mine"}).json()
    wish = fake.wish_of(job["id"])
    assert (wish.fresh, wish.raw, wish.idempotency_key) == (True, True, "mine")
    assert wish.deadline == datetime(2031, 1, 1, 12, tzinfo=UTC)


def test_the_same_idempotency_key_gives_the_same_job(both: TestClient) -> None:
    headers = {"Idempotency-Key": "order 4711"}
    first = both.post(PATH, json={"prompt": "a fox"}, headers=headers).json()
    second = both.post(PATH, json={"prompt": "a fox"}, headers=headers).json()
    assert first["id"] == second["id"]


def test_an_idempotency_key_of_another_request_is_refused(both: TestClient) -> None:
    headers = {"Idempotency-Key": "order 4711"}
    both.post(PATH, json={"prompt": "a fox"}, headers=headers)
    answer = both.post(PATH, json={"prompt": "an owl"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


def test_the_same_plan_is_answered_from_the_store_and_says_so(fake: FakeService) -> None:
    from kizy.core.request import GenerationRequest

    first = fake.generate(GenerationRequest(prompt="a fox"))
    second = fake.generate(GenerationRequest(prompt="a fox"))
    assert (first.from_store, second.from_store) == (False, True)


def test_half_an_emoji_in_a_prompt_is_no_trouble(api: TestClient) -> None:
    """A client that cuts a text after so many letters sends one."""
    headers = {"Content-Type": "application/json"}
    body = '{"prompt": "a fox \\ud83e"}'
    answer = api.post(PATH, content=body, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (202, "a fox \ufffd")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "prompt_empty"),
        ({"prompt": "  "}, "prompt_empty"),
        ({"prompt": "x" * 10_001}, "prompt_too_long"),
        ({"prompt": "x", "size": "huge"}, "size_invalid"),
        ({"prompt": "x", "count": 0}, "request_invalid"),
        ({"prompt": "x", "colour": "red"}, "request_invalid"),
        ({"prompt": "x", "model": "nothing-like-it"}, "model_unknown"),
        ({"prompt": "x", "start": {"picture": "0" * 64}}, "upload_unknown"),
        ({"prompt": "x", "start": {"picture": "/etc/passwd"}}, "upload_unknown"),
        ({"prompt": "x", "deadline": "2031-01-01T12:00:00"}, "request_invalid"),
        ({"prompt": "a\0b"}, "request_invalid"),
        ({"prompt": "\ud800"}, "request_invalid"),
        (["prompt"], "request_invalid"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_code(api: TestClient, body: Any, code: str) -> None:
    import json

    headers = {"Content-Type": "application/json"}
    answer = api.post(PATH, content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_every_wrong_value_is_named(api: TestClient) -> None:
    body = {"prompt": "x", "count": 0, "loras": [{"name": "a", "model_weight": 99}]}
    wrong = {one["where"].partition(".")[0] for one in api.post(PATH, json=body).json()["errors"]}
    assert wrong == {"count", "loras"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(api: TestClient, kind: str) -> None:
    answer = api.post(PATH, content='{"prompt": "x"}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "--json" in answer.json()["fix"]


def test_a_full_queue_says_when_to_try_again(fake: FakeService, api: TestClient) -> None:
    fake.raises["generate"] = EngineError("queue_full", "1,000 jobs wait already.")
    answer = api.post(PATH, json={"prompt": "x"})
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineError("server_stopping", "Stopping."), 503),
        (EngineError("server_unreachable", "Away."), 503),
        (EngineError("local_missing", "No torch."), 500),
        (StorageError("disk_full", "Full."), 507),
        (UnknownNameError("style_unknown", "No style."), 422),
    ],
)
def test_errors_have_the_status_of_their_code(
    fake: FakeService, api: TestClient, error: Any, status: int
) -> None:
    fake.raises["generate"] = error
    answer = api.post(PATH, json={"prompt": "x"})
    assert (answer.status_code, answer.json()["code"]) == (status, error.code)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_plan_is_told_with_its_reasons_and_nothing_is_drawn(
    api: TestClient, fake: FakeService
) -> None:
    answer = api.post("/v1/plan", json={"prompt": "a red fox", "seed": 3})
    assert answer.status_code == 200
    assert (answer.json()["seed"], answer.json()["reasons"][0]["choice"]) == (3, "model")
    assert fake.jobs().jobs == ()


def test_no_path_of_the_server_is_told() -> None:
    told = without_paths(
        {
            "model": {"name": "xl", "path": "/home/me/xl.safetensors", "sha256": "a"},
            "loras": [{"file": {"name": "ink", "path": "/home/me/ink.safetensors"}}],
            "start": {"picture": {"path": "/home/me/kizy/inputs/ab.png", "sha256": "ab"}},
        }
    )
    assert told["model"]["path"] is told["loras"][0]["file"]["path"] is None
    assert told["start"]["picture"]["path"] == "ab.png"
