"""Two `kizy serve` on one Postgres: one begins jobs, the other takes over when it is gone."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from kizy.orchestrator.sdk.remote.service import RemoteService
from PIL import Image

from benchmarks.fake_comfyui import CHECKPOINT, fakes
from benchmarks.kizy_server import KizyServer, servers_setting
from tests.postgres import postgres_database

PATIENCE = 60.0
SEEDS = itertools.count()


@dataclass
class Pair:
    """Two servers that draw on the same ComfyUI and keep their files in the same folder."""

    first: KizyServer
    second: KizyServer
    artifacts: Path

    def files(self) -> set[str]:
        return {path.stem for path in self.artifacts.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    tmp_path = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        database = stack.enter_context(postgres_database())
        urls = stack.enter_context(fakes(2, 0.3))
        settings = {
            "KIZY_ENGINE": "comfyui",
            "KIZY_SERVERS": servers_setting({f"fake{i}": url for i, url in enumerate(urls)}),
            "KIZY_LORAS__BACKGROUND": "false",
            "KIZY_DATABASE_URL": database,
            "KIZY_STORAGE__FOLDER": str(tmp_path / "artifacts"),
            "KIZY_STORAGE__UPLOADS": str(tmp_path / "uploads"),
        }
        servers = [KizyServer(tmp_path / name, settings) for name in ("first", "second")]
        for server in servers:
            stack.callback(server.kill)
            server.start()
        yield Pair(*servers, tmp_path / "artifacts")


def posted(server: KizyServer, **more: Any) -> str:
    body = {"prompt": "a red fox", "model": CHECKPOINT, "size": "128x128", "steps": 2}
    answer = requests.post(
        f"{server.url}/v1/generations", json={**body, "seed": next(SEEDS), **more}, timeout=30
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def all_over(server: KizyServer, ids: list[str]) -> list[dict[str, Any]]:
    """The jobs as this server tells of them once all are over."""
    until = time.monotonic() + PATIENCE
    while True:
        jobs = [server.get(f"/v1/jobs/{job_id}") for job_id in ids]
        if all(job["ended"] for job in jobs):
            return jobs
        assert time.monotonic() < until, [job["state"] for job in jobs]
        time.sleep(0.1)


def test_what_either_accepts_is_drawn_once_and_told_by_both(pair: Pair) -> None:
    ids = [posted(server) for server in [pair.first, pair.second] * 3]
    for server in (pair.first, pair.second):
        jobs = all_over(server, ids)
        assert {job["state"] for job in jobs} == {"succeeded"}
        known = [file["id"] for job in jobs for file in job["artifacts"]]
        assert len(known) == len(set(known)) == len(ids)
        assert set(known) <= pair.files()
        picture = requests.get(f"{server.url}/v1/artifacts/{known[0]}", timeout=30)
        assert picture.content.startswith(b"\x89PNG")


def test_whoever_follows_at_the_other_server_hears_the_end(pair: Pair) -> None:
    job_id = posted(pair.second)
    heard = [numbered.event.kind for numbered in RemoteService(pair.second.url).follow(job_id)]
    assert heard[0] == "state" and heard[-1] == "end"
    assert "artifact" in heard


def test_what_was_handed_to_one_is_drawn_by_the_other(pair: Pair) -> None:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "PNG")
    upload = RemoteService(pair.second.url).upload("red.png", io.BytesIO(data.getvalue()))
    job_id = posted(pair.second, start={"picture": upload.id})
    assert all_over(pair.first, [job_id])[0]["state"] == "succeeded"


def test_the_other_server_cancels_what_runs(pair: Pair) -> None:
    job_id = posted(pair.second, count=50)
    until = time.monotonic() + PATIENCE
    while pair.second.get(f"/v1/jobs/{job_id}")["state"] != "running":
        assert time.monotonic() < until
        time.sleep(0.05)
    requests.delete(f"{pair.second.url}/v1/jobs/{job_id}", timeout=30)
    assert all_over(pair.second, [job_id])[0]["state"] == "cancelled"


def test_the_second_takes_over_when_the_first_is_killed(pair: Pair) -> None:
    ids = [posted(server) for server in [pair.first, pair.second] * 6]
    until = time.monotonic() + PATIENCE
    while not any(pair.second.get(f"/v1/jobs/{job_id}")["ended"] for job_id in ids):
        assert time.monotonic() < until
        time.sleep(0.02)
    pair.first.kill()
    jobs = all_over(pair.second, ids)
    assert {job["state"] for job in jobs} == {"succeeded"}
    known = [file["id"] for job in jobs for file in job["artifacts"]]
    assert len(known) == len(set(known)) == len(ids)
    assert set(known) <= pair.files()
    pair.first.start()
    assert all_over(pair.first, [posted(pair.first)])[0]["state"] == "succeeded"
