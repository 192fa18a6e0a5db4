"""API graph -> the format that ComfyUI's page saves and opens (litegraph, version 0.4). Pure.

What the page adds to a node's inputs (a widget behind every seed, LoadImage's upload button) is
known from ComfyUI's front end 1.27, as its own `graph.serialize()` writes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from ...catalog.families.family import SourceFile
from ...core.version import VERSION
from ...orchestrator.backends.comfyui.workflows.node_types import (
    MODEL_FOLDERS,
    NODE_TYPES,
    VALUE_KINDS,
)
from ...orchestrator.backends.comfyui.workflows.template import is_link
from .layout import Box, Frame, arrange

COMFYUI_VERSION = "0.3.64"
"""Of the ComfyUI whose nodes node_types.py describes."""

FRAME_COLOURS = ("#3f789e", "#8A8", "#b58b2a", "#a1309b", "#8AA")
"""By the frames' order. source: LGraphCanvas.node_colors, `groupcolor`."""

POSITIVE_COLOURS = {"color": "#232", "bgcolor": "#353"}
NEGATIVE_COLOURS = {"color": "#322", "bgcolor": "#533"}
NOTE_COLOURS = {"color": "#432", "bgcolor": "#653"}

_SIZES = {
    "CLIPTextEncode": (360, 130),
    "LoadImage": (320, 380),
    "PreviewImage": (320, 320),
    "SaveImage": (400, 460),
    "KizyLoraByIntent": (400, 560),
    "KizyTrainLora": (400, 440),
    "KizyDetailer": (380, 460),
    "KizySave": (400, 460),
}
"""Of the nodes that show a text or a picture: (width, height)."""

_LEAST_WIDTH = 270
"""Of a node with widgets; as the page makes them."""

_OPTIONAL_SHAPE = 7
"""Of an input that may be left out. source: LiteGraph, RenderShape.HollowCircle."""

_OUTPUT_NAMES = {
    "ControlNetApplyAdvanced": ("positive", "negative"),
    "KizyLoraByIntent": ("model", "clip", "prompt", "explanation"),
    "KizyTrainLora": ("lora", "loss_curve", "samples"),
    "KizyDetailer": ("image", "mask", "found"),
}
"""Outputs that are not called as their kind."""

_NOTHING: dict[str, Any] = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False, "COMBO": ""}
"""What a widget shows that was given no value."""

PACK = "kizy"
"""Of nodes that begin with Kizy, in the registry."""

_PAGE_WIDGETS: dict[tuple[str, str], tuple[str, str | None, str]] = {
    ("KSampler", "seed"): ("control_after_generate", None, "randomize"),
    ("KizyDetailer", "seed"): ("control_after_generate", None, "randomize"),
    ("LoadImage", "image"): ("upload", "IMAGEUPLOAD", "image"),
    ("DualCLIPLoader", "type"): ("device", "COMBO", "default"),
}
"""(node class, input) -> the widget that follows it on the page: name, kind (None: it has no
input), value."""


@dataclass(frozen=True)
class Note:
    """A Markdown note; `group` "": beside the frames, at the left."""

    title: str
    text: str
    group: str = ""
    width: int = 380


@dataclass(frozen=True)
class _Link:
    id: int
    source: int
    output: int
    target: int
    input: int
    kind: str


@dataclass(frozen=True)
class _Input:
    name: str
    kind: str
    optional: bool
    widget: bool


def ui_workflow(
    name: str,
    graph: Mapping[str, Mapping[str, Any]],
    *,
    notes: Sequence[Note] = (),
    files: Sequence[SourceFile] = (),
) -> dict[str, Any]:
    """The workflow as plain data.

    `graph`: API format; ids are numbers, and nodes
    come behind those that they build on. `files`: where model files come from; a loader tells it
    of those that it names. Raises ValueError if nodes or groups wait for each other.
    """
    ids = {key: int(key) for key in graph}
    links = _links(graph, ids)
    first_note = max(ids.values(), default=0) + 1
    boxes = [
        *(
            Box(first_note + index, note.group, note.width, _note_height(note))
            for index, note in enumerate(notes)
        ),
        *(
            Box(
                ids[key],
                node["_meta"]["group"],
                *_size(node),
                frozenset(ids[value[0]] for value in node["inputs"].values() if is_link(value)),
            )
            for key, node in graph.items()
        ),
    ]
    layout = arrange(boxes)
    size = {box.id: [box.width, box.height] for box in boxes}
    nodes: list[dict[str, Any]] = []
    for key, node in graph.items():
        shown = _node(ids[key], node, links, _sources(node, files))
        nodes.append(shown | _role(ids[key], graph, links))
    nodes += [_note(first_note + index, note) for index, note in enumerate(notes)]
    for order, node in enumerate(nodes):
        # The page writes them in this order: pos and size behind the type.
        node |= {"pos": list(layout.places[node["id"]]), "size": size[node["id"]], "order": order}
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"kizy/workflows/{name}")),
        "revision": 0,
        "last_node_id": max((node["id"] for node in nodes), default=0),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": [
            [link.id, link.source, link.output, link.target, link.input, link.kind]
            for link in links
        ],
        "groups": [_group(number, frame) for number, frame in enumerate(layout.frames, start=1)],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _inputs(node_class: str) -> list[_Input]:
    """As the page orders them: those that take links, then widgets."""
    known = NODE_TYPES[node_class]
    found: list[_Input] = []
    for name, kind in known.inputs.items():
        found.append(_Input(name, kind, name in known.optional, kind in VALUE_KINDS))
        added = _PAGE_WIDGETS.get((node_class, name))
        if added is not None and added[1] is not None:
            found.append(_Input(added[0], added[1], optional=False, widget=True))
    return sorted(found, key=lambda one: one.widget)


def widget_values(node: Mapping[str, Any]) -> dict[str, Any]:
    """Widget -> value of an API node, in the page's order."""
    node_class = node["class_type"]
    values: dict[str, Any] = {}
    for name, kind in NODE_TYPES[node_class].inputs.items():
        if kind in VALUE_KINDS:
            value = node["inputs"].get(name, _NOTHING[kind])
            # The page keeps a value below a link; what comes through the link counts.
            values[name] = _NOTHING[kind] if is_link(value) else value
        if (node_class, name) in _PAGE_WIDGETS:
            added, _, value = _PAGE_WIDGETS[node_class, name]
            values[added] = value
    return values


def _links(graph: Mapping[str, Mapping[str, Any]], ids: Mapping[str, int]) -> list[_Link]:
    found: list[_Link] = []
    for key, node in graph.items():
        for slot, one in enumerate(_inputs(node["class_type"])):
            value = node["inputs"].get(one.name)
            if is_link(value):
                source = NODE_TYPES[graph[value[0]]["class_type"]]
                kind = source.outputs[value[1]]
                number = len(found) + 1
                found.append(_Link(number, ids[value[0]], value[1], ids[key], slot, kind))
    return found


def _node(
    number: int, node: Mapping[str, Any], links: Sequence[_Link], models: Sequence[dict[str, str]]
) -> dict[str, Any]:
    node_class = node["class_type"]
    into = {link.input: link.id for link in links if link.target == number}
    ours = node_class.startswith("Kizy")
    properties: dict[str, Any] = {
        "Node name for S&R": node_class,
        "cnr_id": PACK if ours else "comfy-core",
        "ver": VERSION if ours else COMFYUI_VERSION,
    }
    if models:
        properties["models"] = list(models)
    kinds = NODE_TYPES[node_class].outputs
    names = _OUTPUT_NAMES.get(node_class, kinds)
    return {
        "id": number,
        "type": node_class,
        "pos": [],
        "size": [],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {
                "name": one.name,
                **({"shape": _OPTIONAL_SHAPE} if one.optional else {}),
                "type": one.kind,
                **({"widget": {"name": one.name}} if one.widget else {}),
                "link": into.get(slot),
            }
            for slot, one in enumerate(_inputs(node_class))
        ],
        "outputs": [
            {
                "name": name,
                "type": kind,
                "links": [k.id for k in links if (k.source, k.output) == (number, slot)] or None,
            }
            for slot, (name, kind) in enumerate(zip(names, kinds, strict=True))
        ],
        "title": node["_meta"]["title"],
        "properties": properties,
        "widgets_values": list(widget_values(node).values()),
    }


def _role(
    number: int, graph: Mapping[str, Mapping[str, Any]], links: Sequence[_Link]
) -> dict[str, str]:
    """Prompts are green if a sampler, or what leads to it, takes them as positive, else red."""
    if graph[str(number)]["class_type"] != "CLIPTextEncode":
        return {}
    for link in links:
        if link.source == number:
            target = graph[str(link.target)]
            taken = _inputs(target["class_type"])[link.input].name
            return NEGATIVE_COLOURS if taken == "negative" else POSITIVE_COLOURS
    return {}


def _sources(node: Mapping[str, Any], files: Sequence[SourceFile]) -> list[dict[str, str]]:
    """Download addresses of the files that a loader names, as the page's own dialog reads them."""
    named = {
        (folder, node["inputs"].get(name))
        for (node_class, name), folder in MODEL_FOLDERS.items()
        if node_class == node["class_type"]
    }
    return [
        {"name": file.name, "url": download_address(file), "directory": file.folder}
        for file in files
        if file.pack is None and (file.folder, file.name) in named
    ]


def download_address(file: SourceFile) -> str:
    """Where a hosted file is downloaded from."""
    return f"https://huggingface.co/{file.repo}/resolve/main/{file.path}"


def _size(node: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height: as the page computes the least height, and wide enough for all texts."""
    node_class = node["class_type"]
    if node_class in _SIZES:
        return _SIZES[node_class]
    widgets = widget_values(node)
    taken = [one.name for one in _inputs(node_class) if not one.widget]
    given = _OUTPUT_NAMES.get(node_class, NODE_TYPES[node_class].outputs)
    rows = max(len(taken), len(given))
    height = 20 * rows + (24 * len(widgets) + 14 if widgets else 6)
    width = max(
        _LEAST_WIDTH if widgets else 0,
        8 * len(node["_meta"]["title"]) + 50,
        max(
            (7.2 * (len(name) + len(str(value))) + 80 for name, value in widgets.items()), default=0
        ),
        8 * (max(map(len, taken), default=0) + max(map(len, given), default=0)) + 50,
    )
    return 10 * ceil(width / 10), height


def _note(number: int, note: Note) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [],
        "size": [],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": note.title,
        "properties": {},
        "widgets_values": [note.text],
        **NOTE_COLOURS,
    }


def _note_height(note: Note) -> int:
    """Enough for the text as the page renders Markdown, in letters of 10 pixels."""
    letters = (note.width - 60) / 4.9
    lines = sum(ceil(len(line) / letters) if line else 0.5 for line in note.text.splitlines())
    return 10 * ceil((12.5 * lines + 50) / 10)


def _group(number: int, frame: Frame) -> dict[str, Any]:
    return {
        "id": number,
        "title": frame.title,
        "bounding": [frame.x, frame.y, frame.width, frame.height],
        "color": FRAME_COLOURS[(number - 1) % len(FRAME_COLOURS)],
        "font_size": 24,
        "flags": {},
    }
