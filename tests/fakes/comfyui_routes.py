"""The fake's routes and sockets: those of ComfyUI 0.3.64, each also under /api."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from .comfyui_faults import Faults, Life
from .comfyui_files import FEATURES, Files, Handler, broken
from .comfyui_nodes import Checker
from .comfyui_queue import Queue
from .comfyui_worker import Worker

NO_ANSWER = "<!DOCTYPE html><html><body><h1>Welcome to the proxy</h1></body></html>"


class Routes:
    """What one life of the server answers."""

    def __init__(
        self,
        *,
        life: Life,
        faults: Faults,
        files: Files,
        queue: Queue,
        checker: Checker,
        key: str | None,
        login: tuple[str, str] | None,
        token: str | None,
        newer: bool,
        requests: list[str],
        headers: list[Mapping[str, str]],
        queries: list[str],
        seen_clients: set[str],
    ) -> None:
        self._life = life
        self._faults = faults
        self._files = files
        self._queue = queue
        self._checker = checker
        self._key = key
        encoded = base64.b64encode(":".join(login).encode()).decode() if login else ""
        self._login = f"Basic {encoded}" if login else None
        self._token = token
        self._newer = newer
        self._requests = requests
        self._headers = headers
        self._queries = queries
        self._seen_clients = seen_clients
        self._number = 0
        self.worker: Worker | None = None
        self.loop = asyncio.get_running_loop()
        self.outbox: asyncio.Queue[tuple[Any, str | None]] = asyncio.Queue()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.flags: dict[str, Mapping[str, Any]] = {}
        self.open: dict[int, web.Request] = {}

    def application(self) -> web.Application:
        """The routes as an application."""
        app = web.Application(client_max_size=100_000_000, middlewares=[self._middleware()])
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/ws", self._ws),
            ("GET", "/prompt", self._get_prompt),
            ("POST", "/prompt", self._post_prompt),
            ("GET", "/queue", self._get_queue),
            ("POST", "/queue", self._post_queue),
            ("POST", "/interrupt", self._post_interrupt),
            ("GET", "/history", self._get_history),
            ("GET", "/history/{id}", self._get_history_of),
            ("POST", "/history", self._post_history),
            ("POST", "/free", self._free),
            *self._files.table(),
        ]
        for method, path, handler in table:
            for prefix in ("", "/api"):
                app.router.add_route(method, prefix + path, handler)
                if method == "GET" and path != "/ws":
                    app.router.add_route("HEAD", prefix + path, handler)
        if self._newer:
            app.router.add_get("/api/jobs/{id}", self._job)
            app.router.add_post("/api/jobs/{id}/cancel", self._cancel_job)
        # The front end's files: whatever else is asked for with POST is "not allowed".
        app.router.add_get("/{rest:.*}", self._nothing)
        return app

    def _middleware(self) -> Any:
        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._requests.append(f"{request.method} {request.path}")
            self._headers.append(dict(request.headers))
            self._queries.append(request.query_string)
            self.open[id(request)] = request
            try:
                early = await self._early(request)
                return early if early is not None else await handler(request)
            finally:
                self.open.pop(id(request), None)

        return around

    async def _early(self, request: web.Request) -> web.Response | None:
        faults = self._faults
        while faults.mute and not self._life.over:
            await asyncio.sleep(0.005)
        if faults.redirect and (
            not faults.redirect.endswith("/view") or request.path.endswith("/view")
        ):
            target = faults.redirect + (f"?{request.query_string}" if request.query_string else "")
            return web.Response(status=302, headers={"Location": target})
        if faults.status is not None:
            return web.Response(status=faults.status, text=NO_ANSWER, content_type="text/html")
        if faults.html:
            return web.Response(text=NO_ANSWER, content_type="text/html")
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            return web.Response(status=401, text="Unauthorized")
        if self._login and request.headers.get("Authorization") != self._login:
            headers = {"WWW-Authenticate": 'Basic realm="ComfyUI"'}
            return web.Response(status=401, text="Unauthorized", headers=headers)
        if self._token and request.query.get("token") != self._token:
            return web.Response(status=401, text="Unauthorized")
        return None

    # Messages

    def send(self, kind: str, data: dict[str, Any], client_id: str | None) -> None:
        """From any thread. `client_id` None: to everybody."""
        if kind in self._faults.missing_messages:
            return
        times = 2 if self._faults.duplicate_messages else 1
        for _ in range(times):
            self._put({"type": kind, "data": data}, client_id)

    def send_bytes(self, frame: bytes, client_id: str | None) -> None:
        """From any thread."""
        self._put(frame, client_id)

    def _put(self, message: Any, client_id: str | None) -> None:
        if not self._life.over:
            self.loop.call_soon_threadsafe(self.outbox.put_nowait, (message, client_id))

    async def publish(self) -> None:
        """Sends what waits; runs as long as the server."""
        while True:
            message, client_id = await self.outbox.get()
            if client_id is None:
                targets = list(self.sockets.values())
            else:
                targets = [self.sockets[client_id]] if client_id in self.sockets else []
            for socket in targets:
                await self._send_to(socket, message)

    async def _send_to(self, socket: web.WebSocketResponse, message: Any) -> None:
        try:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_json(message)
        except (ConnectionError, aiohttp.ClientError):
            pass

    def queue_changed(self) -> None:
        """From any thread."""
        self.send("status", {"status": self._queue_info()}, None)

    def _queue_info(self) -> dict[str, Any]:
        with self._queue.lock:
            remaining = len(self._queue.waiting) + len(self._queue.running)
        return {"exec_info": {"queue_remaining": remaining}}

    def understands_metadata(self, client_id: str | None) -> bool:
        """Whether a client asked for previews with metadata."""
        flags = self.flags.get(client_id or "", {})
        return flags.get("supports_preview_metadata") is True

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        if self._faults.no_socket:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query.get("clientId") or uuid.uuid4().hex
        again = client_id in self._seen_clients
        self._seen_clients.add(client_id)
        self.sockets.pop(client_id, None)
        self.sockets[client_id] = socket
        self.flags[client_id] = {}
        try:
            hello = {"status": self._queue_info(), "sid": client_id}
            await self._send_to(socket, {"type": "status", "data": hello})
            worker = self.worker
            if worker and worker.client_id == client_id and worker.last_node is not None:
                data = {"node": worker.last_node}
                await self._send_to(socket, {"type": "executing", "data": data})
            if again and self._faults.takes("evict_reconnect"):
                # The handler of the socket before ends only now, and clears up under the id.
                self.sockets.pop(client_id, None)
                self.flags.pop(client_id, None)
            first = True
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT and first:
                    await self._hear(socket, client_id, message.data)
                    first = False
        finally:
            self.sockets.pop(client_id, None)
            self.flags.pop(client_id, None)
        return socket

    async def _hear(self, socket: web.WebSocketResponse, client_id: str, text: str) -> None:
        data = json.loads(text)
        if data.get("type") == "feature_flags":
            if client_id in self.flags:
                self.flags[client_id] = data.get("data", {})
            await self._send_to(socket, {"type": "feature_flags", "data": FEATURES})

    # Jobs

    async def _get_prompt(self, _request: web.Request) -> web.Response:
        return web.json_response(self._queue_info())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        if self._faults.takes("lose_prompts"):
            return broken(request)
        body = await request.json()
        if "number" in body:
            number = float(body["number"])
        else:
            number = -self._number if body.get("front") else self._number
            self._number += 1
        if "prompt" not in body:
            error = {"type": "no_prompt", "message": "No prompt provided"}
            error |= {"details": "No prompt provided", "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        if self._faults.own_prompt_ids:
            prompt_id = str(uuid.uuid4())
        if self._newer and not _canonical(prompt_id):
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID"}
            error |= {"details": "", "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        graph = body["prompt"]
        error, outputs, node_errors = self._checker.check(
            graph, body.get("partial_execution_targets")
        )
        if error is not None:
            error = self._newer_form(error, graph)
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        extra = dict(body.get("extra_data", {}))
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        self._queue.put((number, prompt_id, graph, extra, outputs))
        if self._faults.takes("lose_prompt_answers"):
            return broken(request)
        return web.json_response(
            {"prompt_id": prompt_id, "number": number, "node_errors": node_errors}
        )

    def _newer_form(self, error: dict[str, Any], graph: Mapping[str, Any]) -> dict[str, Any]:
        """Newer versions say a missing class in another way."""
        if not self._newer or "does not exist" not in error["message"]:
            return error
        node = error["details"].rpartition("#")[2].rstrip("'")
        name = graph[node]["class_type"]
        title = graph[node].get("_meta", {}).get("title", name)
        return {
            "type": "missing_node_type",
            "message": f"Node '{title}' not found. The custom node may not be installed.",
            "details": error["details"],
            "extra_info": {"node_id": node, "class_type": name, "node_title": title},
        }

    async def _get_queue(self, _request: web.Request) -> web.Response:
        with self._queue.lock:
            running, waiting = list(self._queue.running.values()), list(self._queue.waiting)
        return web.json_response({"queue_running": running, "queue_pending": waiting})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.clear()
        for prompt_id in body.get("delete", ()):
            self._queue.delete(prompt_id)
        return web.Response()

    async def _post_interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        prompt_id = body.get("prompt_id")
        if not prompt_id or prompt_id in self._queue.running_ids():
            self._life.interrupted = True
        return web.Response()

    async def _get_history(self, request: web.Request) -> web.Response:
        with self._queue.lock:
            entries = list(self._queue.history.items())
        count = int(request.query.get("max_items", len(entries)))
        return web.json_response(dict(entries[-count:] if count else []))

    async def _get_history_of(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        with self._queue.lock:
            entry = self._queue.history.get(prompt_id)
        if entry is None and self.worker is not None:
            self.worker.asked_for_history.release()
        return web.json_response({} if entry is None else {prompt_id: entry})

    async def _post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        with self._queue.lock:
            if body.get("clear"):
                self._queue.history.clear()
            for prompt_id in body.get("delete", ()):
                self._queue.history.pop(prompt_id, None)
        return web.Response()

    async def _job(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        with self._queue.lock:
            waiting = [item[1] for item in self._queue.waiting]
            entry = self._queue.history.get(prompt_id)
        if prompt_id in self._queue.running_ids():
            return web.json_response({"id": prompt_id, "status": "in_progress"})
        if prompt_id in waiting:
            return web.json_response({"id": prompt_id, "status": "pending"})
        if entry is None:
            return web.json_response({"error": "Job not found"}, status=404)
        status = "completed" if entry["status"]["completed"] else "failed"
        return web.json_response({"id": prompt_id, "status": status})

    async def _cancel_job(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        with self._queue.lock:
            cancelled = self._queue.delete(prompt_id)
            if prompt_id in self._queue.running_ids():
                self._life.interrupted = cancelled = True
        return web.json_response({"cancelled": cancelled})

    async def _free(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.worker is not None and body.get("free_memory"):
            self.worker.forget_cache = True
        return web.Response()

    async def _nothing(self, _request: web.Request) -> web.Response:
        return web.Response(status=404)


def _canonical(prompt_id: str) -> bool:
    try:
        return str(uuid.UUID(prompt_id)) == prompt_id
    except ValueError:
        return False
