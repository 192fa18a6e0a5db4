"""The LoRA files of this person: what each is for, without reading its weights."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from ..core.errors import KizyError, ModelFileError, UnknownNameError, nearest
from ..core.files import sha256_of
from ..core.home import loras_folder
from ..core.request import Frozen
from .family import load_families
from .recognize import lora_family, lora_modules
from .safetensors_header import PICKLE_SUFFIXES, is_file, read_header, readable

SUFFIX = ".safetensors"
MAX_TRIGGERS = 8
MAX_TRIGGER_LENGTH = 100
MAX_TAGS_LENGTH = 5_000_000
"""Characters of `ss_tag_frequency` that are still looked at."""

DOMINATING = 1.5
"""A tag is taken for the trigger if it is this many times as frequent as the next one."""


class LoraEntry(Frozen):
    """A LoRA file. `triggers` come from the file: text to show or to put into a prompt.

    `family` None: not one that Kizy knows. `alpha` None: the file gives none, which means
    alpha = rank. `size` in bytes. `problem`: why it cannot be used.
    """

    name: str
    path: Path
    family: str | None = None
    rank: int | None = None
    alpha: float | None = None
    triggers: tuple[str, ...] = ()
    size: int = 0
    problem: str | None = None

    def sha256(self) -> str:
        """Of the whole file; see `file_sha256`."""
        return file_sha256(self.path)


def list_loras(folders: Iterable[Path] | None = None) -> list[LoraEntry]:
    """Every .safetensors file below the folders (default: Kizy's), by name; broken ones too."""
    return [_listed(path) for path in _paths(folders, (SUFFIX,))]


def find_lora(name: str, folders: Iterable[Path] | None = None) -> LoraEntry:
    """A LoRA by its file's name, with or without extension and in any case, or by path.

    Raises UnknownNameError `lora_unknown`; ModelFileError `model_file_damaged` or
    `model_file_pickled` if the file is there but cannot be used.
    """
    suffixes = (SUFFIX, *PICKLE_SUFFIXES)
    path = Path(name)
    if path.suffix.lower() in suffixes and is_file(path):
        return read_lora(path)
    paths = _paths(folders, suffixes)
    paths.sort(key=lambda path: path.suffix.lower() != SUFFIX)  # the usable twin first
    wanted = name.strip().casefold()
    for known in paths:
        if wanted in (known.name.casefold(), known.stem.casefold()):
            return read_lora(known)
    hint = nearest(name, (known.stem for known in paths))
    raise UnknownNameError("lora_unknown", f'No LoRA is called "{name}". {hint}'.strip())


def read_lora(path: Path) -> LoraEntry:
    """What a LoRA file says about itself.

    Raises UnknownNameError `file_missing`, ModelFileError `model_file_pickled` or
    `model_file_damaged` (also for a safetensors file that holds no LoRA).
    """
    header = read_header(path)
    family = lora_family(header, load_families())
    modules = lora_modules(header)
    if not modules.names and family is None:
        message = f"{path.name} holds no LoRA."
        raise ModelFileError("model_file_damaged", message, fix="Choose a LoRA file.")
    return LoraEntry(
        name=readable(path.stem),
        path=path,
        family=family.id if family else None,
        rank=modules.rank,
        alpha=modules.alpha,
        triggers=triggers(header.metadata),
        size=header.size,
    )


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Trigger words: `modelspec.trigger_phrase` at its commas, else the dominating training tag.

    Without control characters, each at most 100 characters long, at most 8.
    """
    said = [_plain(part) for part in metadata.get("modelspec.trigger_phrase", "").split(",")]
    found = list(dict.fromkeys(part for part in said if part))
    if not found:
        tag = _plain(_dominating_tag(metadata.get("ss_tag_frequency", "")))
        found = [tag] if tag else []
    return tuple(found[:MAX_TRIGGERS])


def file_sha256(path: Path) -> str:
    """sha256 of a file; computed again only if its size or time of change is another.

    Raises UnknownNameError `file_missing`.
    """
    try:
        facts = path.stat()
        return _sha256(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise UnknownNameError("file_missing", f"{path} cannot be read.") from error


@lru_cache(maxsize=1024)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    return sha256_of(path)


def _paths(folders: Iterable[Path] | None, suffixes: tuple[str, ...]) -> list[Path]:
    found = [
        path
        for folder in ([loras_folder()] if folders is None else folders)
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and is_file(path)
    ]
    return sorted(found, key=lambda path: (path.stem.casefold(), str(path)))


def _listed(path: Path) -> LoraEntry:
    try:
        return read_lora(path)
    except KizyError as error:
        return LoraEntry(name=readable(path.stem), path=path, problem=readable(error.message))


def _dominating_tag(text: str) -> str:
    """The tag that stands out in sd-scripts' `{folder: {tag: count}}`; empty if none does."""
    if not text or len(text) > MAX_TAGS_LENGTH:
        return ""
    try:
        folders = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    counts: Counter[str] = Counter()
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if type(count) is int and count > 0:
                counts[tag.strip()] += count
    ranked = counts.most_common(2)
    if not ranked:
        return ""
    if len(ranked) == 2 and ranked[0][1] < DOMINATING * ranked[1][1]:
        return ""
    return ranked[0][0]


def _plain(text: str) -> str:
    """One line without control, format and surrogate characters, cut to a sane length."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text[:1000])
    return " ".join(kept.split())[:MAX_TRIGGER_LENGTH].rstrip()
