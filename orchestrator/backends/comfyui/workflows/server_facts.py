"""What a ComfyUI server says it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ServerFacts:
    """A server's /object_info, as data. `address` is for messages.

    `object_info`: class name -> its entry: `input` (`required`, `optional`, `hidden`), `output`
    (kinds), `output_node`.
    """

    address: str
    version: str
    object_info: Mapping[str, Any] = field(repr=False)

    def has(self, node_class: str) -> bool:
        """Whether the server knows a node class of that name."""
        return node_class in self.object_info

    def input(self, node_class: str, input_name: str) -> tuple[Any, Mapping[str, Any]] | None:
        """(kind, its options) of an input, required or optional; None if it is not there.

        The kind is a word such as "INT" or "MODEL", or the list of an old-style combo.
        """
        inputs = self.object_info.get(node_class, {}).get("input", {})
        for part in ("required", "optional"):
            spec = (inputs.get(part) or {}).get(input_name)
            if spec:
                options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
                return spec[0], options
        return None

    def choices(self, node_class: str, input_name: str) -> tuple[str, ...]:
        """What a combo offers, in the server's order; () if it is none or not there."""
        found = self.input(node_class, input_name)
        if found is None:
            return ()
        kind, options = found
        # V1 nodes give the list in place of the kind, V3 nodes as the option `options`.
        listed = kind if isinstance(kind, list) else options.get("options", ())
        if kind != "COMBO" and not isinstance(kind, list):
            return ()
        return tuple(str(choice) for choice in listed)

    def has_input(self, node_class: str, input_name: str) -> bool:
        """Whether a node class takes that input."""
        return self.input(node_class, input_name) is not None
