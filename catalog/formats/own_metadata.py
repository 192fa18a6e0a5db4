"""What Kizy's trainer notes in a LoRA file under the key `kizy`: what it is for, how strong.

Anyone can write such a file: what makes no sense counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from ..card import Kind

KEY = "kizy"
MAX_LENGTH = 1_000_000
"""Characters that are looked at; the trainer writes a few thousand."""


@dataclass(frozen=True)
class Own:
    """`weight`: the strength that is recommended, above 0 and at most 2."""

    kind: Kind | None
    weight: float | None


def own_metadata(metadata: Mapping[str, str]) -> Own | None:
    """What stands there; None if the file is not from Kizy's trainer."""
    text = metadata.get(KEY, "")
    if not 0 < len(text) <= MAX_LENGTH:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("version") != 1:
        return None
    return Own(_kind(values.get("kind")), _weight(values.get("weight")))


def _kind(value: Any) -> Kind | None:
    return next((kind for kind in get_args(Kind) if kind == value), None)


def _weight(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value <= 2 else None
