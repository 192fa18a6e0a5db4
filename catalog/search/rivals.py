"""Whether two LoRAs would fight over one concept."""

from __future__ import annotations

from dataclasses import dataclass

from ..families.variants import variant_penalty
from ..words.word_forms import GENERIC, version_of
from . import reasons
from .evidence import Evidence
from .parsed_prompt import Wish
from .search_index import Library

MUCH_BETTER = 0.2
"""An older version is kept if it is by this much the likelier one."""


@dataclass(frozen=True)
class Rivalry:
    """`why`: what to tell of the one that loses. `instead`: the other one takes the place."""

    why: str
    instead: bool = False


def rival(
    wish: Wish, library: Library, chosen: Evidence, other: Evidence, variant: str | None
) -> Rivalry | None:
    """Whether `other`, the less likely one, must give way to `chosen`, or takes its place.

    It does if it is the newer version, or made for this variant of the family and the first not,
    and nearly as likely.
    """
    first, second = library.cards[chosen.at], library.cards[other.at]
    mine, theirs = library.words(chosen.at), library.words(other.at)
    near = chosen.score - other.score < MUCH_BETTER
    closer = variant_penalty(second.variant, variant) < variant_penalty(first.variant, variant)
    if same_lora(library, chosen.at, other.at):
        newer = version_of(second.name) > version_of(first.name)
        if near and (closer or (newer and first.variant == second.variant)):
            return Rivalry(reasons.older(second), instead=True)
        return Rivalry(reasons.same(first) if newer else reasons.older(first))
    if mine.kind == theirs.kind == "style":
        if near and closer:
            return Rivalry(reasons.two_styles(second), instead=True)
        return Rivalry(reasons.two_styles(first))
    if _same_concept(wish, chosen, other):
        return Rivalry(reasons.same_concept(wish, chosen, first))
    return None


def same_lora(library: Library, one: int, two: int) -> bool:
    """Versions or copies of one LoRA: the same name without its version, or the same code word."""
    mine, theirs = library.words(one), library.words(two)
    if library.of_one_training(one, two):
        return True
    if mine.title and mine.title == theirs.title:
        return True
    codes = {phrase for phrase in mine.phrases if phrase and not set(phrase) <= GENERIC}
    shared = codes & set(theirs.phrases)
    same_words = set(mine.title.split()) & set(theirs.title.split())
    return bool(shared and mine.kind == theirs.kind and same_words)


def _same_concept(wish: Wish, chosen: Evidence, other: Evidence) -> bool:
    """Whether `other` answers only to what `chosen` answers to already.

    A LoRA found by words has words (or terms) of its own to show; one found by meaning alone
    has to stand for another piece of the wish.
    """
    if chosen.values["typed"] and chosen.trigger == other.trigger:
        return True
    own = set(other.shared[:3]) - set(chosen.shared)
    own_terms = set(other.terms) - set(chosen.terms)
    if own_terms:
        return False
    if other.piece == chosen.piece or _within(wish, chosen.piece, other.piece):
        return not own
    return not own and bool(other.shared) and bool(set(other.shared) & set(chosen.shared))


def _within(wish: Wish, one: int, two: int) -> bool:
    if min(one, two) < 0:
        return False
    first, second = set(wish.pieces[one].words), set(wish.pieces[two].words)
    return first <= second or second <= first
