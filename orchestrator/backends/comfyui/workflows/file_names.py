"""File names as a server lists them, found from names with or without folder and extension."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .....catalog.index.name_lookup import (
    Listed,
    Names,
    ambiguous,
    slashes,
    stem,
    without_copies,
    without_extension,
)
from .server_facts import ServerFacts

__all__ = ["enlarger_name", "find_name", "first_of", "stem", "words"]

ENLARGER = "starter-enlarger-x4"
"""What Plans call Kizy's own enlarging model."""

ENLARGER_FILE = "kizy-enlarger-x4.safetensors"
"""The name under which the node pack lists it in `upscale_models`."""


def find_name(name: str, listed: Iterable[str]) -> str | None:
    """The listed file that `name` means by the rule of `name_lookup`, None if there is none.

    Raises InputError `name_ambiguous` if several fit.
    """
    known = tuple(dict.fromkeys(listed))
    if name in known:
        return name
    found = without_copies(Names(Listed(key=file, file=file) for file in known).find(name))
    if len(found) > 1:
        raise ambiguous(name, "file", (one.file for one in found))
    return found[0].file if found else None


def first_of(names: Iterable[str], listed: Iterable[str]) -> str | None:
    """The first of `names` that is listed in any folder; of several copies the first one."""
    known = sorted(set(listed))
    for name in names:
        wanted = _path(name)
        for file in known:
            if _path(file).rpartition("/")[2] == wanted:
                return file
    return None


def enlarger_name(server: ServerFacts, name: str = ENLARGER) -> str | None:
    """What the server calls the enlarging model of a Plan, None if it has none of that name."""
    wanted = ENLARGER_FILE if name == ENLARGER else name
    return find_name(wanted, server.choices("UpscaleModelLoader", "model_name"))


def words(name: str) -> tuple[str, ...]:
    """The words of a file's name and folders, in lower case: "SDXL/canny_full" has three."""
    return tuple(word for word in re.split(r"[^a-z0-9]+", _path(name)) if word)


def _path(name: str) -> str:
    return without_extension(slashes(name)).casefold()
