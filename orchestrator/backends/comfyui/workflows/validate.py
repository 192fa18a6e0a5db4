"""Does a graph fit a server? The same questions that ComfyUI asks before it runs one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .node_types import VALUE_KINDS
from .server_facts import ServerFacts
from .template import is_link

Graph = Mapping[str, Mapping[str, Any]]


def problems(graph: Graph, server: ServerFacts) -> list[str]:
    """What is wrong with an API-format graph there, one sentence each; [] if nothing is.

    Checked: node classes, needed and unknown inputs, kinds of links, kinds, ranges and choices of
    values, that no links go in a circle, and that some node gives a result. Pictures to load are
    not: they may come later.
    """
    found: list[str] = []
    for node_id, node in graph.items():
        where = f"{node_id} ({node['class_type']})"
        if not server.has(node["class_type"]):
            found.append(f"{where}: the server has no such node")
            continue
        found.extend(f"{where}: {problem}" for problem in _inputs(node, graph, server))
    if circle := _circle(graph):
        found.append(f"the links go in a circle through {' and '.join(circle)}")
    known = (server.object_info.get(node["class_type"], {}) for node in graph.values())
    if not any(entry.get("output_node") for entry in known):
        found.append("no node gives a result")
    return found


def _inputs(node: Mapping[str, Any], graph: Graph, server: ServerFacts) -> Iterator[str]:
    node_class, given = node["class_type"], node["inputs"]
    for name in server.object_info[node_class]["input"].get("required", {}):
        if name not in given:
            yield f"{name} is missing"
    for name, value in given.items():
        spec = server.input(node_class, name)
        if spec is None:
            yield f"there is no input {name}"
        elif is_link(value):
            yield from _link(name, value, spec[0], graph, server)
        else:
            choices = server.choices(node_class, name)
            yield from _value(name, value, *spec, choices)


def _link(name: str, value: Any, kind: Any, graph: Graph, server: ServerFacts) -> Iterator[str]:
    source, index = value
    if source not in graph:
        yield f"{name} comes from node {source}, which is not there"
        return
    given = server.object_info.get(graph[source]["class_type"], {}).get("output", [])
    if not 0 <= index < len(given):
        yield f"{name} comes from output {index} of node {source}, which is not there"
        return
    wanted = "COMBO" if isinstance(kind, list) else kind
    came = "COMBO" if isinstance(given[index], list) else given[index]
    if "*" not in (wanted, came) and not set(came.split(",")) <= set(wanted.split(",")):
        yield f"{name} wants {wanted}, but gets {came}"


def _circle(graph: Graph) -> list[str]:
    """The nodes that wait for each other; [] if every node can run."""
    waiting = {
        node_id: {v[0] for v in node["inputs"].values() if is_link(v) and v[0] in graph}
        for node_id, node in graph.items()
    }
    while ready := [node_id for node_id, sources in waiting.items() if not sources & set(waiting)]:
        for node_id in ready:
            del waiting[node_id]
    users = {source for sources in waiting.values() for source in sources}
    # Nodes behind the circle wait as well, but nothing in it waits for them.
    while behind := [node_id for node_id in waiting if node_id not in users]:
        for node_id in behind:
            del waiting[node_id]
        users = {source for sources in waiting.values() for source in sources}
    return list(waiting)


def _value(
    name: str, value: Any, kind: Any, options: Mapping[str, Any], choices: tuple[str, ...]
) -> Iterator[str]:
    kind = "COMBO" if isinstance(kind, list) else kind
    wanted = VALUE_KINDS.get(kind)
    if wanted is None:
        yield f"{name} wants a link of kind {kind}"
    elif not isinstance(value, wanted) or (isinstance(value, bool) and kind != "BOOLEAN"):
        yield f"{name} wants {kind}, but is {value!r}"
    elif kind == "COMBO":
        if value not in choices and not options.get("image_upload"):
            yield f'{name} is "{value}", which is not in the list'
    elif "min" in options and value < options["min"]:
        yield f"{name} is {value}, below {options['min']}"
    elif "max" in options and value > options["max"]:
        yield f"{name} is {value}, above {options['max']}"
