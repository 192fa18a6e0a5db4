"""Simple ways to choose LoRAs, to compare with: all know the family and pick no broken file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import log

import numpy as np
from kizy.catalog.card import Card

from .selection import MAX_LORAS
from .selection_scores import Chooser, measure
from .selection_sets import Cache, Labelled

Ranker = Callable[[Labelled], list[tuple[float, str]]]

STEPS = 60
"""Thresholds that are tried, between the least and the greatest score."""


def baselines(
    cards: Sequence[Card],
    tuning: Sequence[Labelled],
    cache: Cache,
    families: dict[str, str | None],
) -> dict[str, Chooser]:
    """First trigger found; TF-IDF and MiniLM cosine, each with the threshold and number of picks
    that give the best mean of precision, recall and abstention F1 on the tuning part.
    """
    usable = [card for card in cards if card.problem is None and not card.mature]
    return {
        "first trigger found": first_trigger(usable),
        "TF-IDF": best_threshold(tf_idf(usable), tuning, families),
        "MiniLM cosine": best_threshold(minilm(usable, cache), tuning, families),
    }


def card_text(card: Card) -> str:
    return " ".join((card.name.replace("_", " "), card.about, *card.triggers, *card.tags))


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def first_trigger(cards: Sequence[Card]) -> Chooser:
    """The first card (by key) with a trigger that stands in the prompt as whole words."""
    ordered = sorted(cards, key=lambda card: card.key)

    def choose(wish: Labelled) -> Sequence[str]:
        spoken = f" {' '.join(tokens(wish.prompt))} "
        for card in ordered:
            if card.family == wish.family and any(
                f" {' '.join(tokens(trigger))} " in spoken for trigger in card.triggers if trigger
            ):
                return [card.key]
        return []

    return choose


def tf_idf(cards: Sequence[Card]) -> Ranker:
    """Cosine of TF-IDF vectors of prompt and card."""
    counts = [Counter(tokens(card_text(card))) for card in cards]
    frequency = Counter(word for count in counts for word in count)
    idf = {word: log((1 + len(cards)) / (1 + many)) + 1 for word, many in frequency.items()}

    def vector(count: Counter[str]) -> dict[str, float]:
        raw = {word: many * idf.get(word, 0.0) for word, many in count.items()}
        length = sum(value * value for value in raw.values()) ** 0.5 or 1.0
        return {word: value / length for word, value in raw.items()}

    vectors = [vector(count) for count in counts]

    def rank(wish: Labelled) -> list[tuple[float, str]]:
        mine = vector(Counter(tokens(wish.prompt)))
        return [
            (sum(value * other.get(word, 0.0) for word, value in mine.items()), card.key)
            for card, other in zip(cards, vectors, strict=True)
            if card.family == wish.family
        ]

    return rank


def minilm(cards: Sequence[Card], cache: Cache) -> Ranker:
    """Cosine of MiniLM's meanings of the whole prompt and all of the card's text."""
    vectors = cache([card_text(card) for card in cards])

    def rank(wish: Labelled) -> list[tuple[float, str]]:
        near = vectors @ cache([wish.prompt])[0]
        return [
            (float(value), card.key)
            for card, value in zip(cards, near, strict=True)
            if card.family == wish.family
        ]

    return rank


def best_threshold(
    rank: Ranker, tuning: Sequence[Labelled], families: dict[str, str | None]
) -> Chooser:
    ranked = [sorted(rank(wish), key=lambda pair: (-pair[0], pair[1])) for wish in tuning]
    scores = [pair[0] for pairs in ranked for pair in pairs[:MAX_LORAS]]
    best = (-1.0, 0.0, 1)
    for most in range(1, MAX_LORAS + 1):
        for threshold in np.linspace(min(scores), max(scores), STEPS):
            chosen = [_over(pairs, float(threshold), most) for pairs in ranked]
            found = measure(tuning, chosen, families)
            value = found.precision + found.recall + found.abstention
            best = max(best, (value, float(threshold), most))
    _, threshold, most = best

    def choose(wish: Labelled) -> Sequence[str]:
        pairs = sorted(rank(wish), key=lambda pair: (-pair[0], pair[1]))
        return _over(pairs, threshold, most)

    return choose


def _over(pairs: Sequence[tuple[float, str]], threshold: float, most: int) -> list[str]:
    return [key for value, key in pairs[:most] if value >= threshold]
