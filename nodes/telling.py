"""Errors as the page shows them: what happened and what to do, without a Python type in front."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..core.errors import KizyError


class KizyNodeError(Exception):
    """What the page shows: the message, what to do, and the code to look for in docs/errors.md."""


# The page shows the kind of an error with its module, which here is a path of ComfyUI's.
KizyNodeError.__module__ = "kizy"


def in_plain_words(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Turn Kizy's errors into the text that a person sees on the node."""

    @wraps(execute)
    def run(*args: Any, **inputs: Any) -> Any:
        try:
            return execute(*args, **inputs)
        except KizyError as error:
            raise KizyNodeError(f"{error.message}\n{error.fix}\n({error.code})") from error

    return run
