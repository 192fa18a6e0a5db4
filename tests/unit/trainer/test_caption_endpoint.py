"""The endpoint against a server of our own on this machine."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import CancelledError
from kizy.trainer.caption_endpoint import VisionEndpoint, Waits
from kizy.trainer.captions import CaptionFailed
from kizy.trainer.limits import never
from PIL import Image

QUICK = Waits(connect=2, answer=2, again=(0.001, 0.001))


def said(text: Any) -> tuple[int, bytes]:
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


class Server(ThreadingHTTPServer):
    """Answers one thing after the other, the last again and again; keeps what it was asked."""

    answers: list[tuple[int, bytes]]
    asked: list[tuple[str, dict[str, str], Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        status, data = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.answers, running.asked = [said("A cat on a sofa.")], []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.new("RGBA", (2000, 1000), (255, 0, 0, 255)).save(path)
    return path


def ask(server: Server, picture: Path, key: str | None = None) -> str:
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    return VisionEndpoint(url, "eyes", key, QUICK).caption(picture, "Mimi, a tabby", never)


def test_a_picture_is_sent_small_with_the_hint_and_the_key(server: Server, picture: Path) -> None:
    assert ask(server, picture, "secret") == "A cat on a sofa"
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "eyes"
    text, image = body["messages"][0]["content"]
    assert "Mimi, a tabby" in text["text"]
    uri = image["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as sent:
        assert (sent.format, sent.size) == ("JPEG", (768, 384))


def test_without_a_key_none_is_sent_and_it_is_never_shown(server: Server, picture: Path) -> None:
    ask(server, picture)
    assert "Authorization" not in server.asked[0][1]
    assert "secret" not in repr(VisionEndpoint("http://x", "eyes", "secret"))


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ('"A cat.\n\nIt sits."', "A cat. It sits"),
        ("<think>hm, what is it?</think> A cat", "A cat"),
        ("**A cat**\x1b[0m", "A cat** [0m"),
        ("A " + "very " * 500 + "old cat", ("A " + "very " * 119).strip()),
    ],
)
def test_what_the_model_says_is_made_one_plain_line(
    server: Server, picture: Path, answer: str, caption: str
) -> None:
    server.answers = [said(answer)]
    assert ask(server, picture) == caption


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, picture: Path, status: int) -> None:
    server.answers = [(status, b""), said("A cat")]
    assert ask(server, picture) == "A cat"
    server.answers = [(status, b"")]
    with pytest.raises(CaptionFailed) as caught:
        ask(server, picture)
    assert not caught.value.for_good
    assert len(server.asked) == 5


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_server_that_refuses_is_not_asked_again(
    server: Server, picture: Path, status: int
) -> None:
    server.answers = [(status, b"")]
    with pytest.raises(CaptionFailed, match=str(status)) as caught:
        ask(server, picture, "secret")
    assert caught.value.for_good
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [(200, b"<html>"), (200, b"[]"), (200, b'{"choices": []}'), said(None), said(" "), said(["x"])],
)
def test_an_answer_that_holds_no_caption_is_a_failure(
    server: Server, picture: Path, answer: tuple[int, bytes]
) -> None:
    server.answers = [answer]
    with pytest.raises(CaptionFailed):
        ask(server, picture)


def test_an_answer_without_end_is_not_read_to_the_end(server: Server, picture: Path) -> None:
    server.answers = [(200, b" " * 3_000_000)]
    with pytest.raises(CaptionFailed, match="does not end"):
        ask(server, picture)


def test_a_server_that_is_not_there_is_a_failure(picture: Path) -> None:
    nowhere = VisionEndpoint("http://127.0.0.1:9", "eyes", None, QUICK)
    with pytest.raises(CaptionFailed, match="does not answer"):
        nowhere.caption(picture, "", never)


def test_asking_can_be_cancelled(server: Server, picture: Path) -> None:
    endpoint = VisionEndpoint("http://127.0.0.1:9", "eyes", None, QUICK)
    with pytest.raises(CancelledError):
        endpoint.caption(picture, "", lambda: True)
