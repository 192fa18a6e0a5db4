"""Files that are handed over are untrusted: their size, their names, what is in them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kizy.core.home import cache_folder
from kizy.orchestrator.server.rest.body_limit import Intake, Pace
from kizy.orchestrator.server.rest.problems import Refused
from kizy.orchestrator.settings import ServeSettings, Settings
from starlette.testclient import TestClient

from tests.fakes.service import FakeService
from tests.fakes.serving import serving

PATH = "/v1/uploads"


def left_behind() -> list[Path]:
    """Files that came in and that nobody took."""
    return [path for path in (cache_folder() / "arriving").rglob("*") if path.is_file()]


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    yield
    assert left_behind() == []


def test_a_picture_is_handed_over_in_a_form(both: TestClient, png: Any) -> None:
    answer = both.post(PATH, files={"file": ("card.png", png(), "image/png")})
    upload = answer.json()
    assert answer.status_code == 201
    assert (upload["name"], upload["media_type"]) == ("card.png", "image/png")
    assert (upload["width"], upload["height"], upload["bytes"]) == (64, 64, len(png()))


def test_a_picture_is_handed_over_as_the_body(both: TestClient, png: Any) -> None:
    answer = both.post(f"{PATH}?name=photo.jpg", content=png(kind="JPEG"))
    assert (answer.status_code, answer.json()["media_type"]) == (201, "image/jpeg")


def test_the_same_content_has_the_same_id(both: TestClient, png: Any) -> None:
    first = both.post(PATH, files={"file": ("a.png", png(), "image/png")}).json()
    second = both.post(f"{PATH}?name=b.png", content=png()).json()
    assert first["id"] == second["id"]


def test_requests_name_it_by_its_id(both: TestClient, png: Any) -> None:
    card = both.post(PATH, content=png("white")).json()["id"]
    body = {"prompt": "a heart", "start": {"picture": card}, "mask": {"picture": card}}
    assert both.post("/v1/generations", json=body).status_code == 202


@pytest.mark.parametrize(
    "name",
    ["../../etc/cron.d/x.png", "/etc/x.png", "C:\\Windows\\x.png", "..\\..\\x.png", "a\0/x.png"],
)
def test_a_name_never_leads_out_of_the_store(both: TestClient, png: Any, name: str) -> None:
    answer = both.post(PATH, files={"file": (name, png(), "image/png")})
    assert answer.status_code in (201, 422)
    if answer.status_code == 201:
        kept = answer.json()["name"]
        assert not set(kept) & {"/", "\\", "\0"}
        assert ".." not in kept


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"no picture"),
        ("a.png", b""),
        ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("a.gif.png", b"GIF89a" + bytes(100)),
        ("evil.html", b"<script>"),
        ("evil.exe", b"MZ"),
        ("model.ckpt", b"\x80\x02"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ],
)
def test_what_is_no_picture_is_refused(both: TestClient, name: str, content: bytes) -> None:
    answer = both.post(PATH, files={"file": (name, content, "image/png")})
    assert answer.status_code == 422
    assert answer.json()["code"] in ("picture_unreadable", "request_invalid")


def test_a_bomb_is_refused_before_it_is_unpacked(both: TestClient) -> None:
    answer = both.post(PATH, files={"file": ("bomb.png", bomb(60_000), "image/png")})
    assert (answer.status_code, answer.json()["code"]) == (422, "picture_too_large")


def bomb(side: int) -> bytes:
    """A PNG of few bytes that claims to be `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.fixture
def small(fake: FakeService, client: Any) -> TestClient:
    """A client of a server that takes pictures of 1 MB, and trainings of 2 MB."""
    return client(fake, serve={"upload_mb": 1, "training_mb": 2})


def test_a_length_that_is_told_and_too_large_is_refused_unread(small: TestClient) -> None:
    def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    headers = {"Content-Length": str(2 * 10**9)}
    answer = small.post(PATH, content=never(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert answer.headers["connection"] == "close"


def test_a_body_that_grows_too_large_is_cut_off(fake: FakeService) -> None:
    """Its length is not told, and the rest of it is not read."""
    settings = Settings(serve=ServeSettings(upload_mb=1, training_mb=2))
    with serving(fake, settings=settings) as url:
        parts = urlsplit(url)
        head = f"POST {PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection((str(parts.hostname), parts.port or 0), 20) as connection:
            connection.sendall(head.encode())
            block = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            # Whoever is cut off while still sending may find the line broken, and the answer on it.
            with contextlib.suppress(ConnectionError):
                for _ in range(1 + 3_000_000 // 0x10000):
                    connection.sendall(block)
            said = connection.recv(20)
    assert said.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("form", [True, False])
def test_a_picture_has_a_smaller_limit_than_a_training(small: TestClient, form: bool) -> None:
    content = bytes(1_500_000)
    if form:
        answer = small.post(PATH, files={"file": ("a.png", content, "image/png")})
    else:
        answer = small.post(f"{PATH}?name=a.png", content=content)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


def test_json_has_a_limit(api: TestClient) -> None:
    answer = api.post("/v1/generations", json={"prompt": "x" * 5_000_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"--x",
        b"--x\r\n",
        b"--x\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc',
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="x"; filename="a"\r\n\r\nabc\r\n--x--\r\n',
        b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
        b"\0" * 1000,
        b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + b"a" * 200_000 + b"\r\n--x--",
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused(api: TestClient, content: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = api.post(PATH, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 999}"]
)
def test_a_boundary_that_is_none_is_refused(api: TestClient, kind: str) -> None:
    answer = api.post(PATH, content=b"--x--", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_a_form_holds_one_file(api: TestClient, png: Any) -> None:
    two = [("file", ("a.png", png(), "image/png"))] * 2
    assert api.post(PATH, files=two).json()["code"] == "request_invalid"


def test_a_body_that_comes_too_slowly_is_cut_off() -> None:
    assert asyncio.run(_refused(Pace(patience=0.005), delay=10.0)) == "upload_too_slow"


def test_a_body_that_trickles_is_cut_off() -> None:
    pace = Pace(patience=0.05, slowest=1_000_000)
    assert asyncio.run(_refused(pace, delay=0.01)) == "upload_too_slow"


async def _refused(pace: Pace, delay: float) -> str:
    """The code that a body of single bytes ends with, each of which takes `delay` seconds."""

    async def trickle() -> Any:
        await asyncio.sleep(delay)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read_all(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    scope = {"type": "http", "path": PATH, "headers": []}
    intake = Intake(read_all, lambda path: 10**9, pace)
    with pytest.raises(Refused) as refused:
        await intake(scope, trickle, _nothing)
    return refused.value.error.code


async def _nothing(message: Any) -> None:
    raise AssertionError(message)


def test_behind_the_body_nobody_hurries_the_client() -> None:
    async def scene() -> str:
        messages = [
            {"type": "http.request", "body": b"", "more_body": False},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Any:
            if len(messages) == 1:
                await asyncio.sleep(0.05)
            return messages.pop(0)

        heard: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            heard.extend([(await receive())["type"], (await receive())["type"]])

        intake = Intake(app, lambda path: 10, Pace(patience=0.001))
        await intake({"type": "http", "path": PATH, "headers": []}, receive, _nothing)
        return heard[-1]

    assert asyncio.run(scene()) == "http.disconnect"
