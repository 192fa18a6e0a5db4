"""What speaks for a card, given a wish: a handful of numbers and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .library import Library
from .wish import Wish
from .words import is_known, rarity

if TYPE_CHECKING:
    import numpy as np

FEATURES = (
    "near",  # the best cosine between a piece of the wish and a text of the card
    "near_main",  # ... and its name or description alone, not its triggers and tags
    "stands_out",  # ... in spreads above the family's average for that piece, / 10, at most 1
    "lead",  # ... above the fifth best card for that piece
    "said_share",  # how much of the best piece's words the card holds
    "rarest",  # how telling the most telling word in common is
    "in_name",  # the same, of the words of name and triggers alone
    "named",  # share of its name, or of its first trigger, that the wish says
    "code_word",  # a word of its name or triggers that English lacks, by how telling it is
    "trigger",  # a whole trigger in the wish, by how telling it is
    "same_term",  # a term of the glossary in common, by how telling it is
    "other_style",  # the wish names a style, and the card other ones only
    "kind_fits",  # the piece asks for the kind of thing that the card is
    "aside",  # the best piece is an aside of the wish
    "unnamed_person",  # the card is of somebody with a name, which the wish does not say
    "known",  # whether the card's meaning is known
)

BY_MEANING = 120
BY_WORDS = 120
ELSEWHERE = 20
COMMON_WORD = 0.25
"""A word that at least this share of the library's cards hold finds no candidates."""
USUAL_NEAR, USUAL_SPREAD, USUAL_WEIGHT = 0.16, 0.11, 30.0
"""How near unrelated cards are to a piece: what is believed of a library of few cards."""


@dataclass
class Evidence:
    """For one card: `at` its place, `values` its features, and where they come from.

    `piece`: number of the piece of the wish that it is nearest to (-1: none). `shared`: words in
    common, the most telling first. `trigger`: the whole trigger that the wish holds. `terms`:
    glossary terms in common.
    """

    at: int
    values: dict[str, float]
    piece: int = -1
    shared: tuple[str, ...] = ()
    trigger: str = ""
    terms: tuple[str, ...] = ()
    score: float = field(default=0.0)


def gather(
    wish: Wish, library: Library, family: str, allowed: np.ndarray, meanings: np.ndarray | None
) -> list[Evidence]:
    """Evidence for every candidate of a family. `meanings`: (pieces, 384), or None for by words.

    Candidates are the nearest by meaning and those with telling words in common.
    """
    import numpy as np

    stretch = library.stretch(family)
    places = np.flatnonzero(allowed[stretch]) + stretch.start
    if not len(places):
        return []
    said = _said(wish, library)
    by_words = _by_words(said, library, places)
    near = _Nearness(library, stretch, places, meanings)
    candidates = np.union1d(by_words, near.best(BY_MEANING))
    near.measure(candidates)
    return [_judge(int(at), wish, library, said, near) for at in candidates]


def gather_elsewhere(
    wish: Wish, library: Library, family: str, allowed: np.ndarray
) -> list[Evidence]:
    """Evidence by words for the cards that cannot be picked: of other families, or not allowed."""
    import numpy as np

    stretch = library.stretch(family)
    out = np.ones(len(library.cards), bool)
    out[stretch] = ~allowed[stretch]
    places = np.flatnonzero(out)
    said = _said(wish, library)
    near = _Nearness(library, stretch, places[:0], None)
    found = [
        _judge(int(at), wish, library, said, near)
        for at in _by_words(said, library, places, ELSEWHERE)
    ]
    return sorted(found, key=lambda one: (-one.values["rarest"], library.cards[one.at].key))


def _said(wish: Wish, library: Library) -> dict[str, float]:
    """The wish's words, also neighbours written as one -> how telling each is."""
    pairs = [
        a + b
        for piece in wish.pieces
        for a, b in zip(piece.words, piece.words[1:], strict=False)
        if len(a) > 2 and len(b) > 2
    ]
    found = {word: library.telling(word) for word in wish.words}
    for pair in pairs:
        if len(library.holders(pair)):
            found.setdefault(pair, library.telling(pair))
    return found


def _by_words(
    said: dict[str, float], library: Library, places: np.ndarray, many: int = BY_WORDS
) -> np.ndarray:
    """Places of the cards that share the most telling words."""
    import numpy as np

    size = len(library.cards)
    sums = np.zeros(size, np.float32)
    for word, telling in sorted(said.items()):
        holders = library.holders(word)
        if len(holders) and (size < 1000 or len(holders) < COMMON_WORD * size):
            sums[holders] += telling
    mine = sums[places]
    held = np.flatnonzero(mine > 0.1)
    if len(held) > many:
        order = np.lexsort((held, -mine[held]))
        held = np.sort(held[order[:many]])
    return places[held]


class _Nearness:
    """Cosines between the pieces of a wish and cards."""

    def __init__(
        self, library: Library, stretch: slice, places: np.ndarray, meanings: np.ndarray | None
    ) -> None:
        import numpy as np

        self._library, self._places = library, places
        self._known = meanings is not None and library.has_meanings and len(meanings) > 0
        self.cosines: dict[int, np.ndarray] = {}
        self.main: dict[int, np.ndarray] = {}
        if not self._known or meanings is None:
            return
        self._meanings = np.ascontiguousarray(meanings, np.float32)
        all_of_family = library.centers[stretch] @ self._meanings.T
        self._coarse = all_of_family[places - stretch.start]
        known = library.known[places]
        sample = self._coarse[known]
        many = len(sample)
        share = many / (many + USUAL_WEIGHT)
        zeros = np.zeros(self._meanings.shape[0], np.float32)
        mean = sample.mean(0) if many else zeros
        spread = sample.std(0) if many else zeros
        self.mean = share * mean + (1 - share) * USUAL_NEAR
        self.spread = share * spread + (1 - share) * USUAL_SPREAD

    def best(self, many: int) -> np.ndarray:
        import numpy as np

        if not self._known:
            return np.zeros(0, np.int64)
        best = self._coarse.max(1)
        best[~self._library.known[self._places]] = -1.0
        if len(best) > many:
            kept = np.argpartition(-best, many)[:many]
            return self._places[np.sort(kept)]
        return self._places[best > -1.0]

    def measure(self, candidates: np.ndarray) -> None:
        """Exact: the nearest of a card's texts, for each piece."""
        import numpy as np

        if not self._known:
            return
        starts = self._library.starts
        for at in candidates:
            rows = self._library.rows[starts[at] : starts[at + 1]]
            if len(rows):
                found = rows.astype(np.float32) @ self._meanings.T
                self.cosines[int(at)] = found.max(0)
                self.main[int(at)] = found[:2].max(0)
        fifth = np.zeros(self._meanings.shape[0], np.float32)
        if len(self.cosines) >= 5:
            fifth = np.sort(np.stack(list(self.cosines.values())), axis=0)[-5]
        self.fifth = np.maximum(fifth, self.mean + self.spread)


def _judge(
    at: int, wish: Wish, library: Library, said: dict[str, float], near: _Nearness
) -> Evidence:
    words = library.words(at)
    values = dict.fromkeys(FEATURES, 0.0)
    shared = {
        word: telling * words.weights[word]
        for word, telling in said.items()
        if word in words.weights and telling > 0
    }
    piece = -1
    cosines = near.cosines.get(at)
    by_words = [_coverage(piece.words, shared, said) for piece in wish.pieces]
    if cosines is not None and len(cosines):
        piece = int(cosines.argmax())
        values["known"] = 1.0
        values["near"] = float(cosines[piece])
        values["near_main"] = float(near.main[at].max())
        values["stands_out"] = min(
            1.0, max(0.0, float((cosines[piece] - near.mean[piece]) / near.spread[piece] / 10))
        )
        values["lead"] = max(-0.2, float(cosines[piece] - near.fifth[piece]))
        both = [0.5 * by_words[i] + float(cosines[i]) for i in range(len(by_words))]
        piece = max(range(len(both)), key=lambda i: (both[i], -i))
    elif by_words and max(by_words) > 0:
        piece = max(range(len(by_words)), key=lambda i: (by_words[i], -i))
    if shared:
        values["said_share"] = max(by_words, default=0.0)
        values["rarest"] = max(shared.values())
        own = [said[word] for word in shared if word in words.identity]
        values["in_name"] = max(own, default=0.0)
    values["named"] = max((_share(names, said) for names in words.own_names), default=0.0)
    codes = [said[w] for w in words.identity if w in said and not is_known(w)]
    values["code_word"] = max(codes, default=0.0)
    trigger, values["trigger"] = _trigger(words.phrases, wish, library)
    terms, values["same_term"] = _terms(words.strong, words.weak, wish, library)
    asked = wish.style_terms
    if asked and words.kind == "style":
        mine = {name for name in words.strong | words.weak if name in _style_names()}
        values["other_style"] = float(bool(mine) and not mine & asked)
    if piece >= 0:
        values["aside"] = float(wish.pieces[piece].aside)
        values["kind_fits"] = float(wish.pieces[piece].role == words.kind)
    if words.one_of_a_kind:
        rare = [word for names in words.own_names for word in names if rarity(word) > 0.75]
        values["unnamed_person"] = float(not any(word in said for word in rare))
    ordered = sorted(shared, key=lambda word: (-shared[word], word))
    return Evidence(at, values, piece, tuple(ordered), trigger, terms)


def _share(names: frozenset[str], said: dict[str, float]) -> float:
    total = sum(rarity(word) for word in names)
    return sum(rarity(word) for word in names if word in said) / total if total else 0.0


def _coverage(piece: Sequence[str], shared: dict[str, float], said: dict[str, float]) -> float:
    total = sum(said.get(word, 0.0) for word in piece)
    return sum(shared.get(word, 0.0) for word in piece) / total if total > 0.3 else 0.0


def _trigger(
    phrases: Sequence[tuple[str, ...]], wish: Wish, library: Library
) -> tuple[str, float]:
    from .words import words

    spoken = words(wish.text)
    best = ("", 0.0)
    for phrase in phrases:
        if phrase and _holds(spoken, phrase):
            value = max(library.telling(word) for word in phrase)
            if value > best[1]:
                best = (" ".join(phrase), value)
    return best


def _holds(spoken: Sequence[str], phrase: tuple[str, ...]) -> bool:
    size = len(phrase)
    return any(tuple(spoken[i : i + size]) == phrase for i in range(len(spoken) - size + 1))


def _terms(
    strong: frozenset[str], weak: frozenset[str], wish: Wish, library: Library
) -> tuple[tuple[str, ...], float]:
    found: dict[str, float] = {}
    for name in wish.terms:
        if name in strong or name in weak:
            telling = max((library.telling(word) for word in name.split()), default=0.0)
            found[name] = telling * (1.0 if name in strong else 0.7)
    ordered = tuple(sorted(found, key=lambda name: (-found[name], name)))
    return ordered, max(found.values(), default=0.0)


def _style_names() -> frozenset[str]:
    from .art_words import TERMS

    return frozenset(term.name for term in TERMS if term.kind == "style")
