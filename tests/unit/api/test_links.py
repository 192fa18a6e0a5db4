"""Links that open without a key: one file each, for a while, by any server of the database."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kizy.orchestrator.jobs.database import Database, sqlite_url
from kizy.orchestrator.jobs.keys import KeyStore
from kizy.orchestrator.jobs.link_secret import link_secret
from kizy.orchestrator.server.rest.signed_links import FileLinks
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

SECRET = b"s" * 32
BEGIN = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.seconds = BEGIN

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(clock: Clock) -> FileLinks:
    return FileLinks(SECRET, 2.0, now=clock)


@pytest.fixture
def outside(fake: FakeService, client: Any, keys: KeyStore, links: FileLinks) -> TestClient:
    """A server on which nobody may do anything without a key."""
    return client(fake, host="0.0.0.0", keys=keys, links=links)


@pytest.fixture
def asked(outside: TestClient, keys: KeyStore) -> list[str]:
    """The links to the two pictures that anna had drawn."""
    _, key = keys.add("anna")
    answer = outside.post(
        "/v1/images/generations",
        json={"prompt": "a fox", "response_format": "url", "n": 2},
        headers={"Authorization": f"Bearer {key}"},
    )
    parts = [urlsplit(one["url"]) for one in answer.json()["data"]]
    return [f"{part.path}?{part.query}" for part in parts]


def test_a_link_opens_its_file_without_a_key(outside: TestClient, asked: list[str]) -> None:
    answer = outside.get(asked[0])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert outside.head(asked[0]).status_code == 200
    assert outside.get(asked[0], headers={"Range": "bytes=0-3"}).content == b"\x89PNG"
    # A page that shows it, behind a proxy, is where it is meant to be used.
    headers = {"Origin": "http://chat.example", "X-Forwarded-For": "203.0.113.7"}
    assert outside.get(asked[0], headers=headers).status_code == 200


def test_it_ends(outside: TestClient, asked: list[str], clock: Clock) -> None:
    clock.seconds = BEGIN + 2 * 3600 - 1
    assert outside.get(asked[0]).status_code == 200
    clock.seconds = BEGIN + 2 * 3600
    answer = outside.get(asked[0])
    assert (answer.status_code, answer.json()["code"]) == (403, "link_ended")


def changed(link: str, other: str) -> list[str]:
    """The link with each of its parts changed."""
    path, _, query = link.partition("?")
    signature = re.search("signature=([^&]*)", query)
    until = re.search("until=([0-9]*)", query)
    assert signature is not None and until is not None
    return [
        f"{other.partition('?')[0]}?{query}",
        f"{path}?{query.replace(until[1], str(int(until[1]) + 1))}",
        f"{path}?{query.replace(until[1], '9' * 12)}",
        f"{path}?{query.replace(signature[1], '')}",
        f"{path}?{query.replace(signature[1], signature[1][:-1])}",
        f"{path}?{query.replace(signature[1], 'A' * len(signature[1]))}",
        f"{path}?{query.replace(signature[1], '%F0%9F%A6%8A')}",
        f"{path}?{query}&until={until[1]}",
        f"{path}?until={until[1]}",
        f"{path}?signature={signature[1]}",
        path,
    ]


def test_what_was_changed_in_it_opens_nothing(outside: TestClient, asked: list[str]) -> None:
    for link in changed(*asked):
        answer = outside.get(link)
        assert answer.status_code in (401, 403), link
        assert answer.json()["code"] in ("link_ended", "key_missing")


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/artifacts/", "/v1/models", "/metrics", "/docs", "/v1/queue"]
)
def test_it_opens_nothing_but_files(outside: TestClient, asked: list[str], path: str) -> None:
    query = asked[0].partition("?")[2]
    assert outside.get(f"{path}?{query}").json()["code"] == "key_missing"


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "PUT"])
def test_it_changes_nothing(outside: TestClient, asked: list[str], method: str) -> None:
    assert outside.request(method, asked[0]).json()["code"] == "link_ended"


def test_with_a_key_an_ended_link_is_as_good_as_none(
    outside: TestClient, asked: list[str], clock: Clock, keys: KeyStore
) -> None:
    clock.seconds += 10**6
    own = {"Authorization": f"Bearer {keys.add('anna')[1]}"}
    others = {"Authorization": f"Bearer {keys.add('ben')[1]}"}
    assert outside.get(asked[0], headers=own).status_code == 200
    assert outside.get(asked[0], headers=others).json()["code"] == "artifact_unknown"


def test_another_server_of_the_database_knows_it(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "jobs.sqlite")
    one, other = link_secret(Database(url)), link_secret(Database(url))
    assert one == other and len(one) == 32
    path, _, query = FileLinks(one).path("a" * 64).partition("?")
    assert FileLinks(other).opens("GET", path, query.encode()) is True
    stranger = FileLinks(link_secret(Database("sqlite://")))
    assert stranger.opens("GET", path, query.encode()) is False


def test_the_secret_is_made_once_where_two_servers_make_it_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kizy.orchestrator.jobs import link_secret as module

    url = sqlite_url(tmp_path / "jobs.sqlite")
    first, second, looks = Database(url), Database(url), []
    read = module._read

    def read_too_early(database: Database) -> str | None:
        looks.append(database)
        if len(looks) == 1:
            # The other one makes it between our look and our writing.
            module.link_secret(second)
            return None
        return read(database)

    monkeypatch.setattr(module, "_read", read_too_early)
    assert module.link_secret(first) == module.link_secret(second)


def test_a_log_of_requests_opens_nothing() -> None:
    from kizy.orchestrator.cli.serve import _without_signatures

    link = FileLinks().path("a" * 64)
    record = logging.LogRecord("uvicorn.access", 20, "", 1, "%s %s", ("GET", link), None)
    assert _without_signatures(record)
    assert record.getMessage().endswith("signature=...")
