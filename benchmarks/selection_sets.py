"""The two labelled sets of `data/selection`: cards as collections have them, wishes, what fits.

`fits` holds one list of keys a concept, any of which is right; none: nothing fits. A part of each
set is set aside: nothing is tuned on it, and no single case of it is ever shown. Of the first set
it is a third, by a hash of the wish's words; of the second, which somebody wrote who had not seen
the choice, it is half (`"split": "b"`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kizy.catalog.card import Card
from kizy.catalog.search.search_index import Library
from kizy.catalog.words.card_words import card_texts

DATA = Path(__file__).parent / "data" / "selection"
FILES = {"first set": ("cards", "prompts"), "second set": ("blind_cards", "blind_prompts")}


@dataclass(frozen=True)
class Labelled:
    """A wish with what fits it; see the module. `case`: what kind of wish it is."""

    prompt: str
    family: str
    variant: str | None
    fits: tuple[tuple[str, ...], ...]
    case: str
    set_aside: bool

    @property
    def right(self) -> frozenset[str]:
        """Keys that fit any of its concepts."""
        return frozenset(key for concept in self.fits for key in concept)


@dataclass(frozen=True)
class LabelledSet:
    name: str
    cards: tuple[Card, ...]
    wishes: tuple[Labelled, ...]

    @property
    def tuning(self) -> tuple[Labelled, ...]:
        return tuple(wish for wish in self.wishes if not wish.set_aside)

    @property
    def set_aside(self) -> tuple[Labelled, ...]:
        return tuple(wish for wish in self.wishes if wish.set_aside)

    @property
    def families(self) -> dict[str, str | None]:
        """Key -> the family that its card is really for."""
        return {card.key: card.family for card in self.cards}


@dataclass(frozen=True)
class Rows:
    """Meanings: one row for each text of a card."""

    keys: Sequence[str]
    vectors: np.ndarray


class Cache:
    """Meanings of texts, each computed once in this run."""

    def __init__(self) -> None:
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        from kizy.language import embed

        new = sorted({text for text in texts if text not in self._known}, key=len)
        self._known.update(zip(new, embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def load_sets() -> list[LabelledSet]:
    """Both sets, with all their wishes."""
    return [_load(name, *files) for name, files in FILES.items()]


def build_library(cards: Sequence[Card], meaning_of: Cache | None) -> Library:
    """A library with the meanings of all its cards' texts; None: by words."""
    if meaning_of is None:
        return Library.of(cards)
    texts = [(card.key, text) for card in cards for text in card_texts(card)]
    return Library.of(
        cards, Rows([key for key, _ in texts], meaning_of([text for _, text in texts]))
    )


def _load(name: str, cards: str, prompts: str) -> LabelledSet:
    listed = json.loads((DATA / f"{cards}.json").read_text(encoding="utf-8"))
    wishes = json.loads((DATA / f"{prompts}.json").read_text(encoding="utf-8"))
    return LabelledSet(
        name,
        tuple(Card.model_validate(one) for one in listed),
        tuple(
            Labelled(
                prompt=one["prompt"],
                family=one["family"],
                variant=one.get("variant"),
                fits=tuple(tuple(keys) for keys in one["fits"]),
                case=one["case"],
                set_aside=one["split"] == "b" if "split" in one else _held_out(one["prompt"]),
            )
            for one in wishes
        ),
    )


def _held_out(prompt: str) -> bool:
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 3 == 0
