"""The server that the suite asks: the fake, and a real ComfyUI as well if there is one.

KIZY_TEST_COMFYUI names ComfyUI's folder, KIZY_TEST_COMFYUI_PYTHON its interpreter. The graphs need
no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kizy.core.comfyui_address import Address
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient

from tests.fakes import real_comfyui
from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_raw import Socket


def _pause(node_class: str, _inputs: object) -> float:
    """On the fake, the graph that is to be slow takes its time; on a real one it does so itself."""
    return 0.01 if node_class == "ImageScale" else 0.0


@pytest.fixture(scope="session", params=["fake", "real"] if real_comfyui.AVAILABLE else ["fake"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "real":
        with real_comfyui.real_comfyui(tmp_path_factory.mktemp("comfyui")) as address:
            yield address
    else:
        with FakeComfyUI(cost=_pause) as fake:
            yield fake.url


@pytest.fixture
def client(url: str) -> Iterator[ComfyClient]:
    client = ComfyClient(Address("the server", url))
    yield client
    client.close()


@pytest.fixture
def open_socket(url: str) -> Iterator[Callable[[str], Socket]]:
    sockets: list[Socket] = []

    def open_one(client_id: str) -> Socket:
        sockets.append(Socket(url, client_id))
        return sockets[-1]

    yield open_one
    for socket in sockets:
        socket.close()
