"""Servers behind a proxy: HTTPS with a certificate of one's own, a path of their own, a key."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done, Notice, Preview

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_following import draw
from tests.fakes.comfyui_graphs import drawing
from tests.unit.orchestrator.comfy.builders import QUICK

KEY = "s3cr3t-key"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return folder


@pytest.fixture
def proxied(certificate: Path) -> Iterator[FakeComfyUI]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    with FakeComfyUI(key=KEY, path="/gpu/comfy", tls=tls) as fake:
        yield fake


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that runs the tests is set to."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


def drawn(client: ComfyClient) -> list[object]:
    events = draw(client, drawing())
    client.close()
    return events


def test_a_server_below_a_path_is_drawn_on() -> None:
    with FakeComfyUI(path="/gpu/comfy") as fake:
        events = drawn(ComfyClient(Address("studio", f"{fake.url}/"), timing=QUICK))
    assert isinstance(events[-1], Done)
    assert any(isinstance(event, Preview) for event in events)
    assert all(line.partition(" ")[2].startswith("/gpu/comfy/") for line in fake.requests)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_https_with_an_authority_of_ones_own_works_for_the_socket_too(
    proxied: FakeComfyUI, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate / "certificate.pem"))
    events = drawn(ComfyClient(Address("studio", proxied.url, KEY), timing=QUICK))
    assert isinstance(events[-1], Done)
    assert any(isinstance(event, Preview) for event in events)
    assert not any(isinstance(event, Notice) for event in events)
    assert "GET /gpu/comfy/ws" in proxied.requests


def test_a_certificate_that_nobody_signed_is_refused_in_plain_words(
    proxied: FakeComfyUI,
) -> None:
    client = ComfyClient(Address("studio", proxied.url, KEY), timing=QUICK)
    with pytest.raises(EngineError) as caught:
        client.stats()
    client.close()
    assert "not signed by an authority known here" in caught.value.message
    assert "REQUESTS_CA_BUNDLE" in caught.value.fix
    assert proxied.requests == []
