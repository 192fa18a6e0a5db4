"""The page that shows the API: from files of this machine, behind the key."""

from __future__ import annotations

import base64
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from kizy.orchestrator.jobs.keys import KeyStore
from kizy.orchestrator.server.rest import interactive
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

NAMES = ("start.js", "swagger-ui-bundle.js", "swagger-ui.css")


def installed() -> bool:
    try:
        return bool(version(interactive.PACKAGE))
    except PackageNotFoundError:
        return False


needs_files = pytest.mark.skipif(not installed(), reason="fastapi-offline is not installed")


@needs_files
def test_the_page_names_files_of_this_server_alone(api: TestClient) -> None:
    page = api.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert [name for name in named if name.startswith(("http:", "https:", "//", "/"))] == []
    for name in (name for name in named if name.startswith("docs/")):
        assert api.get(f"/{name}").status_code == 200


@needs_files
@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_there_and_fetches_nothing_from_elsewhere(api: TestClient, name: str) -> None:
    answer = api.get(f"/docs/{name}")
    assert answer.status_code == 200 and len(answer.content) > 500
    assert answer.headers["x-content-type-options"] == "nosniff"
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    assert answer.headers["content-type"].startswith(kind)


@needs_files
def test_no_script_stands_in_the_page_and_its_policy_allows_none(api: TestClient) -> None:
    page = api.get("/docs")
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert all("http" not in sources and "*" not in sources for sources in policy.values())
    assert re.findall(r"<script[^>]*>([^<]+)</script>", page.text) == []
    assert re.search(r"\son\w+=", page.text) is None


@needs_files
def test_below_the_path_of_a_proxy_the_page_finds_its_files(api: TestClient) -> None:
    assert "docs/start.js" in re.findall(r'src="([^"]*)"', api.get("/docs").text)
    slash = api.get("/docs/", follow_redirects=False)
    assert (slash.status_code, slash.headers["location"]) == (308, "../docs")


@pytest.mark.parametrize("name", ["index.html", "..%2fproblems.py", "redoc.standalone.js", "x/y"])
def test_nothing_else_is_served(api: TestClient, name: str) -> None:
    assert api.get(f"/docs/{name}").status_code == 404


def test_the_page_is_no_part_of_the_api(api: TestClient) -> None:
    assert [path for path in api.get("/openapi.json").json()["paths"] if "docs" in path] == []


def login(key: str) -> dict[str, str]:
    encoded = base64.b64encode(f"anybody:{key}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


@pytest.fixture
def outside(fake: FakeService, client: Any, keys: KeyStore) -> TestClient:
    return client(fake, host="0.0.0.0", keys=keys)


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/start.js"])
def test_without_a_key_it_asks_the_browser_for_one(outside: TestClient, path: str) -> None:
    answer = outside.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_a_wrong_key_opens_nothing(outside: TestClient) -> None:
    assert outside.get("/docs/start.js", headers=login("kizy_wrong")).status_code == 401


def test_the_key_as_a_password_opens_the_page_and_nothing_else(
    outside: TestClient, keys: KeyStore
) -> None:
    _, key = keys.add("anna")
    assert outside.get("/docs/start.js", headers=login(key)).status_code == 200
    bearer = {"Authorization": f"Bearer {key}"}
    assert outside.get("/docs/start.js", headers=bearer).status_code == 200
    # A page of another address could have the browser send a login along.
    assert outside.get("/v1/jobs", headers=login(key)).json()["code"] == "key_wrong"


def test_where_the_files_are_missing_it_says_what_to_install(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactive, "PACKAGE", "no-such-distribution")
    answer = api.get("/docs")
    assert (answer.status_code, answer.json()["code"]) == (501, "page_missing")
    assert "pip install fastapi-offline" in answer.json()["fix"]
