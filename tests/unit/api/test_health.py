"""For those who watch over the server."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.fakes.service import FakeService


def numbers(client: TestClient) -> dict[tuple[str, ...], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_lives(both: TestClient) -> None:
    assert both.get("/healthz").json() == {"status": "ok"}
    assert both.get("/readyz").json() == {"status": "ok"}


def test_one_that_is_not_ready_says_why_and_when_to_ask_again(
    api: TestClient, fake: FakeService
) -> None:
    fake.be_not_ready("The disk is full.")
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The disk is full.")
    assert answer.headers["retry-after"]
    assert api.get("/healthz").status_code == 200


def test_one_that_stops_is_not_ready(api: TestClient, fake: FakeService) -> None:
    fake.close()
    assert api.get("/readyz").json()["code"] == "server_stopping"


def test_jobs_and_requests_are_counted(both: TestClient) -> None:
    both.post("/v1/generations", json={"prompt": "a fox"})
    for job in ("nothing", "nobody"):
        both.get(f"/v1/jobs/{job}")
    both.get("/a/path/of/somebody")
    told = numbers(both)
    assert sum(v for k, v in told.items() if k[:2] == ("kizy_jobs", "generation")) == 1
    assert told["kizy_http_requests_total", "POST", "/v1/generations", "202"] == 1
    assert told["kizy_http_requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 2
    assert told["kizy_http_requests_total", "GET", "other", "404"] == 1
    assert told["kizy_ready",] == 1
    assert ("kizy_jobs_waiting",) in told


def test_the_address_that_was_asked_for_is_no_label(api: TestClient) -> None:
    for number in range(3):
        api.get(f"/nothing/{number}")
    assert not any("/nothing" in str(key) for key in numbers(api))
