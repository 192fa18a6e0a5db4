"""A ComfyUI that only pretends: same routes and messages, pictures of one colour, every fault.

It passes the same contract suite as a real one (tests/contract/comfyui).

    with FakeComfyUI() as fake:
        fake.pace.hold("step")          # the worker stops before each step of a sampler
        ...
        fake.faults.out_of_memory()
        fake.restart()                  # forgets queue and history, keeps files
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from .comfyui_faults import PATIENCE, Faults, Life, Pace
from .comfyui_files import Files
from .comfyui_graphs import picture_graph
from .comfyui_nodes import Checker, Disk, Graph
from .comfyui_queue import Queue
from .comfyui_routes import Routes
from .comfyui_worker import Cost, Show, Worker

RECORDED = Path(__file__).resolve().parents[1] / "data" / "object_info.json.gz"
_FOLDERS = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
    "lora_name": "loras",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "control_net_name": "controlnet",
}


@lru_cache
def recorded_object_info() -> dict[str, Any]:
    """/object_info of ComfyUI 0.3.64, with a fixed list of model files. Do not change it."""
    return json.loads(gzip.decompress(RECORDED.read_bytes()))


class FakeComfyUI:
    """A server on 127.0.0.1 in threads of this process.

    `models`: folder -> files, in place of the recorded lists. `cost`: seconds of a node by class
    and inputs. `shows`: what output nodes of these classes show. `newer`: as versions that have
    /api/jobs and whose cache keeps what earlier graphs held. `key`: the bearer key that it wants.
    `login`: user name and password that it wants (Basic). `token`: wanted as `?token=`. `path`:
    everything lies below it ("/comfy"). `tls`: it speaks HTTPS. `host`: the address of this
    machine that it listens on.
    """

    def __init__(
        self,
        *,
        object_info: Mapping[str, Any] | None = None,
        models: Mapping[str, list[str]] | None = None,
        cost: Cost | None = None,
        shows: Mapping[str, Show] | None = None,
        version: str = "0.3.64",
        newer: bool = False,
        key: str | None = None,
        login: tuple[str, str] | None = None,
        token: str | None = None,
        port: int = 0,
        path: str = "",
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.faults = Faults()
        self.pace = Pace()
        self.requests: list[str] = []
        """All requests: "GET /queue"."""
        self.headers: list[Mapping[str, str]] = []
        """Their headers."""
        self.queries: list[str] = []
        """What stood behind the "?" of their addresses."""
        self.steps: list[str] = []
        """All nodes that really ran, in all lives: "prompt-id node class"."""
        self.cost: Cost = cost or (lambda _name, _inputs: 0.0)
        self.version = version
        self.newer = newer
        self._replaced: dict[tuple[str, str], tuple[int, float]] = {}
        self.models = {name: list(files) for name, files in (models or {}).items()}
        self._info = object_info if object_info is not None else recorded_object_info()
        self._shows = dict(shows or {})
        self._key, self._login, self._token = key, login, token
        self._host = f"[{host}]" if ":" in host else host
        self._port, self._path, self._tls = port, path, tls
        self._folder = tempfile.TemporaryDirectory(prefix="fake-comfyui-")
        self.disk = Disk(Path(self._folder.name))
        self._seen_clients: set[str] = set()
        self._running: _Run | None = None

    @property
    def url(self) -> str:
        """Stays the same over restarts."""
        return f"http{'s' if self._tls else ''}://{self._host}:{self._port}{self._path}"

    def start(self) -> None:
        """Begin a new life; nothing is in queue or history."""
        assert self._running is None
        self._running = _Run(self._make, self._port, self._path, self._tls, self._host)
        self._port = self._running.port

    def stop(self) -> None:
        """End as a killed process does: connections break, and new ones are refused."""
        run, self._running = self._running, None
        if run is not None:
            run.end()

    def restart(self) -> None:
        """Stop and start: files stay, queue and history and cache are forgotten."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.faults.mute = self.faults.object_info_held = False
        self.stop()
        self._folder.cleanup()

    # What others do, and what can be looked at

    def drop_sockets(self) -> None:
        """All WebSockets break; the server notices at once."""
        self._run.call(lambda: self._run.abort(sockets_only=True))

    def clear_queue(self) -> None:
        """Somebody else clears the queue."""
        self._run.queue.clear()

    def clear_history(self) -> None:
        """Somebody else clears the history."""
        with self._run.queue.lock:
            self._run.queue.history.clear()

    def interrupt(self) -> None:
        """Somebody else stops whatever runs."""
        self._run.life.interrupted = True
        self.pace.wake()

    def empty_folder(self, place: str = "output") -> None:
        """Somebody empties one of the server's folders: output, temp or input."""
        for file in [path for path in self.disk.folder(place).rglob("*") if path.is_file()]:
            file.unlink()

    def add_foreign_job(self, graph: Graph | None = None) -> str:
        """Somebody else's job; its prompt id."""
        prompt_id = str(uuid.uuid4())
        graph = graph or picture_graph(prefix="somebody-else")
        outputs = [
            node for node, entry in graph.items() if self._info[entry["class_type"]]["output_node"]
        ]
        extra = {"client_id": "somebody-else"}
        self._run.queue.put((-1.0 - len(self.steps), prompt_id, graph, extra, outputs))
        return prompt_id

    def pending(self) -> list[str]:
        """Prompt ids in the queue."""
        with self._run.queue.lock:
            return [item[1] for item in sorted(self._run.queue.waiting)]

    def at_work(self) -> list[str]:
        """Prompt ids that run."""
        return self._run.queue.running_ids()

    def history(self) -> dict[str, str]:
        """Prompt id -> "success" or "error" of all jobs that are over in this life."""
        with self._run.queue.lock:
            items = self._run.queue.history.items()
            return {prompt_id: entry["status"]["status_str"] for prompt_id, entry in items}

    def client_ids(self) -> list[str]:
        """Clients with an open socket."""
        return list(self._run.routes.sockets)

    def ran(self, prompt_id: str, node_class: str = "SaveImage") -> int:
        """How often a node class really ran for a job, in all lives."""
        wanted = (prompt_id, node_class)
        return sum((step.split()[0], step.split()[2]) == wanted for step in self.steps)

    @property
    def _run(self) -> _Run:
        assert self._running is not None, "the fake is stopped"
        return self._running

    def replace_file(self, folder: str, name: str, *, size: int = 2_000_000) -> None:
        """Somebody puts another file in the place of one, under its name."""
        self._replaced[folder, name] = size, 1_700_000_000.0 + len(self._replaced) + 1

    def _model_files(self, folder: str) -> dict[str, tuple[int, float]] | None:
        """Name -> (size, time of change) of a folder's files."""
        listed = self.models.get(folder)
        for name, entry in self._info.items() if listed is None else ():
            for key, spec in (entry["input"].get("required") or {}).items():
                of = "upscale_models" if name == "UpscaleModelLoader" else _FOLDERS.get(key)
                if of == folder:
                    listed = [*(listed or ()), *(_offered(spec) or ())]
        if listed is None:
            return None
        usual = 1_000_000, 1_700_000_000.0
        return {name: self._replaced.get((folder, name), usual) for name in listed}

    def _choices(self, node_class: str, input_name: str) -> list[str] | None:
        folder = _FOLDERS.get(input_name)
        if (node_class, input_name) == ("UpscaleModelLoader", "model_name"):
            folder = "upscale_models"
        return self.models.get(folder) if folder else None

    def _object_info(self) -> Mapping[str, Any]:
        """With the files of `models` in the lists."""
        info = dict(self._info)
        for name, entry in self._info.items() if self.models else ():
            for key, spec in (entry["input"].get("required") or {}).items():
                choices = self._choices(name, key)
                if choices is not None and _offered(spec) is not None:
                    info[name] = json.loads(json.dumps(info[name]))
                    # Newer node classes have their choices among the options.
                    own = info[name]["input"]["required"][key]
                    own[0] = choices if isinstance(own[0], list) else own[0]
                    if not isinstance(own[0], list):
                        own[1]["options"] = choices
        return info

    def _make(self, run: _Run) -> Routes:
        """A new life's routes and worker. Called in its event loop."""
        # The queue tells the routes, which are made after it.
        run.queue = Queue(lambda: routes.queue_changed())
        files = Files(
            life=run.life,
            faults=self.faults,
            disk=self.disk,
            object_info=self._object_info,
            models=self.models,
            model_files=self._model_files,
            version=self.version,
        )
        routes = Routes(
            life=run.life,
            faults=self.faults,
            files=files,
            queue=run.queue,
            checker=Checker(self._info, self._choices, self.disk),
            key=self._key,
            login=self._login,
            token=self._token,
            newer=self.newer,
            requests=self.requests,
            headers=self.headers,
            queries=self.queries,
            seen_clients=self._seen_clients,
        )
        run.worker = routes.worker = Worker(
            queue=run.queue,
            life=run.life,
            pace=self.pace,
            faults=self.faults,
            disk=self.disk,
            object_info=self._info,
            shows=self._shows,
            cost=lambda name, inputs: self.cost(name, inputs),
            send=routes.send,
            send_bytes=routes.send_bytes,
            metadata_previews=routes.understands_metadata,
            steps=self.steps,
            keeps_old=self.newer,
        )
        return routes


def _offered(spec: Any) -> list[str] | None:
    """What an input offers to choose from; None if it is no choice."""
    if isinstance(spec[0], list):
        return [str(one) for one in spec[0]]
    options = spec[1] if len(spec) > 1 else {}
    return options.get("options") if spec[0] == "COMBO" else None


class _Run:
    """One life: an event loop in a thread, and the worker's thread."""

    queue: Queue
    worker: Worker

    def __init__(
        self,
        make: Callable[[_Run], Routes],
        port: int,
        path: str,
        tls: ssl.SSLContext | None,
        host: str,
    ) -> None:
        self.life = Life()
        self._host = host.strip("[]")
        self.port, self._path, self._tls = port, path, tls
        self._make = make
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="fake-comfyui-http", daemon=True)
        self._thread.start()
        if not self._ready.wait(PATIENCE) or self._error is not None:
            raise AssertionError(f"the fake did not start: {self._error}")
        self.worker.thread.start()

    def call(self, action: Callable[[], Any]) -> Any:
        """Run something in the event loop and wait for it."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE)

    def abort(self, *, sockets_only: bool = False) -> None:
        """Break connections. In the event loop."""
        for request in list(self.routes.open.values()):
            if request.transport is not None and (not sockets_only or request.path.endswith("/ws")):
                request.transport.abort()
        if not sockets_only:
            server = self._runner.server
            assert server is not None
            for connection in server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    def end(self) -> None:
        self.life.over = True
        asyncio.run_coroutine_threadsafe(self._shutdown(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self.worker.thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert not self.worker.thread.is_alive()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._start())
        except BaseException as error:
            self._error = error
            self._ready.set()
            self._loop.close()
            return
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._close_rest())
        self._loop.close()

    async def _close_rest(self) -> None:
        """Connections that were closed with something unsent would wait for their readers."""
        for transport in list(getattr(self._loop, "_transports", {}).values()):
            transport.abort()
        await asyncio.sleep(0)

    async def _start(self) -> None:
        self.routes = self._make(self)
        app = self.routes.application()
        if self._path:
            app, below = web.Application(client_max_size=100_000_000), app
            app.add_subapp(self._path, below)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls)
        await site.start()
        self._site = site
        assert self._runner.addresses
        self.port = self._runner.addresses[0][1]
        self._publisher = asyncio.ensure_future(self.routes.publish())

    async def _shutdown(self) -> None:
        self._publisher.cancel()
        # A connection that was accepted just now gets its transport in one of the next turns, and
        # none at all if the server is closed before: its socket would stay open.
        for listener in self._site._server.sockets:
            self._loop.remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        await self._site.stop()
        self.abort()
        await self._runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await self._publisher
