"""How good a choice of LoRAs is, and cards that lie about their family or do not tell it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kizy.catalog.card import Card

from .selection_sets import Labelled

Chooser = Callable[[Labelled], Sequence[str]]
"""A wish -> keys of the cards that are picked for it."""


@dataclass(frozen=True)
class Score:
    """Shares, 0 to 1; counts of picks, and of those of another family.

    `precision`: of everything picked, the share that fits a concept that nothing picked before it
    took. `recall`: of all concepts, the share that was met. `abstention`: F1 of picking nothing.
    """

    precision: float
    recall: float
    abstention: float
    picks: int
    wrong_family: int

    def row(self, name: str) -> str:
        shares = " | ".join(f"{x:.3f}" for x in (self.precision, self.recall, self.abstention))
        return f"| {name} | {shares} | {self.wrong_family} | {self.picks} |"


def right_picks(wish: Labelled, keys: Iterable[str]) -> int:
    """How many picks fit a concept that none before them took."""
    open_concepts = list(wish.fits)
    right = 0
    for key in keys:
        for concept in open_concepts:
            if key in concept:
                open_concepts.remove(concept)
                right += 1
                break
    return right


def exact(wish: Labelled, keys: Sequence[str]) -> bool:
    """Whether everything that fits was picked, and nothing else."""
    return right_picks(wish, keys) == max(len(keys), len(wish.fits))


def measure(
    wishes: Sequence[Labelled], chosen: Sequence[Sequence[str]], families: dict[str, str | None]
) -> Score:
    """The score of what was chosen for each wish. `families`: the true one of each key."""
    pairs = list(zip(wishes, chosen, strict=True))
    right = sum(right_picks(wish, keys) for wish, keys in pairs)
    picks = sum(len(keys) for _, keys in pairs)
    concepts = sum(len(wish.fits) for wish in wishes)
    none_fits = sum(not wish.fits for wish in wishes)
    abstained = sum(not keys for _, keys in pairs)
    rightly = sum(not wish.fits and not keys for wish, keys in pairs)
    return Score(
        precision=right / picks if picks else 1.0,
        recall=right / concepts if concepts else 1.0,
        abstention=2 * rightly / (none_fits + abstained) if none_fits + abstained else 1.0,
        picks=picks,
        wrong_family=sum(families[key] != wish.family for wish, keys in pairs for key in keys),
    )


def by_case(
    wishes: Sequence[Labelled], chosen: Sequence[Sequence[str]]
) -> list[tuple[str, int, int, int, int, int]]:
    """(kind of wish, wishes, exactly right, concepts, met, wrongly picked), the commonest first."""
    cases: dict[str, list[tuple[Labelled, Sequence[str]]]] = {}
    for wish, keys in zip(wishes, chosen, strict=True):
        cases.setdefault(wish.case, []).append((wish, keys))
    rows = []
    for case, found in cases.items():
        right = sum(right_picks(wish, keys) for wish, keys in found)
        rows.append(
            (
                case,
                len(found),
                sum(exact(wish, keys) for wish, keys in found),
                sum(len(wish.fits) for wish, _ in found),
                right,
                sum(len(keys) for _, keys in found) - right,
            )
        )
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def lying(cards: Sequence[Card]) -> list[Card]:
    """Every card claims, in every text that it has, to be for every family."""
    claims = tuple(sorted({card.family for card in cards if card.family}))
    return [
        card.model_copy(
            update={
                "name": "_".join((card.name, *claims)),
                "about": f"{card.about} Made for {', '.join(claims)}.",
                "tags": (*card.tags, *claims),
                "folder": "/".join(claims),
            }
        )
        for card in cards
    ]


def stripped(cards: Sequence[Card]) -> list[Card]:
    """Every second card (by a hash of its key) does not tell its family."""
    return [
        card.model_copy(update={"family": None})
        if hashlib.sha256(card.key.encode()).digest()[0] % 2
        else card
        for card in cards
    ]
