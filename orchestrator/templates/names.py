"""File names as a server lists them, found from names with or without folder and extension."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...core.errors import InputError
from .server import ServerFacts

ENLARGER = "starter-enlarger-x4"
"""What Plans call Kizy's own enlarging model."""

ENLARGER_FILE = "kizy-enlarger-x4.safetensors"
"""The name under which the node pack lists it in `upscale_models`."""

_EXTENSION = re.compile(r"\.(safetensors|sft|ckpt|pth|pt|bin|gguf)$", re.IGNORECASE)


def find_name(name: str, listed: Iterable[str]) -> str | None:
    """The listed file that `name` means, None if there is none.

    In this order: the very name; with either slash, without extension, in any case; then by the
    file's own name, whatever its folder. Raises InputError `request_invalid` if several fit.
    """
    known = list(dict.fromkeys(listed))
    if name in known:
        return name
    wanted = _path(name)
    same = [file for file in known if _path(file) == wanted]
    if not same and "/" not in wanted:
        same = [file for file in known if _path(file).rpartition("/")[2] == wanted]
    if len({_slashes(file) for file in same}) > 1:
        message = f'"{name}" could be any of these: {", ".join(sorted(same))}.'
        fix = "Name it with its folder and extension, as it stands in the message."
        raise InputError("request_invalid", message, fix=fix)
    return same[0] if same else None


def first_of(names: Iterable[str], listed: Iterable[str]) -> str | None:
    """The first of `names` that is listed in any folder; of several copies the first one."""
    known = sorted(set(listed))
    for name in names:
        wanted = _path(name)
        for file in known:
            if _path(file).rpartition("/")[2] == wanted:
                return file
    return None


def stem(name: str) -> str:
    """The file's own name: without folder and extension."""
    return _EXTENSION.sub("", _slashes(name).rpartition("/")[2])


def enlarger_name(server: ServerFacts, name: str = ENLARGER) -> str | None:
    """What the server calls the enlarging model of a Plan, None if it has none of that name."""
    wanted = ENLARGER_FILE if name == ENLARGER else name
    return find_name(wanted, server.choices("UpscaleModelLoader", "model_name"))


def words(name: str) -> tuple[str, ...]:
    """The words of a file's name and folders, in lower case: "SDXL/canny_full" has three."""
    return tuple(word for word in re.split(r"[^a-z0-9]+", _path(name)) if word)


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _path(name: str) -> str:
    return _EXTENSION.sub("", _slashes(name)).casefold()
