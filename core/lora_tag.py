"""A LoRA's name inside `<lora:NAME:WEIGHT>`."""

from __future__ import annotations

import re

_NOT_IN_TAGS = re.compile("[<>:]")


def in_tag(name: str) -> str:
    """The name as a tag can hold it: these letters would end it, and are written as `_`.

    A LoRA is found by this, too.
    """
    return _NOT_IN_TAGS.sub("_", name)
