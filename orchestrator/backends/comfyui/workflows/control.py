"""Which ControlNet file of a server reads a kind of map with a family."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from .....catalog.families.family import ControlForm, Family, load_families
from .....core.errors import InputError
from .file_names import words
from .missing import control_missing
from .server_facts import ServerFacts

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "canny": ("canny",),
    "depth": ("depth", "midas", "zoe"),
    "openpose": ("openpose", "pose", "dwpose"),
    "scribble": ("scribble", "sketch"),
    "lineart": ("lineart",),
    "softedge": ("softedge", "hed", "pidi"),
    "mlsd": ("mlsd",),
    "normal": ("normal", "normalbae"),
    "segment": ("segment", "seg", "segmentation"),
    "tile": ("tile",),
}
"""Kind of map -> the words that name it, in requests and in files."""

UNION_WORDS = ("union", "promax")
"""Words of files that read several kinds."""


@dataclass(frozen=True)
class ControlFile:
    """`name` as the server lists it; `union_type`: what SetUnionControlNetType is to say."""

    name: str
    union_type: str | None = None


def control_file(kind: str, family: Family, server: ServerFacts) -> ControlFile:
    """A file for that kind alone, else one that reads several; in the order of their names.

    Raises InputError `feature_unavailable` if the family has no ControlNets, EngineError
    `server_model_missing` if the server has none that fits.
    """
    facts = family.comfyui.control
    if facts is None:
        message = f"There are no ControlNets for {family.name}."
        raise InputError("feature_unavailable", message)
    wanted, spoken = _kind(kind)
    listed = server.choices("ControlNetLoader", "control_net_name")
    fitting = sorted(name for name in listed if _fits(name, facts))
    for name in fitting:
        if not _is_union(name) and any(_means(word, spoken) for word in words(name)):
            return ControlFile(name)
    for name in fitting:
        # Without a list of types a union model finds out by itself which kind it gets.
        if _is_union(name) and (not facts.union or wanted in facts.union):
            return ControlFile(name, facts.union.get(wanted))
    raise control_missing(server, kind, family, sorted(listed))


def _kind(kind: str) -> tuple[str, tuple[str, ...]]:
    """The kind's own name, and all words for it."""
    asked = kind.strip().casefold()
    for name, spoken in KIND_WORDS.items():
        if asked in spoken:
            return name, spoken
    return asked, (asked,)


def _means(word: str, spoken: tuple[str, ...]) -> bool:
    # Short words only as they are: "seg" is not in "segue", "pose" not in "posed".
    return any(word == said or (len(said) > 4 and word.startswith(said)) for said in spoken)


def _is_union(name: str) -> bool:
    return any(word in UNION_WORDS for word in words(name))


def _fits(name: str, facts: ControlForm) -> bool:
    """Whether a file's name speaks of the family, and of no other one."""
    if not _speaks_of(name, facts):
        return False
    others = (family.comfyui.control for family in load_families().values())
    return not any(
        _speaks_of(name, other)
        for other in others
        if other is not None and other.names != facts.names
    )


def _speaks_of(name: str, facts: ControlForm) -> bool:
    return any(fnmatchcase(word, pattern) for word in words(name) for pattern in facts.names)
