"""The thread of the fake that runs graphs: the order of messages is ComfyUI's."""

from __future__ import annotations

import copy
import struct
import threading
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from .comfyui_faults import Faults, Killed, Life, Pace
from .comfyui_nodes import Disk, Graph, Thing, digest_of, is_link, run_node, show_node
from .comfyui_queue import Queue

Send = Callable[[str, dict[str, Any], str | None], None]
SendBytes = Callable[[bytes, str | None], None]
Cost = Callable[[str, Mapping[str, Any]], float]
"""(node class, its inputs) -> seconds."""
Show = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Inputs -> the `ui` of an output node of the test's own."""


class InterruptError(Exception):
    """InterruptProcessingException."""


class NodeError(Exception):
    """A node failed as a fault says."""

    def __init__(self, exception_type: str, message: str) -> None:
        super().__init__(message)
        self.exception_type = exception_type


class Worker:
    """Runs one job after the other in a thread of its own."""

    def __init__(
        self,
        *,
        queue: Queue,
        life: Life,
        pace: Pace,
        faults: Faults,
        disk: Disk,
        object_info: Mapping[str, Any],
        shows: Mapping[str, Show],
        cost: Cost,
        send: Send,
        send_bytes: SendBytes,
        metadata_previews: Callable[[str | None], bool],
        steps: list[str],
        keeps_old: bool,
    ) -> None:
        self._queue = queue
        self._life = life
        self._pace = pace
        self._faults = faults
        self._disk = disk
        self._info = object_info
        self._shows = shows
        self._cost = cost
        self._send_any = send
        self._send_bytes = send_bytes
        self._metadata_previews = metadata_previews
        self._steps = steps
        self._keeps_old = keeps_old
        self._cache: dict[str, tuple[Thing, dict[str, Any] | None]] = {}
        self.client_id: str | None = None
        self.last_node: str | None = None
        self.forget_cache = False
        self.asked_for_history = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, name="fake-comfyui", daemon=True)

    def _work(self) -> None:
        try:
            while True:
                with self._queue.lock:
                    while not self._queue.waiting or self._faults.dead_worker == "before":
                        self._life.check()
                        self._queue.filled.wait(0.05)
                    item, number = self._queue.take()
                self._pace.pass_point("dequeued", self._life)
                self._run(item, number)
        except Killed:
            return

    def _run(self, item: tuple[Any, ...], number: int) -> None:
        _, prompt_id, graph, extra, outputs = item
        # As in ComfyUI: an interrupt that came between the queue and here is lost.
        self._life.interrupted = False
        self.client_id = extra.get("client_id")
        job = _Job(prompt_id, copy.deepcopy(graph))
        self._tell(job, "execution_start", {"prompt_id": prompt_id})
        if self._faults.dead_worker == "during":
            raise Killed
        self._prune(job)
        cached = [node for node in graph if job.digests[node] in self._cache]
        self._tell(job, "execution_cached", {"nodes": cached, "prompt_id": prompt_id})
        success = self._run_nodes(job, outputs)
        ui, meta = self._shown(job, graph, cached, extra)
        self.last_node = None
        self._wait_for_readers(prompt_id)
        self._pace.pass_point("history", self._life)
        status = {
            "status_str": "success" if success else "error",
            "completed": success,
            "messages": job.messages,
        }
        self._queue.done(number, {"outputs": ui, "status": status, "meta": meta})
        if self.client_id is not None:
            self._send("executing", {"node": None, "prompt_id": prompt_id})
        if self.forget_cache:
            self.forget_cache = False
            self._cache.clear()

    def _prune(self, job: _Job) -> None:
        """Only what the present graph holds stays cached.

        Newer versions keep what earlier graphs held as well, while there is memory.
        """
        for node in job.graph:
            job.digests[node] = digest_of(job.graph, node, self._disk)
        if self._keeps_old:
            return
        kept = set(job.digests.values())
        self._cache = {key: value for key, value in self._cache.items() if key in kept}

    def _shown(
        self, job: _Job, graph: Graph, cached: list[str], extra: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        lost = self._faults.lose_cached_outputs and "client_id" not in extra
        ui = {}
        for node in graph:
            _, shown = self._cache.get(job.digests[node], (None, None))
            if shown is not None and not (lost and node in cached):
                ui[node] = shown
        meta = {
            node: {
                "node_id": node,
                "display_node": node,
                "parent_node": None,
                "real_node_id": node,
            }
            for node in ui
        }
        return ui, meta

    def _wait_for_readers(self, prompt_id: str) -> None:
        while self._faults.history_late > 0:
            self._life.check()
            if self.asked_for_history.acquire(timeout=0.05):
                self._faults.history_late -= 1

    def _run_nodes(self, job: _Job, outputs: list[str]) -> bool:
        try:
            for output in outputs:
                self._run_node(job, output)
        except _NodeFailedError as failure:
            self._tell_failure(job, failure)
            return False
        self._tell(job, "execution_success", {"prompt_id": job.prompt_id})
        return True

    def _tell_failure(self, job: _Job, failure: _NodeFailedError) -> None:
        node = failure.node
        about = {
            "prompt_id": job.prompt_id,
            "node_id": node,
            "node_type": job.graph[node]["class_type"],
            "executed": list(job.executed),
        }
        error = failure.error
        if isinstance(error, InterruptError):
            # Everybody is told.
            self._tell(job, "execution_interrupted", about, everybody=True)
            return
        kind = error.exception_type if isinstance(error, NodeError) else type(error).__name__
        tips = "This error means you ran out of memory on your GPU." if "Memory" in kind else ""
        inputs = job.graph[node]["inputs"].items()
        about |= {
            "exception_message": f"{error}\n{tips}",
            "exception_type": kind,
            "traceback": [f'  File "execution.py", line 496, in execute\n    {node}\n'],
            "current_inputs": {name: [str(value)] for name, value in inputs},
            "current_outputs": [],
        }
        self._tell(job, "execution_error", about)

    def _run_node(self, job: _Job, node: str) -> Thing:
        digest = job.digests[node]
        if node in job.things:
            return job.things[node]
        if digest in self._cache:
            thing, shown = self._cache[digest]
            job.things[node] = thing
            if shown is not None or self._info[job.graph[node]["class_type"]].get("output_node"):
                self._send_executed(job, node, shown)
                self._progress_state(job, node, 1, 1, "finished")
            return thing
        entry = job.graph[node]
        inputs = {
            name: self._run_node(job, value[0]) if is_link(value) else value
            for name, value in entry["inputs"].items()
        }
        try:
            thing, shown = self._execute(job, node, entry["class_type"], inputs)
        except (InterruptError, NodeError, OSError) as error:
            raise _NodeFailedError(node, error) from error
        job.things[node] = thing
        self._cache[digest] = (thing, shown)
        job.executed.append(node)
        return thing

    def _execute(
        self, job: _Job, node: str, name: str, inputs: dict[str, Any]
    ) -> tuple[Thing, dict[str, Any] | None]:
        self._progress_state(job, node, 0.0, 1.0, "running")
        self.last_node = node
        about = {"node": node, "display_node": node, "prompt_id": job.prompt_id}
        self._send("executing", about)
        self._pace.pass_point("node", self._life)
        self._check_interrupt()
        self._steps.append(f"{job.prompt_id} {node} {name}")
        thing = run_node(name, inputs, Thing(job.digests[node]), self._disk)
        self._spend(job, node, name, inputs, thing)
        self._fail_if_told(name)
        shown: dict[str, Any] | None = None
        if name in self._faults.block:
            self._send("execution_error", self._blocked(job, node, name))
        elif self._info[name].get("output_node"):
            show = self._shows.get(name)
            shown = show(inputs) if show else show_node(name, inputs, job.graph, self._disk)
            self._send_executed(job, node, shown)
        maximum = job.states[node][1]
        self._progress_state(job, node, maximum, maximum, "finished")
        return thing, shown

    def _spend(
        self, job: _Job, node: str, name: str, inputs: Mapping[str, Any], thing: Thing
    ) -> None:
        """Let the node's time pass; a sampler tells of its steps."""
        seconds = self._cost(name, inputs)
        steps = inputs.get("steps", 4) if "KSampler" in name or "SamplerCustom" in name else 0
        for step in range(1, steps + 1):
            self._pace.pass_point("step", self._life)
            self._check_interrupt()
            self._sleep(seconds / steps)
            about = {"value": step, "max": steps, "prompt_id": job.prompt_id, "node": node}
            self._progress_state(job, node, step, steps, "running")
            if self._metadata_previews(self.client_id):
                self._send_preview(job, node, thing)
            self._send("progress", about)
            if not self._metadata_previews(self.client_id):
                self._send_preview(job, node, thing)
        if not steps:
            self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._life.check()
            self._check_interrupt()
            time.sleep(min(left, 0.02))

    def _check_interrupt(self) -> None:
        self._life.check()
        if self._life.interrupted:
            self._life.interrupted = False
            raise InterruptError

    def _fail_if_told(self, name: str) -> None:
        fault = self._faults.fail.get(name)
        if fault is None or fault.times == 0:
            return
        if fault.times is not None:
            fault.times -= 1
        raise NodeError(fault.exception_type, fault.message)

    def _blocked(self, job: _Job, node: str, name: str) -> dict[str, Any]:
        return {
            "prompt_id": job.prompt_id,
            "node_id": node,
            "node_type": name,
            "executed": list(job.executed),
            "exception_message": "Execution Blocked: nothing to do here",
            "exception_type": "ExecutionBlocked",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": [],
        }

    def _tell(self, job: _Job, kind: str, data: dict[str, Any], *, everybody: bool = False) -> None:
        """A message that the history keeps as well."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        job.messages.append((kind, data))
        if self.client_id is not None or everybody:
            self._send_any(kind, data, self.client_id)

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        if self.client_id is not None:
            self._send_any(kind, data, self.client_id)

    def _send_executed(self, job: _Job, node: str, shown: dict[str, Any] | None) -> None:
        if shown is not None:
            about = {"node": node, "display_node": node, "prompt_id": job.prompt_id}
            self._send("executed", {**about, "output": shown or None})

    def _progress_state(
        self, job: _Job, node: str, value: float, maximum: float, state: str
    ) -> None:
        job.states[node] = (value, maximum, state)
        nodes = {
            name: {
                "value": value,
                "max": maximum,
                "state": state,
                "node_id": name,
                "prompt_id": job.prompt_id,
                "display_node_id": name,
                "parent_node_id": None,
                "real_node_id": name,
            }
            for name, (value, maximum, state) in job.states.items()
        }
        self._send("progress_state", {"prompt_id": job.prompt_id, "nodes": nodes})

    def _send_preview(self, job: _Job, node: str, thing: Thing) -> None:
        buffer = BytesIO()
        thing.drawn().resize((16, 16)).save(buffer, "JPEG")
        picture = buffer.getvalue()
        if not self._metadata_previews(self.client_id):
            self._send_bytes(struct.pack(">II", 1, 1) + picture, self.client_id)
            return
        about = (
            f'{{"node_id": "{node}", "prompt_id": "{job.prompt_id}", "image_type": "image/jpeg"}}'
        ).encode()
        frame = struct.pack(">II", 4, len(about)) + about + picture
        self._send_bytes(frame, self.client_id)


class _NodeFailedError(Exception):
    def __init__(self, node: str, error: Exception) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


class _Job:
    """One graph at work."""

    def __init__(self, prompt_id: str, graph: Graph) -> None:
        self.prompt_id = prompt_id
        self.graph = graph
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.digests: dict[str, str] = {}
        self.things: dict[str, Thing] = {}
        self.executed: list[str] = []
        self.states: dict[str, tuple[float, float, str]] = {}
