"""Requests: limits, keys, and why a server was not reached."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.protocol import connection_errors as reach
from kizy.orchestrator.backends.comfyui.protocol import http as http_module
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done, OutputFile
from kizy.orchestrator.backends.comfyui.protocol.http import Http
from kizy.orchestrator.backends.comfyui.protocol.timeouts import Timing

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_graphs import new_id, picture

KEY = "s3cr3t-key"
Connect = Callable[..., ComfyClient]


def failure_of(action: Callable[[], object]) -> EngineError:
    with pytest.raises(EngineError) as caught:
        action()
    return caught.value


@pytest.fixture
def locked() -> Iterator[FakeComfyUI]:
    """A fake that wants a key."""
    with FakeComfyUI(key=KEY) as fake:
        yield fake


def with_key(fake: FakeComfyUI, key: str | None) -> ComfyClient:
    return ComfyClient(Address("studio", fake.url, key), timing=Timing(connect=2, read=5))


# Keys


def test_the_key_opens_http_and_socket(locked: FakeComfyUI) -> None:
    client = with_key(locked, KEY)
    prompt_id = new_id()
    client.submit(picture().graph, prompt_id)
    assert locked.client_ids() in ([prompt_id], [])
    assert isinstance(list(client.follow(prompt_id, picture()))[-1], Done)
    assert "GET /ws" in locked.requests
    assert all(h.get("Authorization") == f"Bearer {KEY}" for h in locked.headers)
    client.close()


@pytest.mark.parametrize(("key", "words"), [(None, "wants a key"), ("wrong", "refused the key")])
def test_a_missing_and_a_wrong_key_are_told_apart(
    locked: FakeComfyUI, key: str | None, words: str
) -> None:
    client = with_key(locked, key)
    error = failure_of(lambda: client.submit(picture().graph, new_id()))
    assert (error.code, words in error.message) == ("server_refused", True)
    assert "wrong" not in f"{error} {error.fix} {error.raw}"
    client.close()


def test_the_key_is_in_no_log(locked: FakeComfyUI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = with_key(locked, KEY)
    prompt_id = new_id()
    client.submit(picture().graph, prompt_id)
    list(client.follow(prompt_id, picture()))
    client.close()
    assert KEY not in caplog.text


def test_no_other_host_gets_the_key_by_a_redirect(fake: FakeComfyUI, locked: FakeComfyUI) -> None:
    locked.faults.redirect = fake.url
    client = with_key(locked, KEY)
    error = failure_of(client.stats)
    assert fake.url in error.message
    assert failure_of(lambda: client.submit(picture().graph, new_id())).code == (
        "server_unreachable"
    )
    assert fake.requests == []
    client.close()


def test_a_download_may_lie_elsewhere_but_the_key_stays(
    fake: FakeComfyUI, locked: FakeComfyUI, tmp_path: Path
) -> None:
    (fake.disk.folder("output") / "x.png").write_bytes(b"picture")
    locked.faults.redirect = f"{fake.url}/view"
    client = with_key(locked, KEY)
    client.download(OutputFile("1", "images", "x.png", "", "output"), tmp_path / "got.png")
    assert (tmp_path / "got.png").read_bytes() == b"picture"
    assert fake.requests == ["GET /view"]
    assert "Authorization" not in fake.headers[0]
    client.close()


def test_a_password_file_is_never_asked(
    fake: FakeComfyUI, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect().stats()
    assert "Authorization" not in fake.headers[0]


def test_this_machine_is_reached_without_a_proxy(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect().stats().version == "0.3.64"


# Servers that are not there


def test_nothing_listens(fake: FakeComfyUI, connect: Connect) -> None:
    client = connect()
    fake.stop()
    error = failure_of(client.stats)
    assert error.code == "server_unreachable"
    assert "does not run" in error.message


def test_a_name_that_nobody_knows(connect: Connect) -> None:
    # RFC 2606: .invalid is never a name.
    error = failure_of(connect(url="http://no-such-host.invalid:1").stats)
    assert error.code == "server_unreachable"


def test_a_server_that_takes_the_connection_and_says_nothing(
    fake: FakeComfyUI, connect: Connect
) -> None:
    fake.faults.mute = True
    error = failure_of(connect(read=0.05).stats)
    assert (error.code, "does not answer" in error.message) == ("server_unreachable", True)


def test_https_to_a_server_that_speaks_http(fake: FakeComfyUI, connect: Connect) -> None:
    error = failure_of(connect(url=fake.url.replace("http:", "https:")).stats)
    assert (error.code, "http://" in error.fix) == ("server_unreachable", True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "No computer of that name"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "does not run there"),
        (OSError("certificate verify failed: self-signed certificate"), "not signed"),
        (OSError("certificate verify failed: certificate has expired"), "expired"),
        (OSError("certificate verify failed: Hostname mismatch"), "another name"),
        (TimeoutError("timed out"), "does not answer"),
        (OSError("whatever"), "broke"),
    ],
)
def test_reasons_are_told_in_plain_words(error: Exception, words: str) -> None:
    wrapped = OSError("outer", error)
    found = reach.unreachable(Address("studio", "http://x:1"), wrapped)
    assert words in found.message
    assert "studio" in found.message


# Answers that are none


def test_a_web_page_is_no_answer(fake: FakeComfyUI, connect: Connect) -> None:
    fake.faults.html = True
    client = connect()
    for action in (client.stats, client.queue, client.refresh_facts):
        error = failure_of(action)
        assert (error.code, "web page" in error.message) == ("server_failed", True)
    assert "web page" in failure_of(lambda: client.submit(picture().graph, new_id())).message


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "server_refused"),
        (403, "server_refused"),
        (404, "server_too_old"),
        (405, "server_too_old"),
        (413, "server_failed"),
        (500, "server_failed"),
        (502, "server_unreachable"),
        (503, "server_unreachable"),
        (507, "server_disk_full"),
    ],
)
def test_every_status_has_its_words(
    fake: FakeComfyUI, connect: Connect, status: int, code: str
) -> None:
    fake.faults.status = status
    error = failure_of(connect().queue)
    assert error.code == code
    assert error.raw is not None
    assert str(status) in error.raw


@pytest.mark.parametrize("path", ["/queue", "/history/x", "/system_stats"])
def test_json_of_another_form_is_no_answer(path: str) -> None:
    with answering(b"[1, 2]") as url:
        client = ComfyClient(Address("studio", url), timing=Timing(connect=2, read=5))
        action = {"/queue": client.queue, "/system_stats": client.stats}.get(path)
        error = failure_of(action or (lambda: client.state("x")))
        assert error.code == "server_failed"
        client.close()


@contextmanager
def answering(body: bytes, length: int | None = None) -> Iterator[str]:
    """A server that answers everything with that body."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length or len(body)}\r\n\r\n".encode()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    try:
                        while connection.recv(65536):
                            connection.sendall(head + body)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def test_an_answer_without_end_is_given_up() -> None:
    with answering(b'"' + b"x" * 300_000 + b'"') as url:
        http = Http(Address("studio", url), Timing(connect=2, read=5))
        assert len(http.get("/queue", limit=400_000)) == 300_000
        error = failure_of(lambda: http.get("/queue", limit=200_000))
        assert error.code == "server_failed"
        http.close()


def test_object_info_may_be_large_and_others_may_not() -> None:
    assert http_module.OBJECT_INFO >= 200_000_000 > http_module.SMALL


def test_a_kept_connection_that_closed_meanwhile_is_no_failure(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect()
    client.stats()
    fake.restart()
    assert client.stats().version == "0.3.64"
