"""Walking through graphs in ComfyUI's API format. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Graph = Mapping[str, Mapping[str, Any]]


def is_link(value: object) -> bool:
    """Whether an input's value is [node id, output index]."""
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], int)


def upstream(graph: Graph, starts: Iterable[str]) -> Iterator[str]:
    """The nodes `starts` and all that they need, nearest first, each once."""
    waiting = [node for node in starts if node in graph]
    seen = set(waiting)
    while waiting:
        node = waiting.pop(0)
        yield node
        inputs = graph[node].get("inputs")
        for value in inputs.values() if isinstance(inputs, Mapping) else ():
            if is_link(value) and str(value[0]) in graph and str(value[0]) not in seen:
                seen.add(str(value[0]))
                waiting.append(str(value[0]))


def find_upstream(graph: Graph, start: str, names: tuple[str, ...]) -> Any:
    """The values of `names` on the nearest node that has them all as plain values; else None.

    One name gives its value, several a tuple. Several names mean numbers.
    """
    for node in upstream(graph, (start,)):
        inputs = graph[node].get("inputs")
        if not isinstance(inputs, Mapping):
            continue
        values = tuple(inputs.get(name) for name in names)
        if len(names) == 1 and isinstance(values[0], str):
            return values[0]
        if len(names) > 1 and all(isinstance(value, int | float) for value in values):
            return values
    return None
