"""The SDK over a fake service: near, as another process's would be, and over a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kizy.orchestrator.sdk import Kizy, Timing

from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService


@pytest.fixture
def fake(tmp_path: Path) -> FakeService:
    """What it accepts ends at once."""
    return FakeService(tmp_path / "fake", files=True)


@pytest.fixture
def held(tmp_path: Path) -> FakeService:
    """What it accepts waits until a test goes on with it."""
    return FakeService(tmp_path / "held", held=True, files=True)


@pytest.fixture(params=["here", "there"])
def kizy(request: pytest.FixtureRequest, fake: FakeService) -> Iterator[Kizy]:
    """Over what ends at once, in this process and over a server."""
    if request.param == "here":
        yield Kizy.over(fake, here=True)
        return
    with KizyServer(fake.seen_by(None)) as server, _kizy(server) as made:
        yield made


@pytest.fixture(params=["here", "there"])
def slow(request: pytest.FixtureRequest, held: FakeService) -> Iterator[Kizy]:
    """Over what waits, in this process and over a server."""
    if request.param == "here":
        yield Kizy.over(held, here=True)
        return
    with KizyServer(held.seen_by(None)) as server, _kizy(server) as made:
        yield made


def _kizy(server: KizyServer) -> Kizy:
    return Kizy(server.url, timing=Timing(pause=0.001, longest=0.02, silence=5.0))
