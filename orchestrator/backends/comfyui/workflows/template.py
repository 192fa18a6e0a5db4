"""The form of a workflow template: a graph, what can be set in it, and where it can be joined.

A fragment is a template that takes something (`takes`): it is spliced into another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from .....core.errors import EngineError
from .....core.request import Frozen

SCHEMA_FILE = Path(__file__).with_name("template.schema.json")

Port = Literal[
    "model", "clip", "vae", "positive", "negative", "latent", "samples", "image", "start"
]
Place = str
"""`node.input`."""

BASE_PORTS: tuple[Port, ...] = (
    "model",
    "clip",
    "vae",
    "positive",
    "negative",
    "latent",
    "samples",
    "image",
)
"""What a template that draws a picture offers; `start` comes with a start picture."""


class Meta(Frozen):
    """What people see of a node: its title, and the frame that it stands in."""

    title: str
    group: str = ""


class GraphNode(Frozen):
    """A node in ComfyUI's API format. An input is a value or a link, [node id, output index]."""

    model_config = ConfigDict(populate_by_name=True)

    class_type: str
    inputs: dict[str, Any]
    meta: Meta = Field(alias="_meta")


class Requires(Frozen):
    """`nodes`: the node classes in the graph. `models`: folders below `models/` that it reads."""

    nodes: tuple[str, ...]
    models: tuple[str, ...] = ()


class Template(Frozen):
    """A graph that the orchestrator fills in.

    `parameters`: name -> the places (`node.input`) that its value goes to. `ports`: name -> the
    output ([node id, index]) that others join at. `takes`: for a fragment, port -> the places
    that what was there before goes to. `outputs`: ids of the nodes that save finished pictures.
    `family` None: it fits all families.
    """

    id: str = Field(pattern="^[a-z0-9][a-z0-9.-]*$")
    title: str
    task: str = Field(pattern="^[a-z][a-z0-9_]*$")
    family: str | None = None
    requires: Requires
    parameters: dict[str, tuple[Place, ...]] = Field(default_factory=dict)
    takes: dict[Port, tuple[Place, ...]] = Field(default_factory=dict)
    ports: dict[Port, tuple[str, int]]
    outputs: tuple[str, ...] = ()
    graph: dict[str, GraphNode] = Field(min_length=1)

    @property
    def is_fragment(self) -> bool:
        return bool(self.takes)

    @model_validator(mode="after")
    def _hangs_together(self) -> Template:
        wrong = next(self._faults(), None)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    def _faults(self) -> Iterator[str]:
        taken = {place for places in self.takes.values() for place in places}
        for name, places in self.parameters.items():
            for place in places:
                if self._input(place) is None:
                    yield f"parameters.{name}: there is no input {place}"
                elif is_link(self._input(place)):
                    yield f"parameters.{name}: {place} is a link"
        for port, places in self.takes.items():
            for place in places:
                if place.partition(".")[0] not in self.graph:
                    yield f"takes.{port}: there is no node {place.partition('.')[0]}"
                if self._input(place) is not None:
                    yield f"takes.{port}: {place} is given already"
        for port, (node, index) in self.ports.items():
            if node not in self.graph or index < 0:
                yield f"ports.{port}: there is no output {node}, {index}"
        for node_id, node in self.graph.items():
            for name, value in node.inputs.items():
                if is_link(value) and value[0] not in self.graph:
                    yield f"graph.{node_id}.{name}: there is no node {value[0]}"
        for node in self.outputs:
            if node not in self.graph:
                yield f"outputs: there is no node {node}"
        classes = {node.class_type for node in self.graph.values()}
        if classes != set(self.requires.nodes):
            odd = ", ".join(sorted(classes ^ set(self.requires.nodes)))
            yield f"requires.nodes: {odd} stands in only one of the list and the graph"
        if not taken and not self.outputs:
            yield "outputs: no node saves what is drawn"
        if not taken and (missing := set(BASE_PORTS) - set(self.ports)):
            yield f"ports: {', '.join(sorted(missing))} is missing"

    def _input(self, place: Place) -> Any:
        node, _, name = place.partition(".")
        return self.graph[node].inputs.get(name) if node in self.graph else None


def is_link(value: Any) -> bool:
    """Whether an input's value is [node id, output index]."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def parse_template(values: Any, where: str) -> Template:
    """A template from plain data. Raises EngineError `template_invalid`, naming place and fault."""
    if isinstance(values, dict) and isinstance(values.get("nodes"), list):
        message = f"{where} is a workflow as ComfyUI's page saves it, not a template."
        raise EngineError("template_invalid", message)
    try:
        return Template.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = first["msg"].removeprefix("Value error, ")
        message = f"{where}: {place + ': ' if place else ''}{fault}."
        raise EngineError("template_invalid", message) from None


def read_template(path: Path) -> Template:
    """The template in a file. Raises EngineError `template_invalid`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError("template_invalid", f"{path.name} cannot be read: {error}.") from error
    return parse_template(values, path.name)


def template_json(template: Template) -> str:
    """The template as its file holds it."""
    values = template.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def schema_json() -> str:
    """JSON Schema (draft 2020-12) of the form, as its file holds it."""
    schema = Template.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
