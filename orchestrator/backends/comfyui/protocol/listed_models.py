"""The models that a server lists, and which family each is of: its name is all that is told."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .....catalog.families.family import load_families
from .....catalog.formats.recognize import variant_named
from .....catalog.index.models import ModelEntry
from ..workflows.file_names import stem
from ..workflows.server_facts import ServerFacts

LOADERS = (("CheckpointLoaderSimple", "ckpt_name"), ("UNETLoader", "unet_name"))
"""Node classes that load a denoiser, and the input that names its file."""


def listed_models(facts: ServerFacts) -> list[ModelEntry]:
    """Every model file of a server, by name, with the family that its name speaks of."""
    return [entry(name, family_of(name)) for name in sorted(set(model_names(facts)))]


def model_names(facts: ServerFacts) -> Iterable[str]:
    """The files that a server's loaders list, as they list them."""
    for node_class, name in LOADERS:
        yield from facts.choices(node_class, name)


def entry(name: str, family: str | None) -> ModelEntry:
    """A model that lies on a server."""
    variants = load_families()[family].variants if family else ()
    variant = variant_named(stem(name), variants)
    return ModelEntry(
        name=name,
        family=family,
        variant=variant.id if variant is not None else None,
        path=None,
        kind="server",
        size=0,
        drawable_here=False,
    )


def family_of(file: str) -> str | None:
    """The family that a file's name speaks of; the longest part that fits decides."""
    text = re.sub(r"[^a-z0-9]", "", stem(file).casefold())
    found = [
        (len(part), known.id)
        for known in load_families().values()
        for part in known.comfyui.names
        if part in text
    ]
    return max(found)[1] if found else None
