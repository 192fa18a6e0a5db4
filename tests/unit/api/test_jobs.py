"""Jobs and the queue."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.core.errors import EngineError
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

UNKNOWN = "5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11"


@pytest.fixture
def waiting(held: FakeService, client: Any) -> TestClient:
    """A client of a queue where nothing begins."""
    return client(held)


def ask(client: TestClient, prompt: str = "a fox", **more: Any) -> str:
    return client.post("/v1/generations", json={"prompt": prompt, **more}).json()["id"]


def test_jobs_come_newest_first_a_page_at_a_time(both: TestClient) -> None:
    ids = [ask(both, f"a fox {number}") for number in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = both.get("/v1/jobs", params={"limit": 2, **cursor}).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ids[::-1]


def test_jobs_are_told_apart_by_state_kind_and_owner(
    waiting: TestClient, held: FakeService
) -> None:
    first, second = ask(waiting), ask(waiting, "an owl", owner="anna")
    held.begin(first)
    by = {
        "state=running": [first],
        "state=running&state=queued": [second, first],
        "kind=training": [],
        "owner=anna": [second],
    }
    for query, ids in by.items():
        jobs = waiting.get(f"/v1/jobs?{query}").json()["jobs"]
        assert [job["id"] for job in jobs] == ids, query


@pytest.mark.parametrize("cursor", ["nonsense", "🦊", "-1", "9" * 150])
def test_a_cursor_that_is_none_is_refused(both: TestClient, cursor: str) -> None:
    answer = both.get("/v1/jobs", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_a_job_that_waits_tells_its_place(waiting: TestClient) -> None:
    ask(waiting)
    second = ask(waiting, "an owl")
    assert waiting.get(f"/v1/jobs/{second}").json()["place"] == 2


def test_a_job_is_cancelled_by_delete(waiting: TestClient) -> None:
    job = ask(waiting)
    assert waiting.delete(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert waiting.get(f"/v1/jobs/{job}").json()["error"]["code"] == "cancelled"


def test_order_priority_and_pause_of_a_waiting_job_change(waiting: TestClient) -> None:
    ask(waiting)
    second = ask(waiting, "an owl")
    path = f"/v1/jobs/{second}"
    assert waiting.patch(path, json={"before": "first"}).json()["place"] == 1
    changed = waiting.patch(path, json={"priority": -5, "paused": True}).json()
    assert (changed["priority"], changed["paused"]) == (-5, True)


def test_a_job_that_began_keeps_its_place(waiting: TestClient, held: FakeService) -> None:
    job = ask(waiting)
    held.begin(job)
    answer = waiting.patch(f"/v1/jobs/{job}", json={"before": "first"})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_waiting")


@pytest.mark.parametrize("change", [{"priority": 101}, {"state": "done"}, {"before": "a\0b"}])
def test_a_change_that_is_none_is_refused(waiting: TestClient, change: dict[str, Any]) -> None:
    answer = waiting.patch(f"/v1/jobs/{ask(waiting)}", json=change)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_a_job_that_failed_is_tried_again(waiting: TestClient, held: FakeService) -> None:
    job = ask(waiting)
    held.begin(job)
    held.fail(job, EngineError("out_of_memory", "Memory did not suffice."))
    answer = waiting.post(f"/v1/jobs/{job}/retry")
    assert (answer.status_code, answer.json()["retry_of"]) == (202, job)
    assert answer.headers["location"] == answer.json()["links"]["self"]


def test_a_job_that_waits_is_not_tried_again(waiting: TestClient) -> None:
    answer = waiting.post(f"/v1/jobs/{ask(waiting)}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_over")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("PATCH", ""),
        ("POST", "/retry"),
        ("GET", "/events"),
    ],
)
@pytest.mark.parametrize("job", [UNKNOWN, "nothing", "%00", "..%2f..%2fetc"])
def test_an_unknown_job_is_not_there(both: TestClient, method: str, path: str, job: str) -> None:
    body = {} if method == "PATCH" else None
    answer = both.request(method, f"/v1/jobs/{job}{path}", json=body)
    assert answer.status_code == 404
    assert answer.json()["code"] in ("job_unknown", "route_unknown")


def test_the_queue_is_paused_and_goes_on(both: TestClient) -> None:
    assert both.patch("/v1/queue", json={"paused": True}).json()["paused"] is True
    assert both.get("/v1/queue").json()["paused"] is True
    assert both.patch("/v1/queue", json={"paused": False}).json()["paused"] is False
