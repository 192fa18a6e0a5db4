"""What the choice works on: cards, their meanings and their words, prepared once."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, Any, Protocol

from ...core.once import once_property
from ..card import Card
from ..index.lora_lookup import families, file_of, listed_card, lora_names
from ..index.name_lookup import Listed, Names, ambiguous
from ..words.card_words import (
    MAX_ABOUT,
    MAX_TAGS,
    MAX_TRIGGERS,
    CardWords,
    describe,
    trigger_phrases,
)
from ..words.word_forms import clean_name, content_words, mark_words, rarity

if TYPE_CHECKING:
    import numpy as np

BLOCK = 2_000
"""Cards whose meanings are put together at once."""
MIN_CARDS = 200
"""A library smaller than this counts as this large when it is asked how rare a word is in it."""


class Meanings(Protocol):
    """`vectors`: (n, 384), unit length. `keys`: the card of each; several may be of one card."""

    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def vectors(self) -> Any: ...


@dataclass(frozen=True)
class Scope:
    """Which cards may be picked by Kizy. Empty `folders` and `tags`, `names` None: all.

    `folders`: folders below the library's root, with what lies below them. `tags`: one of them is
    enough. `names`: names or keys. `mature`: adult cards too.
    """

    folders: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    mature: bool = False

    def holds(self, card: Card) -> bool:
        """Whether a card is in it, adult or not."""
        if self.names is not None:
            wanted = {name.casefold() for name in self.names}
            if not wanted & {card.key.casefold(), card.name.casefold()}:
                return False
        if self.folders:
            folder = card.folder.strip("/").casefold() + "/"
            if not any(folder.startswith(f.strip("/").casefold() + "/") for f in self.folders):
                return False
        tags = {tag.casefold() for tag in card.tags}
        return not self.tags or any(tag.casefold() in tags for tag in self.tags)


class Library:
    """Cards by family and key, with an index of their words and, where known, their meanings.

    `rows`: (m, 384) float16, sorted by card; `starts`: where each card's rows begin in it
    (n + 1); `centers`: (n, 384) float32, the mean of each card's rows (zeros: not known). A card's
    place is its number in `cards`, where each family is one stretch.
    """

    def __init__(self, cards: Sequence[Card], meanings: Meanings | None) -> None:
        import numpy as np

        self.cards = tuple(sorted(cards, key=lambda card: (card.family or "", card.key)))
        self._by_key = {card.key: at for at, card in enumerate(self.cards)}
        self._families = [card.family or "" for card in self.cards]
        self._usable = np.array([card.problem is None for card in self.cards], bool)
        self._mature = np.array([card.mature for card in self.cards], bool)
        self._postings = self._index()
        self._set_meanings(meanings)
        self.words = lru_cache(maxsize=20_000)(self._words)
        self._allowed = lru_cache(maxsize=16)(self._compute_allowed)

    @classmethod
    def of(cls, cards: Sequence[Card], meanings: Meanings | None = None) -> Library:
        """Prepare cards for choosing. Takes about 5 s for 100,000."""
        return cls(cards, meanings)

    @property
    def has_meanings(self) -> bool:
        return len(self.rows) > 0

    def stretch(self, family: str) -> slice:
        """Where the cards of a family lie; empty for a family without cards."""
        return slice(bisect_left(self._families, family), bisect_right(self._families, family))

    def allowed(self, scope: Scope) -> np.ndarray:
        """(n,) bool: the cards without a problem that the scope lets in."""
        return self._allowed(scope)

    def _compute_allowed(self, scope: Scope) -> np.ndarray:
        import numpy as np

        fits = self._usable if scope.mature else self._usable & ~self._mature
        if scope.folders or scope.tags or scope.names is not None:
            fits = fits & np.array([scope.holds(card) for card in self.cards], bool)
        return fits

    def holders(self, word: str) -> np.ndarray:
        """Places of the cards that hold a word."""
        import numpy as np

        found = self._postings.get(word)
        return np.frombuffer(found, np.uint32) if found else np.zeros(0, np.uint32)

    def find(self, name: str) -> list[int]:
        """Places of the card of that key, else of all that the name means (see `lookup`).

        Copies of one file are several.
        """
        if name in self._by_key:
            return [self._by_key[name]]
        return [self._by_key[one.key] for one in self.names.find(name)]

    def only(self, places: Sequence[int], name: str) -> int:
        """The one of several files that a name means; the first of copies.

        Raises InputError `name_ambiguous`, which names them.
        """
        cards = [self.cards[at] for at in places]
        different = {(file_of(card), card.size) for card in cards}
        if len(different) > 1:
            raise ambiguous(name, "LoRA", [self.file_name(card) for card in cards])
        return places[0]

    @once_property
    def names(self) -> Names:
        """All cards by name."""
        return lora_names(self.cards)

    def name_of(self, card: Card) -> str:
        """What a card is called that can be given back: its title if that is its alone."""
        return self.names.name_of(self._as_listed(card), card.name)

    def file_name(self, card: Card) -> str:
        """As `name_of`, by its file alone: the shortest that is enough."""
        return self.names.name_of(self._as_listed(card))

    def _as_listed(self, card: Card) -> Listed:
        return self._listed.get(card.key) or listed_card(card)

    @once_property
    def _listed(self) -> Mapping[str, Listed]:
        return {one.key: one for one in self.names.listed}

    def with_guests(self, guests: Sequence[Card]) -> Library:
        """The same with cards that can be named, and that nothing is picked or found among.

        What somebody else asks of the first one never sees them.
        """
        new = [card for card in guests if card.key not in self._by_key]
        if not new:
            return self
        found = copy(self)
        found.cards = (*self.cards, *new)
        found._by_key = {card.key: at for at, card in enumerate(found.cards)}
        found.words = lru_cache(maxsize=20_000)(found._words)
        for kept in ("names", "_listed"):
            found.__dict__.pop(kept, None)
        return found

    @once_property
    def trainings(self) -> Sequence[Sequence[int]]:
        """Places of files that one training left behind: its final file, then the latest first."""
        usable = (card for card in self.cards if card.problem is None)
        groups = (group for group in families(usable) if len(group) > 1)
        return [[self._by_key[card.key] for card in group] for group in groups]

    def versions(self, card: Card) -> tuple[Card, ...]:
        """The other files of the training that a file stands for, the latest first."""
        number = self._training_of.get(self._by_key.get(card.key, -1))
        if number is None:
            return ()
        others = (self.cards[at] for at in self.trainings[number])
        return tuple(one for one in others if one.key != card.key)

    def one_a_training(self, cards: Sequence[Card]) -> list[Card]:
        """Those of the cards that stand for their trainings, in their order."""
        wanted = {self._by_key.get(card.key, -1) for card in cards}
        behind: set[int] = set()
        for group in self.trainings:
            there = [at for at in group if at in wanted]
            behind |= set(there[1:])
        return [card for card in cards if self._by_key.get(card.key, -1) not in behind]

    def of_one_training(self, one: int, two: int) -> bool:
        """Whether two files are versions that one training left behind."""
        return one in self._training_of and self._training_of[one] == self._training_of.get(two)

    @once_property
    def _training_of(self) -> Mapping[int, int]:
        return {at: number for number, group in enumerate(self.trainings) for at in group}

    def heads(self, allowed: np.ndarray) -> Mapping[int, int]:
        """Place of a file that was saved on the way -> of the file that stands for its training.

        `allowed`: (n,) bool.
        """
        found: dict[int, int] = {}
        for group in self.trainings:
            may = [at for at in group if at < len(allowed) and allowed[at]]
            found |= dict.fromkeys(may[1:], may[0]) if may else {}
        return found

    def telling(self, word: str) -> float:
        """How much a word tells, 0 to 1: rare in English and in this library."""
        found = self._postings.get(word)
        many = len(found) if found else 0
        size = max(len(self.cards), MIN_CARDS)
        return rarity(word) * max(0.0, 1.0 - log(1 + many) / log(1 + size)) ** 0.5

    def _words(self, at: int) -> CardWords:
        return describe(self.cards[at])

    def _index(self) -> Mapping[str, array[int]]:
        postings: dict[str, array[int]] = {}
        for at, card in enumerate(self.cards):
            found = set(content_words(card.about[:MAX_ABOUT]))
            marks = (*trigger_phrases(card)[:MAX_TRIGGERS], *card.tags[:MAX_TAGS])
            for mark in (clean_name(card.name), *marks):
                found.update(mark_words(mark))
            if not card.about and not card.tags:
                found.update(word for text in card.examples[:2] for word in content_words(text))
            for word in found:
                listed = postings.get(word)
                if listed is None:
                    listed = postings[word] = array("I")
                listed.append(at)
        return postings

    def _set_meanings(self, meanings: Meanings | None) -> None:
        import numpy as np

        many = len(self.cards)
        keys = meanings.keys if meanings is not None else ()
        places = np.array([self._by_key.get(key, -1) for key in keys], np.int64)
        order = np.argsort(places, kind="stable")
        order = order[np.searchsorted(places[order], 0) :]
        width = meanings.vectors.shape[1] if meanings is not None and len(keys) else 0
        if meanings is not None and len(order):
            self.rows = np.asarray(meanings.vectors)[order].astype(np.float16, copy=False)
        else:
            self.rows = np.zeros((0, width), np.float16)
        self.starts = np.searchsorted(places[order], np.arange(many + 1)).astype(np.int64)
        counts = np.diff(self.starts)
        self.known = counts > 0
        self.centers = np.zeros((many, width), np.float32)
        if len(self.rows):
            held = np.flatnonzero(self.known)
            for start in range(0, len(held), BLOCK):
                block = held[start : start + BLOCK]
                first, end = self.starts[block[0]], self.starts[block[-1] + 1]
                rows = self.rows[first:end].astype(np.float32)
                sums = np.add.reduceat(rows, self.starts[:-1][block] - first, axis=0)
                lengths = np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-6)
                self.centers[block] = sums / lengths
