"""LoRAs that lie on a ComfyUI server, as its own Kizy reads them: cards for the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from ...catalog.card import Card
from ...catalog.families.family import load_families
from ...catalog.index.lora_lookup import ON_SERVER, file_of, listed_card
from ...catalog.index.name_lookup import Listed, Names, ambiguous, slashes, stem, without_copies
from ...core.errors import UnknownNameError, nearest
from ...core.once import once_property

MOST_TEXT = 10_000
"""Letters of a text that a server tells of a LoRA."""


def server_cards(told: Iterable[Mapping[str, Any]]) -> tuple[Card, ...]:
    """The cards of a server's answer; untrusted, so what is none is passed over.

    `key`: "server:" and the file as the server lists it.
    """
    found: list[Card] = []
    families = load_families()
    for one in told:
        file = one.get("file")
        if not isinstance(file, str) or not file or len(file) > MOST_TEXT:
            continue
        known = {name: one[name] for name in Card.model_fields if name in one}
        try:
            card = Card.model_validate({**known, "key": ON_SERVER + file, "source": "server"})
        except ValidationError:
            continue
        if card.family is not None and card.family not in families:
            card = card.model_copy(update={"family": None, "variant": None})
        found.append(card.model_copy(update={"about": card.about[:MOST_TEXT]}))
    return tuple(found)


def name_on_server(card: Card) -> str | None:
    """The file as the server lists it; None for a LoRA that lies here."""
    return card.key.removeprefix(ON_SERVER) if card.key.startswith(ON_SERVER) else None


@dataclass(frozen=True)
class LorasThere:
    """The LoRAs of servers beside those of this machine.

    `names`: key of a card -> how servers list it. `cards`: of files that lie there alone.
    `sent`: keys of cards of this machine that no server lists, and that are sent to one first.
    `listed`: all that servers list.
    """

    own: tuple[Card, ...]
    names: Mapping[str, str]
    cards: tuple[Card, ...]
    sent: frozenset[str]
    listed: tuple[str, ...]

    @classmethod
    def of(
        cls,
        own: tuple[Card, ...],
        there: Iterable[Card],
        listed: Iterable[str],
        *,
        receiving: bool,
        sizes: Sizes = MappingProxyType({}),
    ) -> LorasThere:
        """`own`: this machine's cards; `there`: those that servers tell, by the names of lists.

        `receiving`: whether a server takes LoRAs in. `sizes`: of the listed files, where known.
        """
        listed = tuple(dict.fromkeys(listed))
        names = keys_on(listed, own, sizes)
        known = set(names.values())
        cards = tuple(card for card in there if name_on_server(card) not in known)
        missing = frozenset(card.key for card in own if card.key not in names)
        sent = missing if receiving else frozenset()
        names |= {card.key: name_on_server(card) or "" for card in cards}
        return cls(own, names, cards, sent, listed)

    @once_property
    def taken(self) -> frozenset[str]:
        """File names (lower case, without extension) that do not tell which file is sent."""
        many = Counter(_stem(file_of(card)) for card in self.own if card.key in self.sent)
        several = {name for name, count in many.items() if count > 1}
        return frozenset({*map(_stem, self.listed), *several})

    @once_property
    def _cards(self) -> Mapping[str, Card]:
        """Those that can be drawn with, by key."""
        own = [card for card in self.own if card.key in self.names or card.key in self.sent]
        return {card.key: card for card in (*own, *self.cards)}

    @once_property
    def _known(self) -> Names:
        unread = set(self.listed) - set(self.names.values())
        files = (Listed(key=file, file=file) for file in self.listed if file in unread)
        of_cards = (listed_card(card, self.names.get(key)) for key, card in self._cards.items())
        return Names((*of_cards, *files))

    def find(self, name: str, family: str | None) -> Card | str:
        """What a name means: a card, or the name of a file that Kizy has not read.

        `family`: of the model, whose LoRAs go before others of the name. Raises UnknownNameError
        `lora_unknown`, InputError `name_ambiguous`.
        """
        cards, known = self._cards, self._known
        found = known.find(name)
        if not found:
            hint = nearest(name, (stem(file) for file in self.listed))
            message = f'No server has a LoRA called "{name}". {hint}'.strip()
            raise UnknownNameError("lora_unknown", message)
        families = {one.key: cards[one.key].family if one.key in cards else None for one in found}
        of_family = [one for one in found if families[one.key] == family]
        unknown = [one for one in found if families[one.key] is None]
        first, *more = without_copies(of_family or unknown or found)
        if more:
            raise ambiguous(name, "LoRA", (known.name_of(one) for one in (first, *more)))
        return cards.get(first.key, first.file)


Sizes = Mapping[str, Collection[int]]
"""Name of a server's file -> its size in bytes, on each server that tells it."""


def keys_on(
    listed: Iterable[str], cards: Iterable[Card], sizes: Sizes = MappingProxyType({})
) -> dict[str, str]:
    """Key of each card that a server lists -> its name there.

    The same place below a folder here decides, then the end of the path. The file's name alone does
    where no other file has it, here or there. Of another size it is another file.
    """
    names: dict[str, list[str]] = {}
    for name in dict.fromkeys(listed):
        names.setdefault(_stem(name), []).append(name)
    here: dict[str, list[Card]] = {}
    for card in cards:
        here.setdefault(_stem(file_of(card)), []).append(card)
    found: dict[str, str] = {}
    for name_alone, mine in here.items():
        there = names.get(name_alone, ())
        for card in mine:
            name = _same_place(card, [x for x in there if _may_be(card, x, sizes)])
            if name is not None:
                found[card.key] = name
        taken = {slashes(name) for name in found.values()}
        free = {slashes(name): name for name in there if slashes(name) not in taken}
        if len(free) == 1 and not _several(mine):
            (name,) = free.values()
            left = (card for card in mine if card.key not in found)
            found |= {card.key: name for card in left if _may_be(card, name, sizes)}
    return found


def _may_be(card: Card, name: str, sizes: Sizes) -> bool:
    known = sizes.get(name, ())
    return not known or card.size == 0 or card.size in known


def _same_place(card: Card, there: Sequence[str]) -> str | None:
    file, path = slashes(file_of(card)), f"/{slashes(card.key)}"
    same = [name for name in there if slashes(name) == file]
    # A shorter one is some file of that name: the server may list other folders than Kizy does.
    longer = (name for name in there if len(name) > len(file))
    below = same or [name for name in longer if path.endswith("/" + slashes(name))]
    return max(below, key=len) if below else None


def _several(cards: Collection[Card]) -> bool:
    """Whether these are different files."""
    return len({file_of(card) for card in cards}) > 1


def _stem(name: str) -> str:
    return stem(name).casefold()
