"""Halves of characters: what JSON and file names can hold, and UTF-8, databases and JSON parsers
cannot. Each becomes U+FFFD, as a text decoder's "replace" does. Pure.

A character above U+FFFF is two escapes in JSON (RFC 8259, section 7); a client that cuts a text
there leaves one of them.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # both halves of one
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"  # one alone
    rb"|\\."  # any other escape, such as a backslash before the letter u
)
_UNKNOWN = rb"\ufffd"
_ALONE = 6


def whole_json(text: bytes) -> bytes:
    """JSON text without escapes of halves; of the same length."""
    if _HALF.search(text) is None:
        return text
    return _ESCAPES.sub(_whole_escape, text)


def _whole_escape(found: re.Match[bytes]) -> bytes:
    return _UNKNOWN if len(found[0]) == _ALONE else found[0]


def whole_text(text: str) -> str:
    """The text; halves that belong together become one character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def whole(value: Any) -> Any:
    """The same value with whole texts: dictionaries, lists, tuples and models are gone through."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        made = [whole(item) for item in value]
        return made if isinstance(value, list) else tuple(made)
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        made = {name: whole(item) for name, item in fields.items()}
        changed = {name: item for name, item in made.items() if item != fields[name]}
        return value.model_copy(update=changed) if changed else value
    return value
