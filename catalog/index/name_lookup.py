"""Which file a name means: one rule for LoRAs and models, on this machine and on servers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...core.errors import InputError
from ...core.lora_tag import in_tag

RESERVED = frozenset({"auto", "none", "starter"})
"""Words of a request that name no file."""

_EXTENSION = re.compile(r"\.(safetensors|sft|ckpt|pth|pt|bin|gguf)$", re.IGNORECASE)
_PATH = re.compile(
    r"[/\\]|~[^/\\]*[/\\]|~$|\.{1,2}$|\.[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|file:[/\\\\]", re.IGNORECASE)
_WEIGHT_END = re.compile(r":\s*-?[\d.]+$")
_MOST_NAMED = 8


@dataclass(frozen=True)
class Listed:
    """A file that can be named. `key`: what whoever lists it knows it by.

    `file`: its path below the folder that is listed, with either slash. `places`: other such paths
    of the same file, as servers list it. `titles`: what its author calls it, and its aliases.
    `size` in bytes: of one path and size, two files count as copies of one.
    """

    key: str
    file: str
    titles: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    size: int = 0


class Names:
    """Files by name. Immutable: may be used from any thread."""

    def __init__(self, listed: Iterable[Listed]) -> None:
        self.listed: Sequence[Listed] = tuple(listed)
        self._by_stem: dict[str, list[Listed]] = {}
        self._by_title: dict[str, list[Listed]] = {}
        for one in self.listed:
            for key in {_loose(stem(file)) for file in _files(one)}:
                self._by_stem.setdefault(key, []).append(one)
            for key in {_loose(title) for title in one.titles}:
                self._by_title.setdefault(key, []).append(one)

    def find(self, name: str) -> tuple[Listed, ...]:
        """The files that a name means: of the first of these that fits any.

        Its path below the listed folder; the file's name; the path without extension; the file's
        name without extension; a title or alias. Either slash will do. Within each, the very
        letters go before others: upper and lower case, composed or not, blanks around. Copies of
        one file are several.
        """
        stems = {_loose(stem(name)), _loose(slashes(name).rpartition("/")[2])}
        near = dict.fromkeys(one for key in stems for one in self._by_stem.get(key, ()))
        for form, alone in _LEVELS:
            if alone and "/" in slashes(name):
                continue
            found = _best(form(name), ((one, [form(file) for file in _files(one)]) for one in near))
            if found:
                return found
        near = dict.fromkeys(self._by_title.get(_loose(name), ()))
        return _best(name, ((one, one.titles) for one in near))

    def the(self, name: str, what: str) -> Listed | None:
        """The one file of that name; None if there is none. `what`: such as "LoRA".

        Raises InputError `name_ambiguous`.
        """
        found = without_copies(self.find(name))
        if len(found) > 1:
            raise ambiguous(name, what, (self.name_of(one) for one in found))
        return found[0] if found else None

    def name_of(self, one: Listed, *more: str) -> str:
        """The shortest name that means this file and no other. `more`: names to be tried first."""
        file = slashes(one.file)
        for name in (*more, stem(file), without_extension(file), file):
            plain = name.strip() == name and name.casefold() not in RESERVED
            if plain and not is_path(name) and not _WEIGHT_END.search(name):
                found = self.find(name)
                if one in found and len(without_copies(found)) == 1:
                    return name
        return file


def short_name(file: str, listed: Iterable[str]) -> str:
    """The shortest name that means one of several listed files alone."""
    known = {name: Listed(key=name, file=name) for name in (*listed, file)}
    return Names(known.values()).name_of(known[file])


def without_copies(found: Iterable[Listed]) -> tuple[Listed, ...]:
    """Of files at the same place and of the same size, the first alone."""
    first: dict[tuple[str, int], Listed] = {}
    for one in found:
        first.setdefault((slashes(one.file), one.size), one)
    return tuple(first.values())


def is_path(name: str) -> bool:
    """Whether a name is a path or an address by its form: no file that is listed is called so.

    Absolute ones of any system, those that begin with `~/` or `./`, and those that hold `..`.
    """
    return _PATH.match(name) is not None or _ADDRESS.match(name) is not None or "\0" in name


def ambiguous(name: str, what: str, names: Iterable[str]) -> InputError:
    """The error for a name that several files answer to: it names them."""
    known = sorted(set(names))
    more = f" and {len(known) - _MOST_NAMED} others" if len(known) > _MOST_NAMED else ""
    shown = ", ".join(known[:_MOST_NAMED])
    message = f'"{name}" could be any of these {what}s: {shown}{more}.'
    return InputError("name_ambiguous", message)


def stem(name: str) -> str:
    """The file's own name: without folder and extension."""
    return without_extension(slashes(name).rpartition("/")[2])


def without_extension(name: str) -> str:
    """A path without the extension of a model file; any other end stays."""
    return _EXTENSION.sub("", name)


def slashes(name: str) -> str:
    """A path with the slashes of this module, whichever system wrote it."""
    return name.replace("\\", "/")


def _file(name: str) -> str:
    return slashes(name).rpartition("/")[2]


def _bare_path(name: str) -> str:
    return without_extension(slashes(name))


_LEVELS = ((slashes, False), (_file, True), (_bare_path, False), (stem, True))
"""What is compared, the strictest first; whether a name with a folder in it means none of it."""


def _best(wanted: str, known: Iterable[tuple[Listed, Sequence[str]]]) -> tuple[Listed, ...]:
    """Those with the very letters, else those that are alike."""
    pairs = list(known)
    for same in (str, _plain, _loose):
        meant = same(wanted)
        found = [one for one, forms in pairs if any(same(form) == meant for form in forms)]
        if found:
            return tuple(found)
    return ()


def _files(one: Listed) -> tuple[str, ...]:
    return (one.file, *one.places)


def _plain(text: str) -> str:
    """In any case, composed or not, without blanks around each part; several count as one."""
    folded = unicodedata.normalize("NFC", text).casefold()
    parts = (" ".join(without_extension(part).split()) + _end(part) for part in folded.split("/"))
    return "/".join(parts)


def _loose(text: str) -> str:
    """... and with letters that a tag cannot hold as a tag is written with them."""
    return in_tag(_plain(text))


def _end(part: str) -> str:
    found = _EXTENSION.search(part)
    return found[0] if found else ""
