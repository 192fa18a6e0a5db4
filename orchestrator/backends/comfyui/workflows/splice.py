"""Filling templates in, joining fragments to them, and dropping what nothing uses any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .....core.errors import EngineError
from .template import Template, is_link


@dataclass
class Assembly:
    """A graph in the making: API format, with its ports (name -> [node id, output index])."""

    graph: dict[str, dict[str, Any]]
    ports: dict[str, list[Any]]
    outputs: tuple[str, ...]

    @classmethod
    def begin(cls, template: Template, values: Mapping[str, Any]) -> Assembly:
        """The template with its parameters set. Raises EngineError `template_invalid`."""
        graph = _filled(template, values)
        ports = {str(name): list(output) for name, output in template.ports.items()}
        return cls(graph, ports, template.outputs)

    def splice(self, fragment: Template, values: Mapping[str, Any]) -> None:
        """Join a fragment: it takes the ports as they are, and its outputs take their place.

        Every link that went to a port's old output goes to the fragment's afterwards, except the
        fragment's own and those of nodes that it builds on. Raises EngineError `template_invalid`
        for a port that is not there.
        """
        added = _renumbered(_filled(fragment, values), self._next_id())
        names = dict(zip(fragment.graph, added, strict=True))
        for port, places in fragment.takes.items():
            if port not in self.ports:
                message = f"{fragment.id} takes the port {port}, which is not there."
                raise EngineError("template_invalid", message)
            for place in places:
                node, _, name = place.partition(".")
                added[names[node]]["inputs"][name] = list(self.ports[port])
        taken = {node["_meta"]["title"] for node in self.graph.values()}
        for node in added.values():
            node["_meta"]["title"] = _unused(node["_meta"]["title"], taken)
        self.graph.update(added)
        for port, (node, index) in fragment.ports.items():
            fresh = [names[node], index]
            if port in self.ports:
                self._redirect(self.ports[port], fresh, set(added))
            self.ports[port] = fresh

    def hand_through(self, port: str, source: str) -> None:
        """Whatever went on from a port goes on from another one instead."""
        fresh = list(self.ports[source])
        self._redirect(self.ports[port], fresh, set())
        self.ports[port] = fresh

    def pruned(self) -> dict[str, dict[str, Any]]:
        """The nodes that the outputs need, in their order."""
        needed = self._needed_by(self.outputs)
        return {key: node for key, node in self.graph.items() if key in needed}

    def _needed_by(self, nodes: Iterable[str]) -> set[str]:
        """These nodes, and all that they get something from."""
        needed: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                inputs = self.graph[node]["inputs"].values()
                waiting.extend(value[0] for value in inputs if is_link(value))
        return needed

    def _redirect(self, old: list[Any], fresh: list[Any], own: set[str]) -> None:
        # A node that `fresh` builds on stays as it is: the links would go in a circle.
        stay = self._needed_by([fresh[0]]) | own
        for key, node in self.graph.items():
            for name, value in node["inputs"].items():
                if key not in stay and is_link(value) and list(value) == old:
                    node["inputs"][name] = list(fresh)

    def _next_id(self) -> int:
        return max((int(key) for key in self.graph if key.isdigit()), default=0) + 1


def _filled(template: Template, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    graph = {
        key: {
            "class_type": node.class_type,
            "inputs": dict(node.inputs),
            "_meta": {"title": node.meta.title, "group": node.meta.group},
        }
        for key, node in template.graph.items()
    }
    for name, value in values.items():
        if name not in template.parameters:
            message = f"{template.id} has no parameter {name}."
            raise EngineError("template_invalid", message)
        for place in template.parameters[name]:
            node, _, given = place.partition(".")
            graph[node]["inputs"][given] = value
    return graph


def _renumbered(graph: dict[str, dict[str, Any]], first: int) -> dict[str, dict[str, Any]]:
    names = {key: str(first + index) for index, key in enumerate(graph)}
    for node in graph.values():
        for name, value in node["inputs"].items():
            if is_link(value):
                node["inputs"][name] = [names[value[0]], value[1]]
    return {names[key]: node for key, node in graph.items()}


def _unused(title: str, taken: set[str]) -> str:
    number = 2
    fresh = title
    while fresh in taken:
        fresh = f"{title} {number}"
        number += 1
    return fresh
