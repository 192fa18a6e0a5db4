"""A line between Kizy and a server that can be cut: a TCP proxy in threads of this process."""

from __future__ import annotations

import socket
import struct
import threading
from urllib.parse import urlsplit


class Line:
    """Hands on what goes between Kizy and a server, until it is cut."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[tuple[socket.socket, bool]] = []
        self._lock = threading.Lock()
        self._whole = True
        self.sockets = 0
        """WebSockets that were opened."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, websockets_only: bool = False) -> None:
        """Break connections. Unless only those of WebSockets, new ones break too, until `mend`."""
        with self._lock:
            self._whole = websockets_only
            broken = [x for x, websocket in self._open if websocket or not websockets_only]
            self._open = [x for x in self._open if x[0] not in broken]
        for connection in broken:
            _break(connection)

    def mend(self) -> None:
        with self._lock:
            self._whole = True

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        try:
            first = near.recv(65536)
            far = socket.create_connection(("127.0.0.1", self._port))
        except OSError:
            _break(near)
            return
        websocket = first.startswith(b"GET /ws")
        with self._lock:
            whole = self._whole
            if whole:
                self._open += [(near, websocket), (far, websocket)]
                self.sockets += websocket
        if not whole:
            _break(near)
            _break(far)
            return
        threading.Thread(target=_hand_on, args=(far, near, b""), daemon=True).start()
        _hand_on(near, far, first)


def _break(connection: socket.socket) -> None:
    """Without a goodbye, as a cable does."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


def _hand_on(here: socket.socket, there: socket.socket, first: bytes) -> None:
    data = first
    try:
        while data or (data := here.recv(65536)):
            there.sendall(data)
            data = b""
    except OSError:
        pass
    _break(here)
    _break(there)
