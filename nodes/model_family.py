"""Which family the MODEL on a wire is of: by its tensors, as for files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..catalog.families.family import Family, load_families
from ..catalog.formats.recognize import checkpoint_by_tensors, letters, variant_named
from ..core.errors import ModelFileError

MOST_STEPS = 10_000
_LOADERS = ("ckpt_name", "unet_name", "model_name", "gguf_name")
"""Inputs of loaders that name a file."""


def family_by_shapes(shapes: Mapping[str, tuple[int, ...]]) -> Family:
    """The family of a denoiser's tensors. Raises ModelFileError `model_family_unknown`."""
    found = checkpoint_by_tensors(shapes, load_families())
    if found is None:
        known = ", ".join(family.name for family in load_families().values())
        message = f"Kizy does not know this model. It knows these families: {known}."
        raise ModelFileError("model_family_unknown", message)
    return found


def file_of_model(graph: Mapping[str, Any], node: str, wire: str) -> str | None:
    """The model file that a node's input comes from, by the graph in API form; None: not to tell.

    Goes up wires that are called `wire`, as a model passes through nodes that change it.
    """
    at = node
    for _ in range(MOST_STEPS):
        inputs = (graph.get(at) or {}).get("inputs") or {}
        named = next((inputs[key] for key in _LOADERS if isinstance(inputs.get(key), str)), None)
        if named is not None and at != node:
            return named
        link = inputs.get(wire)
        if not (isinstance(link, list) and len(link) == 2):
            return None
        at = str(link[0])
    return None


def twin_named(family: Family, file: str | None) -> Family:
    """The family with the same tensors that the file's name tells (FLUX.1 Kontext), or itself."""
    text = letters(file or "")
    for other in load_families().values():
        if other.lora.twin_of == family.id and any(part in text for part in other.comfyui.names):
            return other
    return family


def variant_in(family: Family, file: str | None) -> str | None:
    """The fine-tune (Pony, Illustrious, ...) that the file's name tells."""
    found = variant_named(file or "", family.variants)
    return found.id if found is not None else None
