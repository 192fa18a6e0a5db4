"""LoRAs by name, and the saved steps of one training as versions of one LoRA."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..card import Card
from .name_lookup import Listed, Names, slashes, stem

ON_SERVER = "server:"
"""Begin of the keys of cards of files that lie on servers alone: their place there follows."""

_STEP = re.compile(r"(?P<base>.+?)[-_ ]step[-_ ]?(?P<number>\d+)", re.IGNORECASE)
_EPOCH = re.compile(
    r"(?P<base>.+?)(?:[-_](?P<zeros>0\d{5}|0\d{8})|[-_ ]e(?:p|poch)?[-_ ]?(?P<number>\d{1,6}))",
    re.IGNORECASE,
)
"""How trainers name what they save on the way; sources: sd-scripts, library/train_util.py
(`{name}-{epoch:06d}`, `{name}-step{step:08d}`), ai-toolkit (`{name}_{step:09d}`)."""


@dataclass(frozen=True)
class Version:
    """What a file's name says. `base`: the training's name. `rank`: greater is later; the final
    file, whose name has no number, comes last of all.
    """

    base: str
    rank: tuple[int, int]

    @property
    def is_final(self) -> bool:
        return self.rank == _FINAL


_FINAL = (2, 0)


def version(file: str) -> Version:
    """Of a file's name, with or without folder and extension."""
    name = stem(file)
    step = _STEP.fullmatch(name)
    if step is not None:
        return Version(step["base"], (0, int(step["number"])))
    epoch = _EPOCH.fullmatch(name)
    if epoch is not None:
        return Version(epoch["base"], (1, int(epoch["zeros"] or epoch["number"])))
    return Version(name, _FINAL)


def families(cards: Iterable[Card]) -> tuple[tuple[Card, ...], ...]:
    """The cards, those of one training together: its final file first, then the latest first.

    They lie in one folder and are for the same models. In the order in which they came.
    """
    groups: dict[tuple[str, str, str | None], list[tuple[Version, Card]]] = {}
    for card in cards:
        file = file_of(card)
        known = version(file)
        folder = slashes(file).rpartition("/")[0]
        group = (f"{_root(card)}{folder}", known.base.casefold(), card.family)
        groups.setdefault(group, []).append((known, card))
    return tuple(
        tuple(card for _, card in sorted(group, key=lambda pair: pair[0].rank, reverse=True))
        for group in groups.values()
    )


def heads(cards: Sequence[Card]) -> Mapping[str, str]:
    """Key of each file that was saved on the way -> key of what stands for its training."""
    return {card.key: group[0].key for group in families(cards) for card in group[1:]}


def lora_names(cards: Iterable[Card]) -> Names:
    """The names of LoRAs. What lies at the same place below two libraries is told by their names.

    Copies of one size count as one file.
    """
    same: dict[str, list[Card]] = {}
    for card in cards:
        same.setdefault(slashes(file_of(card)), []).append(card)
    listed: list[Listed] = []
    for file, group in same.items():
        sizes = {card.size for card in group}
        for card in group:
            told = file if len(sizes) == 1 else _longer(card, file, group)
            listed.append(replace(listed_card(card), file=told))
    return Names(listed)


def listed_card(card: Card, on_server: str | None = None) -> Listed:
    """A card as it is named. `on_server`: what a server calls the file."""
    titles = tuple(dict.fromkeys((card.name, *card.aliases)))
    places = () if on_server is None else (on_server,)
    return Listed(card.key, file_of(card), titles, places, card.size)


def file_of(card: Card) -> str:
    """Where a LoRA lies below its library, as it is listed: folder, name and extension."""
    if card.key.startswith(ON_SERVER):
        return card.key.removeprefix(ON_SERVER)
    name = os.path.basename(card.key)  # noqa: PTH119 (a key need not be a path of this system)
    return f"{card.folder}/{name}" if card.folder else name


def _root(card: Card) -> str:
    """What comes before a card's place below its library."""
    key, file = slashes(card.key), slashes(file_of(card))
    return key.removesuffix(file)


def _longer(card: Card, file: str, group: Sequence[Card]) -> str:
    """The end of a path that no other file of the group has."""
    parts = slashes(card.key).split("/")
    others = [slashes(one.key) for one in group if one.size != card.size]
    for many in range(file.count("/") + 2, len(parts) + 1):
        end = "/".join(parts[-many:])
        if not any(f"/{other}".endswith(f"/{end}") for other in others):
            return end.lstrip("/")
    return file
