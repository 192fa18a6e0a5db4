"""Who may ask: keys, this machine, web pages, proxies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kizy.orchestrator.jobs.keys import KeyStore
from kizy.orchestrator.server.rest.auth import is_loopback
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

JOBS = "/v1/jobs"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def outside(fake: FakeService, client: Any, keys: KeyStore) -> TestClient:
    """A client of a server that others reach."""
    return client(fake, host="0.0.0.0", keys=keys)


def test_this_machine_needs_no_key(api: TestClient) -> None:
    assert api.get(JOBS).status_code == 200


def test_a_server_that_others_reach_always_wants_a_key(outside: TestClient) -> None:
    answer = outside.get(JOBS)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_opens_the_door(outside: TestClient, keys: KeyStore) -> None:
    _, key = keys.add("anna")
    assert outside.get(JOBS, headers=bearer(key)).status_code == 200


@pytest.mark.parametrize("header", ["Bearer kizy_wrong", "Basic YTpi", "Bearer kizy_é"])
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_wrong_key_is_refused_also_on_this_machine(
    fake: FakeService, client: Any, keys: KeyStore, host: str, header: str
) -> None:
    asked = client(fake, host=host, keys=keys)
    answer = asked.get(JOBS, headers={"Authorization": header.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (401, "key_wrong")
    assert "wrong" not in answer.json()["detail"].replace("key_wrong", "")


@pytest.mark.parametrize("words", ["none", "sk-proj-something", ""])
def test_where_no_key_is_needed_one_of_somebody_else_counts_as_none(
    api: TestClient, outside: TestClient, words: str
) -> None:
    assert api.get(JOBS, headers=bearer(words)).status_code == 200
    refused = outside.get(JOBS, headers=bearer(words)).json()["code"]
    assert refused == ("key_wrong" if words else "key_missing")


def test_a_web_page_gets_no_further_with_somebody_elses_key(api: TestClient) -> None:
    headers = {**bearer("none"), "Origin": "http://evil.example"}
    assert api.get(JOBS, headers=headers).json()["code"] == "origin_refused"


def test_a_withdrawn_key_is_wrong(outside: TestClient, keys: KeyStore) -> None:
    known, key = keys.add("anna")
    keys.withdraw(known.id)
    assert outside.get(JOBS, headers=bearer(key)).json()["code"] == "key_wrong"


def test_each_key_sees_its_own_jobs(outside: TestClient, keys: KeyStore) -> None:
    anna, ben, admin = (
        bearer(keys.add(name, admin=name == "admin")[1]) for name in ("anna", "ben", "admin")
    )
    body = {"prompt": "a fox", "owner": "ben"}
    job = outside.post("/v1/generations", json=body, headers=anna).json()
    assert job["owner"] == "anna"
    path = f"{JOBS}/{job['id']}"
    assert outside.get(path, headers=ben).status_code == 404
    assert outside.delete(path, headers=ben).status_code == 404
    assert outside.get(f"{path}/events", headers=ben).status_code == 404
    assert outside.get(path, headers=admin).json()["owner"] == "anna"
    file = outside.get(path, headers=anna).json()["links"]["artifacts"][0]
    assert outside.get(file, headers=ben).json()["code"] == "artifact_unknown"
    assert outside.get(file, headers=anna).status_code == 200


def test_an_administrators_jobs_are_its_own_unless_it_says_otherwise(
    outside: TestClient, keys: KeyStore
) -> None:
    admin = bearer(keys.add("root", admin=True)[1])
    asked = {"prompt": "a fox"}
    assert outside.post("/v1/generations", json=asked, headers=admin).json()["owner"] == "root"
    asked["owner"] = "anna"
    assert outside.post("/v1/generations", json=asked, headers=admin).json()["owner"] == "anna"


def test_only_administrators_pause_and_read_the_numbers(
    outside: TestClient, keys: KeyStore
) -> None:
    anna = bearer(keys.add("anna")[1])
    answers = (
        outside.patch("/v1/queue", json={"paused": True}, headers=anna),
        outside.get("/metrics", headers=anna),
    )
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(403, "not_allowed")] * 2


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_whether_it_lives_is_told_to_anybody(outside: TestClient, path: str) -> None:
    assert outside.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/v1/generations", "/metrics", "/v1/models"])
def test_without_a_key_nothing_else_is_told(outside: TestClient, path: str) -> None:
    assert outside.get(path).json()["code"] == "key_missing"


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "192.168.1.5", ""])
def test_a_name_that_was_made_to_point_here_is_refused(api: TestClient, name: str) -> None:
    answer = api.get(JOBS, headers={"Host": f"{name}:7433"})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")


@pytest.mark.parametrize("name", ["localhost:7433", "127.0.0.1", "[::1]:7433", "LOCALHOST"])
def test_own_names_are_known(api: TestClient, name: str) -> None:
    assert api.get(JOBS, headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:3000", "null"])
def test_a_web_page_of_another_address_is_refused(api: TestClient, origin: str) -> None:
    answer = api.post("/v1/generations", json={"prompt": "x"}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_a_page_of_the_server_itself_may_ask_by_each_name_of_this_machine(
    api: TestClient, name: str
) -> None:
    for host in ("127.0.0.1:7433", "localhost:7433"):
        headers = {"Origin": f"http://{name}:7433", "Host": host}
        assert api.get(JOBS, headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["vscode-webview://127.0.0.1:7433", "file://", "null", ""])
def test_what_is_no_page_of_the_web_is_none_of_the_servers(api: TestClient, origin: str) -> None:
    assert api.get(JOBS, headers={"Origin": origin}).json()["code"] == "origin_refused"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Host": "kizy.local:7433"}, 'asks for the host "kizy.local:7433"'),
        ({"Host": ""}, "names no host"),
        ({"Origin": "null"}, "a page or program that tells no address"),
        ({"Origin": "http://evil.example"}, 'a page or program at "http://evil.example"'),
    ],
)
def test_a_refusal_speaks_of_what_was_there(
    api: TestClient, headers: dict[str, str], said: str
) -> None:
    problem = api.get(JOBS, headers=headers).json()
    assert said in problem["detail"]
    assert "page of another address" not in json.dumps(problem)


def test_with_a_key_a_page_of_another_address_may_ask(
    fake: FakeService, client: Any, keys: KeyStore
) -> None:
    headers = bearer(keys.add("anna")[1]) | {"Origin": "http://app.example", "Host": "kizy.example"}
    assert client(fake, keys=keys).get(JOBS, headers=headers).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_what_comes_through_a_proxy_needs_a_key(api: TestClient, header: str) -> None:
    assert api.get(JOBS, headers={header: "203.0.113.7"}).json()["code"] == "key_missing"


def test_what_comes_from_another_machine_needs_a_key(fake: FakeService, client: Any) -> None:
    assert client(fake, client="203.0.113.7").get(JOBS).json()["code"] == "key_missing"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("localhost.", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine_alone(host: str, own: bool) -> None:
    assert is_loopback(host) is own
