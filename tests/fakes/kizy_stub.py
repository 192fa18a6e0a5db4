"""A server that answers what a test says: for what no Kizy server does, and for broken lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What came. `headers` by lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What goes back. `parts`: sent one by one, each as a chunk. `cut`: the line breaks there.

    `plain`: without chunks and without a length, as old proxies do.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    parts: Iterable[bytes] | None = None
    cut: bool = False
    plain: bool = False


Answers = Callable[[Asked], Reply]


class KizyStub:
    """Answers by `answers`; keeps what was asked."""

    def __init__(self, answers: Answers) -> None:
        self.asked: list[Asked] = []
        self.answers = answers
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                stub.asked.append(asked)
                self._send(stub.answers(asked))

            do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815

            def _send(self, reply: Reply) -> None:
                if reply.parts is not None:
                    self._stream(reply)
                    return
                body = reply.body
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if reply.cut else data)
                self.close_connection = self.close_connection or reply.cut

            def _stream(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.plain:
                    self.send_header("Connection", "close")
                else:
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in reply.parts or ():
                    whole = part if reply.plain else b"%x\r\n%s\r\n" % (len(part), part)
                    self.wfile.write(whole)
                    self.wfile.flush()
                if not reply.plain and not reply.cut:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = self.close_connection or reply.cut or reply.plain

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> KizyStub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Quiet(ThreadingHTTPServer):
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave as they like."""


def problem(status: int, code: str, detail: str = "It is so.", **more: Any) -> Reply:
    """A problem document (RFC 9457)."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, **more}
    return Reply(status, body, {"Content-Type": "application/problem+json"})


def event(values: dict[str, Any], id_: int | None = None) -> bytes:
    """One server-sent event."""
    number = f"id: {id_}\n" if id_ is not None else ""
    return f"event: {values['kind']}\n{number}data: {json.dumps(values)}\n\n".encode()


def events(*parts: bytes, cut: bool = False, plain: bool = False) -> Reply:
    """A stream of server-sent events."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    return Reply(200, headers=headers, parts=parts, cut=cut, plain=plain)
