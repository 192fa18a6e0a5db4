"""A card for the choice, from what a LoRA file says and what others say of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from ..card import Card, Kind
from ..families.family import load_families
from ..formats.lora_reader import Reading
from ..formats.published_facts import Facts
from ..formats.recognize import variant_named
from ..formats.safetensors_header import readable
from ..words.civitai_words import family_of_base

MAX_EXAMPLES = 5

# Civitai's categories, which its authors choose from as tags.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("character", "celebrity", "animal", "vehicle", "buildings"), "subject"),
    **dict.fromkeys(("objects", "clothing", "person"), "subject"),
    **dict.fromkeys(("style", "art style", "artstyle", "artist"), "style"),
    **dict.fromkeys(("tool", "poses", "pose", "action", "slider", "lighting"), "technique"),
    **dict.fromkeys(("enhancer", "detail", "lcm", "turbo", "speed"), "technique"),
}


def key_of(path: Path) -> str:
    """The path as text that is unique, also if a name in it is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def card_of_file(path: Path, root: Path, reading: Reading) -> Card:
    """What the file alone says."""
    own = reading.own
    return Card(
        key=key_of(path),
        name=reading.title or readable(path.stem),
        aliases=reading.aliases,
        family=reading.family,
        variant=reading.variant,
        about=reading.about,
        triggers=reading.triggers,
        tags=reading.tags,
        kind=(own.kind if own else None) or _kind(reading.tags),
        weight=own.weight if own else reading.weight,
        source="kizy" if own else "file",
        folder=_folder(path, root),
        size=reading.size,
    )


def broken_card(path: Path, root: Path, problem: str, size: int) -> Card:
    """A file that cannot be used, and why."""
    return Card(
        key=key_of(path),
        name=readable(path.stem),
        folder=_folder(path, root),
        problem=readable(problem),
        size=size,
    )


def with_facts(
    card: Card, facts: Facts | None, source: Literal["sidecar", "civitai"], refuted: frozenset[str]
) -> Card:
    """The card with what others say of the file; the family only where tensors do not object."""
    if facts is None or card.problem is not None:
        return card
    family, variant = _family(card, facts.base_model, refuted)
    tags = tuple(dict.fromkeys((*facts.tags, *card.tags)))
    changed: dict[str, Any] = {
        "family": family,
        "variant": variant,
        "name": facts.title or card.name,
        "aliases": _aliases(card, facts.title),
        "kind": _kind(facts.tags) or card.kind,
        "about": facts.about or card.about,
        "triggers": facts.triggers or card.triggers,
        "tags": tags,
        "examples": facts.examples[:MAX_EXAMPLES] or card.examples,
        "weight": card.weight if facts.weight is None else facts.weight,
        "weight_range": facts.weight_range or card.weight_range,
        "mature": card.mature or facts.mature,
        "source": source,
    }
    return card.model_copy(update=changed)


def _aliases(card: Card, title: str) -> tuple[str, ...]:
    """What it was called before it got a title."""
    if not title or title == card.name:
        return card.aliases
    return tuple(dict.fromkeys((*card.aliases, card.name)))


def _family(
    card: Card, base_model: str | None, refuted: frozenset[str]
) -> tuple[str | None, str | None]:
    """Family and variant, if Civitai's word for the base model adds something to the tensors."""
    said, said_variant = family_of_base(base_model)
    families = load_families()
    known = families.get(said or "")
    if known is None:
        family = families.get(card.family or "")
        variant = variant_named(base_model or "", family.variants) if family else None
        return card.family, card.variant or (variant.id if variant else None)
    twin = known.lora.twin_of is not None and known.lora.twin_of == card.family
    if twin or (card.family is None and known.id not in refuted):
        return known.id, said_variant
    if known.id == card.family:
        return card.family, said_variant or card.variant
    return card.family, card.variant


def _kind(tags: tuple[str, ...]) -> Kind | None:
    return next((_KINDS[tag] for tag in tags if tag in _KINDS), None)


def _folder(path: Path, root: Path) -> str:
    try:
        folder = path.parent.relative_to(root).as_posix()
    except ValueError:
        return ""
    return "" if folder == "." else readable(folder)
