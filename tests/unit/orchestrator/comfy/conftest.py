"""The fake server and a client whose waits are milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.timeouts import Timing

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import Following

QUICK = Timing(
    connect=2.0,
    read=5.0,
    slice=0.02,
    close=0.2,
    silence=0.03,
    polling=0.02,
    queue_change=0.005,
    settle=0.05,
    reopen=0.15,
    history_pause=0.005,
    history_wait=0.3,
    vanish_confirm=0.01,
    cancel_repeat=0.02,
    cancel_away=0.1,
    reconnect=(0.005, 0.01, 0.02),
    away=10.0,
    facts_fresh=60.0,
)


@pytest.fixture
def fake() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as fake:
        yield fake


@pytest.fixture
def connect(fake: FakeComfyUI) -> Iterator[Callable[..., ComfyClient]]:
    """connect(key=..., silence=..., ...): a client of the fake; the rest are waits."""
    clients: list[ComfyClient] = []

    def make(*, key: str | None = None, url: str | None = None, **waits: Any) -> ComfyClient:
        address = Address("studio", url or fake.url, key)
        clients.append(ComfyClient(address, timing=replace(QUICK, **waits)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., ComfyClient]) -> ComfyClient:
    return connect()


@pytest.fixture
def following() -> Callable[[Iterator[Any]], Following]:
    return Following
