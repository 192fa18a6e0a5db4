"""Every example of docs/server.md works: curl and OpenAI's client against a server here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database
from kizy.orchestrator.jobs.keys import KeyStore
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.settings import Settings
from PIL import Image

from tests.fakes.service import FakeService
from tests.fakes.serving import serving_app

THERE = "http://127.0.0.1:7433"
WAIT = 60


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "server.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    return FakeService(tmp_path / "fake")


@pytest.fixture
def keys() -> KeyStore:
    return KeyStore(Database("sqlite://"))


@pytest.fixture
def address(service: FakeService, keys: KeyStore) -> Iterator[str]:
    with serving_app(make_api(service, Settings(), keys)) as url:
        yield url


@pytest.fixture
def names(service: FakeService, keys: KeyStore) -> dict[str, str]:
    """What the page's variables stand for."""
    done = service.generate(GenerationRequest(prompt="a fox"))
    service._table.held = True
    waiting, cancelled = (
        service.generate(GenerationRequest(prompt=x)) for x in ("an owl", "a cat")
    )
    service.cancel(cancelled.id)
    service._table.held = False
    file = service.job(done.id).artifacts[0].id
    ids = {"JOB": done.id, "WAITING": waiting.id, "CANCELLED": cancelled.id, "FILE": file}
    return {**ids, "KEY": keys.add("ops", admin=True)[1]}


@pytest.fixture
def folder(tmp_path: Path, service: FakeService, names: dict[str, str]) -> Path:
    """Where the page's files lie; curl fails there if the server refuses."""
    place = tmp_path / "here"
    place.mkdir()
    for name in ("card.png", "where.png", "mimi1.png", "mimi2.png"):
        Image.new("RGB", (64, 64), "white").save(place / name)
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(place / "mask.png")
    with (place / "card.png").open("rb") as file:
        names["UPLOAD"] = service.upload("card.png", file).id
    (place / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 30\n")
    return place


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_curl_line_works(
    page: str, address: str, names: dict[str, str], folder: Path
) -> None:
    scripts = blocks(page, "sh")
    assert len(scripts) > 15
    for script in scripts:
        done = subprocess.run(
            ["bash", "-e", "-c", script.replace(THERE, address)],
            cwd=folder,
            env={**os.environ, **names, "CURL_HOME": str(folder)},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
    for name, form in (("fox.webp", "WEBP"), ("fox.png", "PNG")):
        with Image.open(folder / name) as picture:
            assert picture.format == form


def test_openais_client_works_as_the_page_says(page: str, address: str) -> None:
    (example,) = blocks(page, "python")
    values: dict[str, Any] = {}
    exec(compile(example.replace(THERE, address), "docs/server.md", "exec"), values)
    assert values["picture"].data[0].b64_json
    values["client"].close()


def test_the_error_of_the_page_is_the_servers(page: str, address: str) -> None:
    *_, shown = blocks(page, "json")
    body = {"prompt": "a fox", "size": "huge"}
    answer = requests.post(f"{address}/v1/generations", json=body, timeout=WAIT)
    assert answer.json() == json.loads(shown)


def test_the_job_of_the_page_has_the_fields_of_a_job(page: str, address: str) -> None:
    shown, *_ = blocks(page, "json")
    body = {"prompt": "a fox"}
    job = requests.post(f"{address}/v1/generations", json=body, timeout=WAIT).json()
    assert set(json.loads(shown)) <= set(job)


def test_every_route_is_on_the_page(page: str, service: FakeService) -> None:
    paths = make_api(service).openapi()["paths"]
    plain = re.sub(r"\$[A-Z]+", "{}", page)
    missing = [path for path in paths if re.sub(r"{\w+}", "{}", path) not in plain]
    assert missing == []


def test_every_number_that_is_told_is_on_the_page(page: str, address: str) -> None:
    told = requests.get(f"{address}/metrics", timeout=WAIT).text
    names = set(re.findall(r"^# TYPE (\S+)", told, re.MULTILINE))
    assert [name for name in names if name not in page and not name.endswith("_created")] == []
