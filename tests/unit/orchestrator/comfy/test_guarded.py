"""A ComfyUI behind a password or a token, and one that only IPv6 reaches."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import KizyError
from kizy.orchestrator.backends.comfyui.launcher.discover import (
    HERE,
    answers_as_comfyui,
    find_server,
)
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import OutputFile
from kizy.orchestrator.backends.comfyui.protocol.timeouts import Timing
from kizy.orchestrator.settings import ServerSettings, Settings

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import done_of
from tests.fakes.comfyui_graphs import new_id, picture

LOGIN, TOKEN = ("anna", "p@ss:wörd"), "s3cr3t/token"
SECRETS = ("p@ss", "p%40ss", "YW5uYTp", "s3cr3t")
"""Also in base64, as the header has them."""

Guarded = tuple[FakeComfyUI, str]


@pytest.fixture(params=["login", "token"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    """A fake that lets nobody in without it, and its address with it."""
    if request.param == "login":
        with FakeComfyUI(login=LOGIN) as fake:
            yield fake, fake.url.replace("//", "//anna:p%40ss%3Aw%C3%B6rd@")
    else:
        with FakeComfyUI(token=TOKEN) as fake:
            yield fake, f"{fake.url}/?token=s3cr3t%2Ftoken"


@pytest.fixture
def client_of() -> Iterator[Callable[[Address], ComfyClient]]:
    clients: list[ComfyClient] = []

    def make(address: Address) -> ComfyClient:
        clients.append(ComfyClient(address, timing=Timing(connect=2, read=5)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def drawn_by(client: ComfyClient, tmp_path: Path) -> Path:
    """All kinds of requests: an upload, a graph, its socket, the history, a download."""
    tmp_path.joinpath("x.png").write_bytes(b"picture")
    client.upload(tmp_path / "x.png", "kizy/x.png")
    client.facts()
    prompt_id = new_id()
    client.submit(picture().graph, prompt_id)
    (output,) = done_of(client, prompt_id, picture()).outputs
    client.download(output, tmp_path / "got.png")
    return tmp_path / "got.png"


def test_whoever_knows_it_draws_and_it_is_in_no_log(
    guarded: Guarded,
    client_of: Callable[[Address], ComfyClient],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    fake, url = guarded
    assert drawn_by(client_of(Address("studio", url)), tmp_path).stat().st_size > 0
    assert any(request.startswith("GET /ws") for request in fake.requests)
    assert "/history" in caplog.text
    assert [secret for secret in SECRETS if secret in caplog.text] == []


def test_errors_do_not_show_it(
    guarded: Guarded, client_of: Callable[[Address], ComfyClient]
) -> None:
    fake, url = guarded
    client = client_of(Address("studio", url))
    client.stats()
    fake.faults.redirect = f"{fake.url}/elsewhere"
    errors = [failure_of(client.stats)]
    fake.faults.redirect, fake.faults.status = None, 500
    errors += [failure_of(client.stats)]
    fake.stop()
    errors += [failure_of(client.stats)]
    text = " ".join(f"{error} {error.fix} {error.raw}" for error in errors)
    assert [secret for secret in SECRETS if secret in text] == []
    fake.start()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("//", "wants a key, or a user name and a password"),
        ("//anna:wrong@", "refused the user name or the password"),
    ],
)
def test_a_missing_and_a_wrong_password_are_told_apart(
    client_of: Callable[[Address], ComfyClient], given: str, words: str
) -> None:
    with FakeComfyUI(login=LOGIN) as fake:
        error = failure_of(client_of(Address("studio", fake.url.replace("//", given))).stats)
    assert (error.code, words in error.message) == ("server_refused", True)
    assert "`user` and `password`" in error.fix and "wrong" not in str(error)


def test_the_password_of_the_settings_is_taken(
    client_of: Callable[[Address], ComfyClient],
) -> None:
    with FakeComfyUI(login=LOGIN) as fake:
        server = ServerSettings(url=fake.url, user=LOGIN[0], password=LOGIN[1])  # pyright: ignore[reportArgumentType]
        assert client_of(server.address()).stats().version
    assert LOGIN[1] not in repr(server)


def test_settings_show_neither_password_nor_token(guarded: Guarded) -> None:
    _, url = guarded
    settings = Settings(servers=(ServerSettings(url=url),))
    address = settings.servers[0].address()
    shown = f"{settings!r} {address!r} {address.name} {address.url}"
    assert [secret for secret in SECRETS if secret in shown] == []


def test_a_server_that_is_named_by_such_an_address_is_asked_with_it(guarded: Guarded) -> None:
    fake, url = guarded
    found = find_server(url, Settings())
    assert found.name == fake.url.partition("//")[2]
    assert answers_as_comfyui(found)


def test_no_other_place_gets_the_token_by_a_redirect(
    client_of: Callable[[Address], ComfyClient], tmp_path: Path
) -> None:
    with FakeComfyUI(token=TOKEN) as fake, FakeComfyUI() as other:
        (other.disk.folder("output") / "x.png").write_bytes(b"picture")
        client = client_of(Address("studio", f"{fake.url}/?token=s3cr3t%2Ftoken"))
        fake.faults.redirect = f"{other.url}/view"
        client.download(OutputFile("1", "images", "x.png", "", "output"), tmp_path / "got.png")
        assert (tmp_path / "got.png").read_bytes() == b"picture"
        assert other.queries and not any("s3cr3t" in query for query in other.queries)


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_localhost_may_be_ipv6_alone(
    client_of: Callable[[Address], ComfyClient], tmp_path: Path
) -> None:
    with FakeComfyUI(host="::1") as fake:
        client = client_of(Address("here", fake.url.replace("[::1]", "localhost")))
        assert drawn_by(client, tmp_path).stat().st_size > 0
        assert client.address.url.startswith("http://127.0.0.1:")


def test_where_nothing_answers_by_either_the_usual_address_is_told(
    client_of: Callable[[Address], ComfyClient],
) -> None:
    with FakeComfyUI() as fake:
        url = fake.url.replace("127.0.0.1", "localhost")
    error = failure_of(client_of(Address("here", url)).stats)
    assert "Nothing answers at here (http://127.0.0.1:" in error.message


def test_a_comfyui_that_was_just_started_is_looked_for_by_both() -> None:
    assert HERE.urls == ("http://127.0.0.1:8188", "http://[::1]:8188")


def failure_of(action: Callable[[], object]) -> KizyError:
    with pytest.raises(KizyError) as caught:
        action()
    return caught.value
