"""Clients that wait milliseconds, and servers that answer what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.job import Job
from kizy.core.request import GenerationRequest
from kizy.orchestrator.sdk.remote.service import RemoteService
from kizy.orchestrator.sdk.remote.timeouts import Timing

from tests.fakes.kizy_server import KizyServer
from tests.fakes.kizy_stub import Answers, KizyStub
from tests.fakes.service import FakeService

QUICK = Timing(
    connect=2.0,
    read=5.0,
    tries=4,
    pause=0.001,
    longest=0.01,
    silence=5.0,
    away=20.0,
    poll=0.002,
)


@pytest.fixture
def quick() -> Timing:
    return QUICK


@pytest.fixture
def stub() -> Iterator[Callable[[Answers], KizyStub]]:
    """stub(answers): a server that answers so."""
    made: list[KizyStub] = []

    def start(answers: Answers) -> KizyStub:
        made.append(KizyStub(answers))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def client() -> Iterator[Callable[..., RemoteService]]:
    """client(url, key): a RemoteService that waits milliseconds."""
    made: list[RemoteService] = []

    def start(url: str, key: str | None = None, **timing: Any) -> RemoteService:
        waits = Timing(**(vars(QUICK) | timing))
        made.append(RemoteService(url, key, timing=waits))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def fake(tmp_path: Path) -> FakeService:
    """What it accepts waits until a test goes on with it."""
    return FakeService(tmp_path / "server", held=True)


@pytest.fixture
def server(fake: FakeService) -> Iterator[KizyServer]:
    with KizyServer(fake) as running:
        yield running


@pytest.fixture
def job() -> Callable[..., dict[str, Any]]:
    """job(state="running", ...): a job's JSON."""

    def build(**values: Any) -> dict[str, Any]:
        job = Job(id="5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11", request=GenerationRequest(prompt="x"))
        return job.model_dump(mode="json") | values

    return build
