"""Walking through graphs in ComfyUI's API format. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

Graph = Mapping[str, Mapping[str, Any]]

OWN_INPUT = "kizy_job"
"""An input that no node has. ComfyUI passes over it when it runs a node, but its cache counts it
(comfy_execution/caching.py, get_immediate_node_signature: all inputs of the graph)."""

_GRAPH_IN_PNG = b"tEXtprompt\0"
"""How the chunk begins in which ComfyUI leaves the graph (nodes.py, SaveImage)."""


def saving_anew(graph: Graph, outputs: Collection[str], token: str) -> dict[str, dict[str, Any]]:
    """The graph, whose output nodes run once for each `token`; all before them may be cached.

    Otherwise the cache would answer with names of files that an earlier run made: they may be gone
    since, and after a folder was emptied its numbers are given to other pictures.
    """
    made = {node: dict(entry) for node, entry in graph.items()}
    for node in outputs:
        made[node]["inputs"] = {**made[node].get("inputs", {}), OWN_INPUT: token}
    return made


def is_of_another(data: bytes, token: str) -> bool:
    """Whether a PNG says that it was made by a graph without this token of `saving_anew`.

    False for whatever does not say which graph made it.
    """
    begin = data.find(_GRAPH_IN_PNG)
    return begin >= 0 and data.find(token.encode(), begin) < 0


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
