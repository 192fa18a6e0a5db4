"""Which server is spoken to."""

from __future__ import annotations

import socket

import pytest
from kizy.core.errors import EngineError, InputError
from kizy.orchestrator.sdk.remote.connect import configured_server, connected
from kizy.orchestrator.settings import Settings

from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


def test_the_server_of_the_settings_comes_with_its_key() -> None:
    given = settings(server="http://gpu1:7433", server_key="secret")
    assert configured_server(given) == ("http://gpu1:7433", "secret")


def test_without_one_it_is_the_server_of_this_machine() -> None:
    assert configured_server(settings(serve={"port": 9})) == ("http://127.0.0.1:9", None)


def test_a_server_that_runs_here_is_found(fake: FakeService, server: KizyServer) -> None:
    service = connected(settings(serve={"port": server.port}))
    assert service.url == server.url
    service.close()


def test_that_none_runs_here_is_said_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineError, match="No Kizy server runs here") as away:
        connected(settings(serve={"port": port}))
    assert away.value.code == "server_unreachable"
    assert "kizy serve" in away.value.fix and "KIZY_SERVER" in away.value.fix


def test_a_server_of_the_settings_that_is_away_is_called_by_its_address() -> None:
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9:"):
        connected(settings(server="http://127.0.0.1:9"))


def test_a_server_that_refuses_is_heard(fake: FakeService) -> None:
    with KizyServer(fake, host="0.0.0.0") as guarded, pytest.raises(InputError) as refused:
        connected(settings(server=guarded.url))
    assert refused.value.code == "key_missing"
