"""`comfy_api.latest.io`: as much of it as Kizy's nodes describe themselves with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar


class Input:
    """What a node takes; `extra_dict` goes to the page as it is."""

    def __init__(self, id: str, *, optional: bool = False, **about: Any) -> None:  # noqa: A002
        self.id, self.optional, self.about = id, optional, about
        self.extra_dict: dict[str, Any] = {}


class Output:
    """What a node gives."""

    def __init__(self, *, display_name: str | None = None, tooltip: str | None = None) -> None:
        self.display_name, self.tooltip = display_name, tooltip


class _Kind:
    Input = Input
    Output = Output


Boolean = Clip = Combo = Conditioning = Float = Image = Int = Mask = Model = String = Vae = _Kind


class Hidden(StrEnum):
    """What a node is told besides its inputs."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


@dataclass
class Schema:
    """What a node is."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False


class NodeOutput:
    """What a node's run gives."""

    def __init__(self, *args: Any, ui: dict[str, Any] | None = None) -> None:
        self.args, self.ui = args, ui


class ComfyNode:
    """Base of all nodes of the V3 schema."""

    hidden: ClassVar[Any]
    """By the names of `Hidden`, while the node runs."""

    @classmethod
    def define_schema(cls) -> Schema:
        """Each node's own."""
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        """As ComfyUI asks for it when it loads a pack."""
        return cls.define_schema()
