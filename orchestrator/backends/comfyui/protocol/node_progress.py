"""How far a job is: a number that never goes backwards, from messages that do.

ComfyUI tells of nodes that have begun, so that a share of those alone runs backwards. Here each
node weighs what it cost the last time on that server. Pure but for the cost book.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import messages as m
from .client_events import CompiledGraph, Progress
from .graphs import upstream
from .node_costs import Cost, CostBook

_ALMOST = 0.99
"""The rest comes with the finished files."""
_GUESSED = 0.2
"""Time left is told if at most this share of it is a guess."""
_WORDS = (
    ("LoraLoader", "loading a LoRA"),
    ("ControlNetLoader", "loading the ControlNet"),
    ("UpscaleModelLoader", "loading the enlarger"),
    ("LoadImage", "reading the start picture"),
    ("Loader", "loading the model"),
    ("TextEncode", "reading the prompt"),
    ("VAEDecode", "decoding the picture"),
    ("VAEEncode", "reading the start picture"),
    ("ImageUpscaleWithModel", "enlarging"),
    ("SaveImage", "saving"),
    ("PreviewImage", "saving"),
)


@dataclass
class _Running:
    """The node at work: since when (None if its beginning was not heard), and how far."""

    node: str
    since: float | None
    value: float = 0.0
    maximum: float = 0.0


class Tracker:
    """Follows one job's messages; times are seconds of one clock that never goes back."""

    def __init__(self, compiled: CompiledGraph, costs: CostBook) -> None:
        self._graph = compiled.graph
        self._samplers = compiled.samplers
        self._costs = costs
        counted = list(upstream(compiled.graph, compiled.outputs)) or list(compiled.graph)
        self._expected: dict[str, Cost] = {
            node: costs.expect(compiled.graph, node, compiled.samplers.get(node))
            for node in counted
        }
        self._cached: set[str] = set()
        self._done: set[str] = set()
        self._measured: dict[str, float] = {}
        self._running: _Running | None = None
        self._fraction = 0.0
        self._left: float | None = None

    @property
    def executing(self) -> str | None:
        """The node at work, as far as is known."""
        return self._running.node if self._running else None

    def waiting(self, place: int) -> Progress:
        """What to say while `place` jobs come before this one."""
        if place == 0:
            return Progress(self._fraction, "waiting for the server")
        jobs = "1 job" if place == 1 else f"{place} jobs"
        return Progress(self._fraction, f"waiting in the server's queue behind {jobs}")

    def hear(self, message: m.Message, now: float) -> Progress | None:
        """Take in a message of this job; the progress, if it tells of any."""
        match message:
            case m.Cached(nodes=nodes):
                self._cached |= set(nodes)
            case m.Executing(node=str(node)):
                self._begin(node, now)
            case m.Executing():
                self._end_running(now)
            case m.Step(node=node, value=value, maximum=maximum):
                self._step(node, value, maximum, now)
            case m.States(nodes=nodes):
                self._states(nodes, now)
            case m.Executed(node=node):
                self._finish(node, now)
            case _:
                return None
        return self._progress(now)

    def finish(self, now: float) -> Progress:
        """The job ended well: remember what its nodes cost. The last progress, 1.0."""
        self._end_running(now)
        self._costs.learn(
            self._graph,
            {node: (seconds, self._samplers.get(node)) for node, seconds in self._measured.items()},
        )
        self._fraction = 1.0
        return Progress(1.0, "done", 0.0)

    def _begin(self, node: str, now: float) -> None:
        if node not in self._graph or (self._running and self._running.node == node):
            return
        self._end_running(now)
        # A node that was done and is named again has expanded into others: it goes on.
        self._running = _Running(node, now if node not in self._done else None)

    def _step(self, node: str, value: float, maximum: float, now: float) -> None:
        if node not in self._graph:
            return
        self._begin(node, now)
        if self._running and self._running.node == node:
            self._running.value = min(value, maximum)
            self._running.maximum = maximum

    def _states(self, nodes: Mapping[str, m.NodeState], now: float) -> None:
        for node, state in nodes.items():
            if state.state in ("finished", "error"):
                self._finish(node, now)
        running = [n for n, s in nodes.items() if s.state == "running" and n in self._graph]
        if not running:
            return
        # Several run at once only where nodes wait for others' servers: the last one tells.
        node = running[-1]
        self._begin(node, now)
        state = nodes[node]
        if state.maximum > 1:
            self._step(node, state.value, state.maximum, now)

    def _finish(self, node: str, now: float) -> None:
        if self._running and self._running.node == node:
            self._end_running(now)
        if node in self._graph:
            self._done.add(node)

    def _end_running(self, now: float) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        self._done.add(running.node)
        if running.since is not None:
            self._measured[running.node] = max(0.0, now - running.since)

    def _progress(self, now: float) -> Progress:
        counted = {n: c for n, c in self._expected.items() if n not in self._cached}
        total = sum(cost.seconds for cost in counted.values())
        done = sum(cost.seconds for node, cost in counted.items() if node in self._done)
        running = self._running
        if running and running.node in counted and running.node not in self._done:
            part = running.value / running.maximum if running.maximum else 0.0
            done += counted[running.node].seconds * part
        fraction = done / total if total > 0 else 0.0
        self._fraction = max(self._fraction, min(_ALMOST, fraction))
        self._left = self._time_left(counted, now)
        return Progress(self._fraction, self._doing(), self._left)

    def _time_left(self, counted: Mapping[str, Cost], now: float) -> float | None:
        left = guessed = 0.0
        for node, cost in counted.items():
            if node in self._done:
                continue
            if self._running and node == self._running.node:
                seconds, known = self._left_of_running(self._running, cost, now)
            else:
                seconds, known = cost.seconds, cost.known
            left += seconds
            guessed += 0.0 if known else seconds
        if guessed > _GUESSED * left:
            return self._left
        return left if self._left is None else min(left, self._left)

    def _left_of_running(self, running: _Running, cost: Cost, now: float) -> tuple[float, bool]:
        elapsed = now - running.since if running.since is not None else 0.0
        if running.value > 0 and elapsed > 0:
            return elapsed / running.value * (running.maximum - running.value), True
        return max(0.0, cost.seconds - elapsed), cost.known

    def _doing(self) -> str:
        running = self._running
        if running is None:
            return "drawing"
        if running.node in self._samplers:
            if running.maximum > 0:
                return f"drawing, step {running.value:.0f} of {running.maximum:.0f}"
            return "drawing"
        name = str(self._graph[running.node].get("class_type", ""))
        words = next((words for part, words in _WORDS if part in name), None)
        if words:
            return words
        meta = self._graph[running.node].get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        return str(title or name)
