"""What a history entry says: how a job ended, and which files it made. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .client_events import OutputFile

_TEXT_KINDS = ("text", "string", "texts")
_PLACES = ("output", "temp", "input")


@dataclass(frozen=True)
class Ending:
    """How a job ended. `detail`: what ComfyUI said about the error."""

    how: Literal["success", "error", "interrupted"]
    detail: Mapping[str, Any]


def ending_of(entry: Mapping[str, Any]) -> Ending:
    """How the job of a history entry ended.

    An interrupted job has the status "error" as well: only its messages tell them apart.
    """
    status = entry.get("status")
    if not isinstance(status, Mapping) or status.get("status_str") == "success":
        return Ending("success", {})
    how: Literal["error", "interrupted"] = "error"
    detail: Mapping[str, Any] = {}
    messages = status.get("messages")
    for message in messages if isinstance(messages, list) else []:
        match message:
            case ["execution_interrupted", dict(data)]:
                how, detail = "interrupted", data
            case ["execution_error", dict(data)] if data.get("exception_type") != (
                "ExecutionBlocked"
            ):
                how, detail = "error", data
    return Ending(how, detail)


def files_of(entry: Mapping[str, Any], nodes: Collection[str]) -> tuple[OutputFile, ...]:
    """What the output nodes `nodes` made, in their order; of all nodes, if there are none named.

    A node that expands into others at run time counts with what those made.
    """
    outputs = entry.get("outputs")
    if not isinstance(outputs, Mapping):
        return ()
    wanted = list(nodes) or list(dict.fromkeys(_shown_as(entry, node) for node in outputs))
    found: dict[str, list[OutputFile]] = {node: [] for node in wanted}
    for node, output in outputs.items():
        shown = node if node in found else _shown_as(entry, node)
        if shown in found and isinstance(output, Mapping):
            found[shown].extend(_files(shown, output))
    return tuple(file for node in wanted for file in found[node])


def _shown_as(entry: Mapping[str, Any], node: str) -> str:
    meta = entry.get("meta")
    about = meta.get(node) if isinstance(meta, Mapping) else None
    shown = about.get("display_node") if isinstance(about, Mapping) else None
    return shown if isinstance(shown, str) else node


def _files(node: str, output: Mapping[str, Any]) -> Iterator[OutputFile]:
    for kind, items in output.items():
        if isinstance(items, str):
            items = [items]
        for item in items if isinstance(items, list) else []:
            if isinstance(item, str) and kind in _TEXT_KINDS:
                yield OutputFile(node, "text", "", "", "", text=item)
            elif isinstance(item, Mapping) and isinstance(item.get("filename"), str):
                subfolder, place = item.get("subfolder"), item.get("type")
                yield OutputFile(
                    node,
                    str(kind),
                    item["filename"],
                    subfolder if isinstance(subfolder, str) else "",
                    place if place in _PLACES else "output",
                )
