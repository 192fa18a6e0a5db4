"""Builds ComfyUI graphs; a wrong kind of input fails when the graph is built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .node_types import NODE_TYPES, VALUE_KINDS

PORT_KINDS: dict[str, str] = {
    "model": "MODEL",
    "clip": "CLIP",
    "vae": "VAE",
    "positive": "CONDITIONING",
    "negative": "CONDITIONING",
    "latent": "LATENT",
    "samples": "LATENT",
    "image": "IMAGE",
    "start": "IMAGE",
}
"""Where fragments are spliced in. `latent`: what sampling begins with; `samples`: what it ends
with; `image`: the picture as it is so far; `start`: the start picture, opaque, at its own size."""


@dataclass(frozen=True)
class Output:
    """Output `index` of a node; `port` instead of a node: what a fragment takes there."""

    node: str
    index: int
    kind: str
    port: str | None = None


@dataclass(frozen=True)
class Node:
    """A node of a graph. `inputs` holds values and Outputs, `group` the name of its frame."""

    id: str
    class_type: str
    title: str
    group: str
    inputs: dict[str, Any]

    def __getitem__(self, index: int) -> Output:
        return Output(self.id, index, NODE_TYPES[self.class_type].outputs[index])

    def place(self, name: str) -> str:
        """`id.input`, as a template's parameters name it. Raises ValueError."""
        if name not in NODE_TYPES[self.class_type].inputs:
            raise ValueError(f"{self.class_type} has no input {name}")
        return f"{self.id}.{name}"


@dataclass
class Graph:
    """Nodes in the order in which they were added, numbered from 1."""

    nodes: list[Node] = field(default_factory=list)
    _group: str = ""

    @contextmanager
    def group(self, name: str) -> Iterator[None]:
        """Nodes that are added inside belong to the group of that name."""
        before, self._group = self._group, name
        try:
            yield
        finally:
            self._group = before

    def add(self, class_type: str, title: str, **inputs: Any) -> Node:
        """A new node. `inputs`: values or Outputs.

        Raises ValueError for an unknown class or input or one that is missing, TypeError for a
        value or link of a wrong kind.
        """
        known = NODE_TYPES.get(class_type)
        if known is None:
            raise ValueError(f"{class_type} is not in node_types.py")
        if extra := inputs.keys() - known.inputs.keys():
            raise ValueError(f"{class_type} has no input {min(extra)}")
        for name, kind in known.inputs.items():
            if name in inputs:
                _check(class_type, name, kind, inputs[name])
            elif name not in known.optional:
                raise ValueError(f"{class_type} needs {name}")
        ordered = {name: inputs[name] for name in known.inputs if name in inputs}
        node = Node(str(len(self.nodes) + 1), class_type, title, self._group, ordered)
        self.nodes.append(node)
        return node

    def take(self, port: str) -> Output:
        """What a fragment takes from the template that it is spliced into."""
        return Output("", 0, PORT_KINDS[port], port)

    def takes(self) -> dict[str, tuple[str, ...]]:
        """Port -> the places (`id.input`) that take it."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            for name, value in node.inputs.items():
                if isinstance(value, Output) and value.port is not None:
                    found.setdefault(value.port, []).append(f"{node.id}.{name}")
        return {port: tuple(found[port]) for port in PORT_KINDS if port in found}

    def to_api(self) -> dict[str, dict[str, Any]]:
        """The API format. `_meta` holds the title and, for the layout, the group."""
        return {
            node.id: {
                "class_type": node.class_type,
                "inputs": {
                    name: [value.node, value.index] if isinstance(value, Output) else value
                    for name, value in node.inputs.items()
                    if not (isinstance(value, Output) and value.port is not None)
                },
                "_meta": {"title": node.title, "group": node.group},
            }
            for node in self.nodes
        }


def _check(class_type: str, name: str, kind: str, value: Any) -> None:
    if isinstance(value, Output):
        if value.kind != kind:
            raise TypeError(f"{class_type}.{name} wants {kind}, not {value.kind}")
        return
    wanted = VALUE_KINDS.get(kind)
    if wanted is None:
        raise TypeError(f"{class_type}.{name} wants a link of kind {kind}, not {value!r}")
    # bool is an int to Python, not to ComfyUI.
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise TypeError(f"{class_type}.{name} wants {kind}, not {value!r}")
