"""Finding LoRAs by what somebody remembers of them: part of a name, words, or what they mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ...catalog.card import Card
from ...catalog.search import reasons
from ...catalog.search.parsed_prompt import parse_wish
from ...catalog.search.search_index import Library, Scope
from ...catalog.search.select import MeaningOf, embedded, judge

MOST = 10
LEAST = 0.05
"""What is less likely to be meant than this, and shares no word, is not shown."""


@dataclass(frozen=True)
class Hit:
    """`why`: what matched. `score`: 0 to 1. A card that holds the very words comes first.

    `versions`: what the same training saved on its way.
    """

    card: Card
    why: str
    score: float
    versions: tuple[Card, ...] = ()


@dataclass(frozen=True)
class Found:
    """`hits`: the best first. `more`: how many others there were. `hidden`: adult ones left out.

    `by_words_only`: no meanings were at hand.
    """

    hits: tuple[Hit, ...]
    more: int
    hidden: int
    by_words_only: bool


def search(
    text: str,
    library: Library,
    *,
    families: Collection[str] | None = None,
    variant: str | None = None,
    scope: Scope | None = None,
    meaning_of: MeaningOf | None = embedded,
) -> Found:
    """The cards that `text` may mean, of all families or of those that are named."""
    wish = parse_wish(text)
    allowed = library.allowed(scope or Scope())
    meanings = None
    if meaning_of is not None and library.has_meanings and wish.pieces:
        try:
            meanings = meaning_of([piece.text for piece in wish.pieces])
        except ImportError:
            meanings = None
    found: dict[int, Hit] = {}
    for family in sorted({card.family or "" for card in library.cards}):
        if families is not None and family not in families:
            continue
        for evidence in judge(wish, library, family, allowed, meanings, variant):
            card = library.cards[evidence.at]
            if evidence.score >= LEAST or evidence.shared:
                facts = library.words(evidence.at)
                why = reasons.why(wish, evidence, card, facts, card.variant, "")
                found[evidence.at] = Hit(card, why, evidence.score)
    hidden = 0
    wanted = " ".join(text.split()).casefold()
    for at, card in enumerate(library.cards):
        where = _holding(card, wanted)
        if where is None or (families is not None and (card.family or "") not in families):
            continue
        if not allowed[at] and card.problem is None:
            hidden += card.mature
            continue
        why = found[at].why if at in found else f'{where} "{" ".join(text.split())}".'
        if card.problem is not None:
            why = f"It cannot be used: {card.problem}"
        found[at] = Hit(card, why, 1.0)
    found = _one_a_training(found, library.heads(allowed), library)
    if variant is not None:
        found = {at: hit for at, hit in found.items() if hit.card.variant == variant}
    best = sorted(found.values(), key=lambda hit: (-hit.score, hit.card.name, hit.card.key))
    shown = tuple(replace(hit, versions=library.versions(hit.card)) for hit in best[:MOST])
    return Found(shown, len(best) - len(shown), hidden, meanings is None)


def _one_a_training(
    found: Mapping[int, Hit], heads: Mapping[int, int], library: Library
) -> dict[int, Hit]:
    """Files that one training left behind are one hit: the likeliest, told of the final file."""
    best: dict[int, Hit] = {}
    for at, hit in found.items():
        head = heads.get(at, at)
        if head not in best or hit.score > best[head].score:
            best[head] = replace(hit, card=library.cards[head])
    return best


def _holding(card: Card, wanted: str) -> str | None:
    """Where a card holds the very words, as the beginning of a sentence."""
    if not wanted:
        return None
    file = card.key.replace("\\", "/").rpartition("/")[2]
    places = {
        "Its name holds": (card.name, file),
        "It has the trigger words": card.triggers,
        "It has the tag": card.tags,
    }
    for where, texts in places.items():
        if any(wanted in text.casefold() for text in texts):
            return where
    return None
