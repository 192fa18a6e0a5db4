"""Arguments as language models write them: null for what they leave out, lists as text. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from ....core.numbers import read_number

_BETWEEN_PICTURES = re.compile(
    r"[,\n]\s*(?=data:|file:|kizy://|https?://|[~/]|[A-Za-z]:[\\/]|[0-9a-fA-F]{64}\b)"
)
"""A comma before what a picture begins with: base64 and names of files hold commas, too."""

_NOTHING = ("null", "None", "undefined")
"""What is left out, written as a text."""


def as_meant(kind: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """The values in the forms that `kind` takes; what is in no known form stays as it is.

    What is null, or an empty text where one means nothing, counts as left out. A list may be JSON
    text, texts with commas, or its only entry.
    """
    found = {name: value for name, value in values.items() if value is not None}
    for name, value in list(found.items()):
        field = kind.model_fields.get(name)
        if field is None:
            continue
        item = _item_of(field.annotation)
        empty = value == "" and not _takes_empty(field.annotation, field)
        if not field.is_required() and (empty or value in _NOTHING):
            del found[name]
        elif item is not None:
            entries = _entries(name, value)
            found[name] = [_entry(item, one) for one in entries]
    return found


def _item_of(annotation: Any) -> Any:
    """Of what a list is, for the type of a list; else None."""
    if get_origin(annotation) is not tuple:
        return None
    item = get_args(annotation)[0]
    return get_args(item)[0] if hasattr(item, "__metadata__") else item


def _takes_empty(annotation: Any, field: Any) -> bool:
    """Whether it is a text that may be empty."""
    kinds = [annotation, *get_args(annotation)]
    if not any(one is str or getattr(one, "__origin__", None) is str for one in kinds):
        return False
    rules = [*field.metadata, *(m for one in kinds for m in getattr(one, "__metadata__", ()))]
    inner = [*rules, *(m for rule in rules for m in getattr(rule, "metadata", ()))]
    return not any(getattr(rule, "min_length", None) for rule in inner)


def _entries(name: str, value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [one for one in value if one is not None]
    if not isinstance(value, str):
        return [value]
    text = value.strip()
    if text.startswith(("[", "{")):
        try:
            return _entries(name, json.loads(text))
        except (ValueError, RecursionError):
            return [value]
    if name == "pictures":
        return [part.strip() for part in _BETWEEN_PICTURES.split(text) if part.strip()]
    parts = [part.strip() for part in (text.split("\n") if "\n" in text else text.split(","))]
    # Of words for faces an empty one means something.
    return parts if name == "parts" else [part for part in parts if part]


def _entry(item: Any, value: Any) -> Any:
    """One entry of a list: of models also as JSON text, and a LoRA as "name" or "name:weight"."""
    if not (isinstance(item, type) and issubclass(item, BaseModel)):
        return value
    if isinstance(value, dict):
        return as_meant(item, value)
    if not isinstance(value, str) or "name" not in item.model_fields:
        return value
    name, _, weight = value.rpartition(":")
    try:
        return {"name": name.strip(), "weight": read_number(weight)} if name else {"name": value}
    except ValueError:
        return {"name": value.strip()}
