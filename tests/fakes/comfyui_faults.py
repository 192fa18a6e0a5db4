"""Everything that can go wrong with a ComfyUI, as switches; and the pace at which it works."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

PATIENCE = 20.0
"""Seconds after which a test that waits for the fake has gone wrong."""

Point = Literal["dequeued", "node", "step", "history"]
"""Where the worker can be held: between queue and start, before a node, before a step of a
sampler, before the history is written."""


class Killed(BaseException):
    """This life of the server is over: the worker stops wherever it is."""


class Pace:
    """Lets a test decide when the worker goes on. It runs freely until `hold` is called."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: frozenset[Point] = frozenset()
        self._passes = 0
        self._standing: Point | None = None

    def hold(self, *points: Point) -> None:
        """Hold the worker at these points; at each node and each step if none is named."""
        with self._changed:
            self._held = frozenset(points or ("node", "step"))
            self._passes = 0
            self._changed.notify_all()

    def go(self, count: int = 1) -> None:
        """Let the worker pass `count` points, and wait until it has left where it stands."""
        with self._changed:
            self._passes += count
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._passes == 0, PATIENCE)

    def release(self) -> None:
        """Hold it nowhere any more."""
        with self._changed:
            self._held = frozenset()
            self._passes = 0
            self._changed.notify_all()

    def wait(self) -> Point:
        """Wait until the worker stands at a point; says at which."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._standing is not None, PATIENCE):
                raise AssertionError("the worker of the fake came to no point")
            assert self._standing is not None
            return self._standing

    def wake(self) -> None:
        """Something happened that the worker should look at."""
        with self._changed:
            self._changed.notify_all()

    def pass_point(self, point: Point, life: Life) -> None:
        """Called by the worker. Raises Killed, or returns when it may go on or is interrupted."""
        with self._changed:
            if point in self._held:
                self._standing = point
                self._changed.notify_all()
                while not (
                    life.over
                    or point not in self._held
                    or self._passes > 0
                    or (life.interrupted and point in ("node", "step"))
                ):
                    self._changed.wait(0.05)
                self._standing = None
                if self._passes > 0:
                    self._passes -= 1
                self._changed.notify_all()
        life.check()


class Life:
    """One run of the server's process."""

    def __init__(self) -> None:
        self.over = False
        self.interrupted = False

    def check(self) -> None:
        if self.over:
            raise Killed


@dataclass
class NodeFailure:
    """A node class that fails. `times`: how often; None: always."""

    exception_type: str
    message: str
    times: int | None = 1


@dataclass
class Faults:
    """All off. Those with a number count down."""

    dead_worker: Literal["before", "during"] | None = None
    """The worker thread dies: before it takes the next job, or in the middle of one."""
    fail: dict[str, NodeFailure] = field(default_factory=dict)
    """By node class."""
    block: set[str] = field(default_factory=set)
    """Node classes that are not run on purpose (ExecutionBlocker with a message)."""
    history_late: int = 0
    """The history is written only after it was asked for that often."""
    duplicate_messages: bool = False
    missing_messages: set[str] = field(default_factory=set)
    """Types of messages that are never sent."""
    evict_reconnect: int = 0
    """The clean-up of the old socket removes that many new ones with the same client id."""
    no_socket: bool = False
    """A proxy lets no WebSocket through."""
    lose_cached_outputs: bool = False
    """Cached outputs are not in the history of jobs without a client id."""
    lose_prompt_answers: int = 0
    """The connection breaks after a graph was accepted."""
    lose_prompts: int = 0
    """The connection breaks before a graph was accepted."""
    html: bool = False
    """A proxy answers everything with a web page and status 200."""
    status: int | None = None
    """A proxy answers everything with this status."""
    redirect: str | None = None
    """Everything, or /view alone if it ends with /view, is redirected there."""
    object_info_held: bool = False
    """/object_info does not answer until this is off."""
    no_model_files: bool = False
    """As versions before /experiment/models."""
    mute: bool = False
    """Requests are taken and never answered until this is off."""
    own_prompt_ids: bool = False
    """As versions before prompt ids could be given."""
    short_downloads: int = 0
    """The connection breaks in the middle of a file."""
    loses_uploads: bool = False
    """Uploads are said to be stored, and are not."""

    def fail_node(
        self, node_class: str, exception_type: str, message: str, times: int | None = 1
    ) -> None:
        """Let a node class fail with that exception."""
        self.fail[node_class] = NodeFailure(exception_type, message, times)

    def out_of_memory(self, node_class: str = "KSampler", times: int | None = 1) -> None:
        """As PyTorch says it."""
        text = "Allocation on device 0 would exceed allowed memory. (out of memory)"
        self.fail_node(node_class, "torch.OutOfMemoryError", text, times)

    def disk_full(self, times: int | None = 1) -> None:
        """As the system says it when a picture is saved."""
        self.fail_node("SaveImage", "OSError", "[Errno 28] No space left on device", times)

    def takes(self, name: str) -> bool:
        """Use up one of a counted fault."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0
