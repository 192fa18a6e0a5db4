"""ComfyUI's WebSocket messages as data. Pure; what cannot be understood is None, never an error.

Forms of 0.3.64 (server.py, execution.py, comfy_execution/progress.py, protocol.py).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FEATURE_FLAGS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""The client's first frame: previews then come with the id of their job (binary type 4)."""

_FORMATS = {1: "jpeg", 2: "png"}
_MAX_TEXT = 2000


@dataclass(frozen=True)
class QueueChanged:
    """`status`: a broadcast. `remaining`: jobs on the server, everybody's."""

    remaining: int


@dataclass(frozen=True)
class Started:
    prompt_id: str


@dataclass(frozen=True)
class Cached:
    """`nodes` need not run again."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Executing:
    """`node` None: the job is over and its history written. `prompt_id` None: sent to a socket
    that was opened while the node ran."""

    prompt_id: str | None
    node: str | None


@dataclass(frozen=True)
class Step:
    prompt_id: str | None
    node: str
    value: float
    maximum: float


@dataclass(frozen=True)
class NodeState:
    state: str
    value: float
    maximum: float


@dataclass(frozen=True)
class States:
    """All nodes that have begun, so never those that wait."""

    prompt_id: str
    nodes: Mapping[str, NodeState]


@dataclass(frozen=True)
class Executed:
    """A node that shows something is done. What it made stands in the history."""

    prompt_id: str
    node: str


@dataclass(frozen=True)
class Ended:
    """The job is over; its history comes a moment later. `detail`: of an error."""

    prompt_id: str
    how: Literal["success", "error", "interrupted"]
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Blocked:
    """A branch was not run on purpose (ExecutionBlocked); the job goes on."""

    prompt_id: str
    text: str


@dataclass(frozen=True)
class PreviewImage:
    """`prompt_id` and `node` are known for previews with metadata alone."""

    data: bytes
    format: str
    prompt_id: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class Text:
    """Words that a node sent for people to read."""

    node: str
    text: str


Message = (
    QueueChanged
    | Started
    | Cached
    | Executing
    | Step
    | States
    | Executed
    | Ended
    | Blocked
    | PreviewImage
    | Text
)


def parse(frame: str | bytes) -> Message | None:
    """A frame of the socket; None if it is of no interest or not understood."""
    if isinstance(frame, bytes):
        return _binary(frame)
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
        return None
    return _text(message.get("type"), message["data"])


def _text(kind: object, data: Mapping[str, Any]) -> Message | None:
    prompt_id = data.get("prompt_id")
    if not isinstance(prompt_id, str):
        prompt_id = None
    match kind:
        case "status":
            return _queue_changed(data)
        case "executing":
            node = data.get("node")
            if node is None and prompt_id is None:
                return None
            return Executing(prompt_id, None if node is None else str(node))
        case "progress":
            return _step(prompt_id, data)
    if prompt_id is None:
        return None
    match kind:
        case "execution_start":
            return Started(prompt_id)
        case "execution_cached":
            nodes = data.get("nodes")
            names = tuple(str(n) for n in nodes) if isinstance(nodes, list) else ()
            return Cached(prompt_id, names)
        case "progress_state":
            return _states(prompt_id, data.get("nodes"))
        case "executed":
            return Executed(prompt_id, str(data.get("node")))
        case "execution_success":
            return Ended(prompt_id, "success", data)
        case "execution_interrupted":
            return Ended(prompt_id, "interrupted", data)
        case "execution_error":
            if data.get("exception_type") == "ExecutionBlocked":
                return Blocked(prompt_id, str(data.get("exception_message", ""))[:_MAX_TEXT])
            return Ended(prompt_id, "error", data)
    return None


def _queue_changed(data: Mapping[str, Any]) -> QueueChanged | None:
    try:
        return QueueChanged(int(data["status"]["exec_info"]["queue_remaining"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _step(prompt_id: str | None, data: Mapping[str, Any]) -> Step | None:
    value, maximum = _number(data.get("value")), _number(data.get("max"))
    if value is None or maximum is None or maximum <= 0 or data.get("node") is None:
        return None
    return Step(prompt_id, str(data["node"]), value, maximum)


def _states(prompt_id: str, nodes: object) -> States | None:
    if not isinstance(nodes, dict):
        return None
    found: dict[str, NodeState] = {}
    for node, state in nodes.items():
        if not isinstance(state, dict):
            continue
        value, maximum = _number(state.get("value")), _number(state.get("max"))
        if value is not None and maximum is not None and maximum > 0:
            found[str(node)] = NodeState(str(state.get("state")), value, maximum)
    return States(prompt_id, found)


def _binary(frame: bytes) -> Message | None:
    if len(frame) < 8:
        return None
    kind, second = struct.unpack_from(">II", frame)
    rest = frame[8:]
    match kind:
        case 1:
            name = _FORMATS.get(second)
            return PreviewImage(rest, name) if name and rest else None
        case 3:
            if second > len(rest):
                return None
            node, text = rest[:second], rest[second:][: 4 * _MAX_TEXT]
            return Text(
                node.decode("utf-8", "replace"), text.decode("utf-8", "replace")[:_MAX_TEXT]
            )
        case 4:
            return _preview_with_metadata(second, rest)
    return None


def _preview_with_metadata(length: int, rest: bytes) -> PreviewImage | None:
    try:
        metadata = json.loads(rest[:length])
    except (ValueError, RecursionError):
        return None
    picture = rest[length:]
    if not isinstance(metadata, dict) or not picture:
        return None
    name = str(metadata.get("image_type", "")).removeprefix("image/")
    if name not in _FORMATS.values():
        return None
    prompt_id, node = metadata.get("prompt_id"), metadata.get("node_id")
    return PreviewImage(
        picture,
        name,
        prompt_id if isinstance(prompt_id, str) else None,
        None if node is None else str(node),
    )
