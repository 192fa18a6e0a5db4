"""ComfyUI's routes and socket without any of Kizy's code: for a fake and for a real one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import requests
import websocket

WAIT = 60.0
"""Seconds after which a test that waits has gone wrong."""


class Socket:
    """A raw WebSocket with a client id."""

    def __init__(self, url: str, client_id: str) -> None:
        self._socket = websocket.create_connection(
            f"ws{url.removeprefix('http')}/ws?clientId={client_id}", timeout=WAIT
        )
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        self._socket.send(json.dumps(flags))

    def next(self) -> dict[str, Any]:
        """The next message in JSON."""
        while True:
            frame = self._socket.recv()
            if isinstance(frame, str):
                return json.loads(frame)

    def until_over(self, prompt_id: str) -> list[dict[str, Any]]:
        """All messages of a job, to its last one."""
        messages = []
        while True:
            message = self.next()
            if message["data"].get("prompt_id") != prompt_id:
                continue
            messages.append(message)
            if message["type"] == "executing" and message["data"]["node"] is None:
                return messages

    def close(self) -> None:
        self._socket.close()


def post(url: str, graph: dict[str, Any], prompt_id: str, **more: Any) -> requests.Response:
    body = {"prompt": graph, "prompt_id": prompt_id, "client_id": prompt_id, **more}
    return requests.post(f"{url}/prompt", json=body, timeout=WAIT)


def get(url: str, path: str, **params: str) -> Any:
    answer = requests.get(f"{url}{path}", params=params, timeout=WAIT)
    answer.raise_for_status()
    return answer.json()


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def history(url: str, prompt_id: str) -> dict[str, Any]:
    return wait_for(lambda: get(url, f"/history/{prompt_id}").get(prompt_id))


def ids(url: str) -> tuple[list[str], list[str]]:
    """(running, pending)"""
    queue = get(url, "/queue")
    return [i[1] for i in queue["queue_running"]], [i[1] for i in queue["queue_pending"]]
