"""LoRAs that a person writes down: `<lora:NAME:WEIGHT>` in a prompt, or a list, one a line."""

from __future__ import annotations

import re

from .select import Named

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
_TAG = re.compile(
    rf"<lora:(?P<name>[^<>:]+)(?::(?P<model>{_NUMBER}))?(?::(?P<clip>{_NUMBER}))?[^<>]*>"
)
"""As A1111 and ComfyUI's packs write a LoRA into a prompt."""
_LINE = re.compile(rf"(?P<name>.+?)(?::(?P<model>{_NUMBER}))?(?::(?P<clip>{_NUMBER}))?")
MOST = 10.0
"""A weight is held within -10 and 10."""


def lora_tags(prompt: str) -> tuple[str, tuple[Named, ...]]:
    """The prompt without its LoRA tags, and what they name."""
    tags = tuple(_as_named(tag) for tag in _TAG.finditer(prompt))
    if not tags:
        return prompt, ()
    text = re.sub(r"\s*,(?:\s*,)+", ",", _TAG.sub("", prompt))
    return " ".join(text.split()).strip(" ,"), tags


def lora_lines(text: str) -> tuple[Named, ...]:
    """LoRAs written one a line: `NAME`, `NAME:WEIGHT`, `NAME:WEIGHT:TEXT WEIGHT`, or as tags.

    Lines that are empty or begin with `#` name none.
    """
    found: list[Named] = []
    for line in map(str.strip, text.splitlines()):
        rest, tags = lora_tags(line)
        found += tags
        match = _LINE.fullmatch(rest) if rest and not rest.startswith("#") else None
        if match is not None:
            found.append(_as_named(match))
    return tuple(found)


def _as_named(match: re.Match[str]) -> Named:
    return Named(match["name"].strip() or "?", _weight(match["model"]), _weight(match["clip"]))


def _weight(text: str | None) -> float | None:
    return None if text is None else max(-MOST, min(MOST, float(text)))
