"""Which files a graph loads on a server, and what tells that one of them was replaced.

ComfyUI keeps what a loader made as long as the loader's inputs are the same, and LoraLoader keeps
its file's weights as long as its node and the file's name are (nodes.py, `loaded_lora`): a file
that was replaced in place would be drawn as it was. So what is loaded is marked with its size and
times, in an input that ComfyUI's nodes do not know: it is left out when they run (execution.py,
get_input_data), and is part of what its cache keys on (comfy_execution/caching.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ....core.errors import KizyError
from ....core.plan import DrawStage, ImproveStage, Plan
from .protocol.graphs import Graph, is_link
from .protocol.lora_upload import missing
from .protocol.model_files import FileStamp
from .workflows.compile import Compiled, compile_plan
from .workflows.file_names import enlarger_name
from .workflows.library import template_for
from .workflows.node_types import MODEL_FOLDERS
from .workflows.server_facts import ServerFacts

CONTENT_INPUT = "kizy_content"
KEEPS_BY_NODE = frozenset(("LoraLoader",))
"""Classes whose nodes keep what they read, by their own id."""
_MARK = 16

Files = Callable[[str], Mapping[str, FileStamp] | None]
"""Folder below `models/` -> its files; None where the server does not tell them."""


def loaded(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """(node, folder, file) of each model file that a graph loads."""
    for node, entry in graph.items():
        for name, value in entry.get("inputs", {}).items():
            folder = MODEL_FOLDERS.get((entry.get("class_type", ""), name))
            if folder is not None and isinstance(value, str):
                yield node, folder, value


def marked(compiled: Compiled, files: Files) -> Compiled:
    """The graph, whose loaders run again when one of their files was replaced.

    What the server does not tell is not marked. Raises what `files` raises.
    """
    found: dict[str, list[FileStamp]] = {}
    for node, folder, name in loaded(compiled.graph):
        stamp = (files(folder) or {}).get(name)
        if stamp is not None:
            found.setdefault(node, []).append(stamp)
    marks = {node: _hashed([_told(stamp) for stamp in stamps]) for node, stamps in found.items()}
    ids = {
        node: f"{node}-{mark}"
        for node, mark in marks.items()
        if compiled.graph[node]["class_type"] in KEEPS_BY_NODE
    }
    graph: dict[str, dict[str, Any]] = {}
    for node, entry in compiled.graph.items():
        inputs = {
            name: [ids.get(str(value[0]), value[0]), *value[1:]] if is_link(value) else value
            for name, value in entry["inputs"].items()
        }
        if node in marks:
            inputs[CONTENT_INPUT] = marks[node]
        graph[ids.get(node, node)] = {**entry, "inputs": inputs}
    return replace(compiled, graph=graph)


def fingerprint(plan: Plan, facts: ServerFacts, device: str, files: Files) -> str | None:
    """What draws a Plan on a server with these facts, as exactly as its pixels depend on it.

    ComfyUI's version and device, the graph and the size and times of every file that it loads. None
    if one of these is not known, or the server cannot draw the Plan. The same for all pictures of a
    Plan. Raises what `files` raises.
    """
    plan = plan.model_copy(update={"count": 1, "seed": 0})
    improving = [stage for stage in plan.stages if isinstance(stage, ImproveStage)]
    stages = tuple(stage for stage in plan.stages if not isinstance(stage, ImproveStage))
    if improving and not any(isinstance(stage, DrawStage) for stage in stages):
        # Its parts are drawn by graphs of their own, which load the same model.
        stages = (DrawStage(), *stages)
    drawn = plan.model_copy(update={"stages": stages})
    if any(missing(drawn, facts)):
        return None
    try:
        graph = compile_plan(drawn, template_for(drawn, facts), facts).graph
        enlargers = [stage.enlarger.name for stage in improving if stage.enlarger is not None]
        names = [enlarger_name(facts, name) for name in enlargers]
    except KizyError:
        return None
    wanted = {(folder, name) for _, folder, name in loaded(graph)}
    wanted |= {("upscale_models", name) for name in names if name is not None}
    told: list[Any] = [graph]
    for folder, name in sorted(wanted):
        stamp = (files(folder) or {}).get(name)
        if stamp is None:
            return None
        told.append([folder, name, *_told(stamp)])
    return f"comfyui {facts.version} {device} {_hashed(told)}"


def _told(stamp: FileStamp) -> list[float]:
    return [stamp.size, stamp.modified, stamp.created]


def _hashed(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_MARK]
