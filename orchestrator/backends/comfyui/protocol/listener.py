"""The WebSocket of one job: what ComfyUI tells while it works. May break at any time."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .....core.comfyui_address import Address
from . import connection_errors as reach
from .http import authorities
from .messages import FEATURE_FLAGS, Message, parse
from .timeouts import Timing

if TYPE_CHECKING:
    import websocket

_MAX_FRAME = 64_000_000
"""Bytes; previews are small pictures."""
_READ_AHEAD = 1 << 16


class SocketLostError(Exception):
    """The socket is no more: broken, closed by the server, or it spoke nonsense."""


class Listener:
    """An open WebSocket with a client id. Only one thread may use it.

    Raises EngineError `server_unreachable`, `server_refused`, `server_too_old` if none can be
    opened.
    """

    def __init__(
        self, address: Address, client_id: str, timing: Timing, urls: Sequence[str] = ()
    ) -> None:
        """`urls`: of the address, in the order in which they are tried."""
        self._timing = timing
        self._socket = _opened(address, client_id, timing, urls or address.urls)
        try:
            self._socket.send(json.dumps(FEATURE_FLAGS))
        except Exception as error:
            self.close()
            raise reach.unreachable(address, error) from error

    def receive(self, wait: float) -> Message | None:
        """The next message of interest; None if none came within `wait` seconds.

        Raises SocketLostError.
        """
        end = time.monotonic() + wait
        while True:
            frame = self._frame(max(0.001, end - time.monotonic()))
            if frame is None:
                return None
            message = parse(frame)
            if message is not None or time.monotonic() >= end:
                return message

    def _frame(self, wait: float) -> str | bytes | None:
        import websocket

        socket = self._socket
        try:
            socket.settimeout(wait)
            opcode, data = socket.recv_data()
        except websocket.WebSocketTimeoutException:
            # What has come of a frame is kept and goes on with the next call.
            return None
        except (websocket.WebSocketException, OSError, ValueError) as error:
            raise SocketLostError(str(error)) from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise SocketLostError("closed by the server")
        return data.decode("utf-8", "replace") if opcode == websocket.ABNF.OPCODE_TEXT else data

    def close(self, *, wait: bool = True) -> None:
        """Close it and wait a moment for the server to have noticed.

        ComfyUI has one socket for a client id, and clears up after an old one late: a new one that
        is opened too early would lose its place.
        """
        with contextlib.suppress(Exception):
            self._socket.close(timeout=self._timing.close if wait else 0)


def _opened(
    address: Address, client_id: str, timing: Timing, urls: Sequence[str]
) -> websocket.WebSocket:
    """The socket, at the first of the server's addresses where something listens."""
    for url in urls[:-1]:
        try:
            return _opened_at(url, address, client_id, timing)
        except reach.NothingListensError:
            continue
    return _opened_at(urls[-1], address, client_id, timing)


def _opened_at(url: str, address: Address, client_id: str, timing: Timing) -> websocket.WebSocket:
    import websocket

    socket = _limited_socket(_authorities() if address.secure else {})
    header = {"User-Agent": "kizy"}
    if address.authorization:
        header["Authorization"] = address.authorization
    try:
        socket.connect(
            address.socket_url(client_id, url),
            timeout=timing.connect,
            header=header,
            suppress_origin=True,
            # websocket-client would send the key along to wherever a redirect points.
            redirect_limit=0,
        )
    except websocket.WebSocketBadStatusException as error:
        body = error.resp_body
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        raise reach.refused_status(address, "/ws", error.status_code, text) from error
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise reach.unreachable(address, error) from error
    return socket


def _authorities() -> dict[str, str]:
    """The same as for requests: websocket-client looks elsewhere by itself."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    found = authorities() or DEFAULT_CA_BUNDLE_PATH
    return {"ca_cert_path" if Path(found).is_dir() else "ca_certs": found}


class _ReadingAhead:
    """A socket that is read in large pieces.

    websocket-client asks for each byte of the handshake and for three pieces of each frame, which
    would cost more than all else that a short job needs.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        # Asked for before each byte of the handshake.
        self.gettimeout = socket.gettimeout
        self._read = b""
        self._used = 0

    def recv(self, count: int) -> bytes:
        if self._used == len(self._read):
            self._read, self._used = self._socket.recv(max(count, _READ_AHEAD)), 0
        part = self._read[self._used : self._used + count]
        self._used += len(part)
        return part

    def take(self, count: int) -> bytes | None:
        """So many bytes, if they were read already."""
        end = self._used + count
        if end > len(self._read):
            return None
        part, self._used = self._read[self._used : end], end
        return part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


@lru_cache(maxsize=1)
def _socket_class() -> type[websocket.WebSocket]:
    import websocket

    class Socket(websocket.WebSocket):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "sock" and value is not None:
                value = _ReadingAhead(value)
            super().__setattr__(name, value)

    return Socket


def _limited_socket(tls: dict[str, str]) -> websocket.WebSocket:
    """A WebSocket that refuses a frame of absurd length before it is read."""
    import websocket

    socket = _socket_class()(sslopt=tls, enable_multithread=False, skip_utf8_validation=True)
    frames: Any = socket.frame_buffer
    read_length, read_piece = frames.recv_length, frames.recv_strict

    def recv_strict(count: int) -> bytes:
        reader: Any = socket.sock
        at_hand = reader.take(count) if reader is not None and not frames.recv_buffer else None
        return read_piece(count) if at_hand is None else at_hand

    def recv_length() -> None:
        read_length()
        if frames.length > _MAX_FRAME:
            raise websocket.WebSocketProtocolException(f"a frame of {frames.length} bytes")

    frames.recv_strict, frames.recv_length = recv_strict, recv_length
    return socket
