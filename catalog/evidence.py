"""What speaks for a card, given a wish: a handful of numbers and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import glossary
from .art_words import STYLE_NAMES
from .library import Library
from .wish import Wish
from .words import is_known, rarity, words

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
    "same_style",  # a style or technique of the glossary in common, by how telling it is
    "same_thing",  # a thing of the glossary in common, by how telling it is
    "other_style",  # the wish names a style, and the card other ones only
    "kind_fits",  # the piece asks for the kind of thing that the card is
    "aside",  # the best piece is an aside of the wish
    "unnamed_person",  # the card is of somebody with a name, which the wish does not say
    "alone",  # no word and no term in common: by meaning alone
    "alone_near",  # near_main, if by meaning alone
    "known",  # whether the card's meaning is known
)

BY_MEANING = 40
BY_WORDS = 30
HOPELESS = 0.3
"""What is less near than this and shares no words is not looked at any further."""
SAMPLE = 4_000
"""Cards of a family from which is learned how near unrelated ones are."""
ELSEWHERE = 8
COMMON_WORD = 0.25
"""A word that at least this share of the library's cards hold finds no candidates."""
SLIGHT = 0.3
"""Words in common that tell less than this count as none."""
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
    if not len(places) or not wish.pieces:
        return []
    said = _said(wish, library)
    by_words = _by_words(said | _said_otherwise(wish, said, library), library, places)
    near = _Nearness(library, stretch, places, meanings)
    candidates = np.union1d(by_words, near.best(BY_MEANING))
    near.measure(candidates)
    spoken = _spoken(wish)
    return [
        _judge(int(at), wish, library, said, near, spoken)
        for at in near.hopeful(candidates, by_words)
    ]


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
    sought = said | _said_otherwise(wish, said, library)
    spoken = _spoken(wish)
    found = [
        _judge(int(at), wish, library, said, near, spoken)
        for at in _by_words(sought, library, places, ELSEWHERE)
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


def _said_otherwise(wish: Wish, said: dict[str, float], library: Library) -> dict[str, float]:
    """Other words for the wish's terms: they find candidates, but prove nothing."""
    return {
        word: 0.7 * library.telling(word)
        for name in wish.terms
        for word in glossary.words_for(name)
        if word not in said
    }


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
        self.main: dict[int, float] = {}
        if not self._known or meanings is None:
            return
        self._meanings = np.ascontiguousarray(meanings, np.float32)
        all_of_family = library.centers[stretch] @ self._meanings.T
        whole = len(places) == len(all_of_family)
        self._coarse = all_of_family if whole else all_of_family[places - stretch.start]
        known = library.known[places]
        sample = self._coarse[np.flatnonzero(known)[:: 1 + len(places) // SAMPLE]]
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
        starts, counts = self._library.starts, np.diff(self._library.starts)
        known = candidates[counts[candidates] > 0]
        if len(known):
            rows = np.concatenate([self._library.rows[starts[at] : starts[at + 1]] for at in known])
            found = rows.astype(np.float32) @ self._meanings.T
            ends = np.cumsum(counts[known])
            first = ends - counts[known]
            best = np.maximum.reduceat(found, first, axis=0)
            second = np.minimum(first + 1, ends - 1)
            main = np.maximum(found[first], found[second]).max(1)
            self.cosines = {int(at): best[i] for i, at in enumerate(known)}
            self.main = {int(at): float(main[i]) for i, at in enumerate(known)}
        fifth = np.zeros(self._meanings.shape[0], np.float32)
        if len(known) >= 5:
            fifth = np.sort(np.stack(list(self.cosines.values())), axis=0)[-5]
        self.fifth = np.maximum(fifth, self.mean + self.spread)

    def hopeful(self, candidates: np.ndarray, by_words: np.ndarray) -> list[int]:
        """The candidates that share words or are near enough."""
        held = set(by_words.tolist())
        return [
            int(at)
            for at in candidates
            if int(at) in held or float(self.cosines[int(at)].max()) >= HOPELESS
        ]


def _judge(
    at: int,
    wish: Wish,
    library: Library,
    said: dict[str, float],
    near: _Nearness,
    spoken: str,
) -> Evidence:
    facts = library.words(at)
    values: dict[str, float] = dict.fromkeys(FEATURES, 0.0)
    shared = {
        word: telling * facts.weights[word]
        for word, telling in said.items()
        if word in facts.weights and telling > 0
    }
    piece = -1
    cosines = near.cosines.get(at)
    by_words = [_coverage(piece.words, shared, said) for piece in wish.pieces]
    if cosines is not None and len(cosines):
        piece = int(cosines.argmax())
        values["known"] = 1.0
        values["near"] = float(cosines[piece])
        values["near_main"] = near.main[at]
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
        own = [said[word] for word in shared if word in facts.identity]
        values["in_name"] = max(own, default=0.0)
    values["named"] = max((_share(names, said) for names in facts.own_names), default=0.0)
    codes = [said[w] for w in facts.identity if w in said and not is_known(w)]
    values["code_word"] = max(codes, default=0.0)
    trigger, values["trigger"] = _trigger(facts.phrases, spoken, library)
    found = _terms(facts.strong, facts.weak, wish, library)
    for name, telling in found.items():
        feature = "same_thing" if wish.terms[name].term.kind == "thing" else "same_style"
        values[feature] = max(values[feature], telling)
    terms = tuple(sorted(found, key=lambda name: (-found[name], name)))
    asked = wish.style_terms
    if asked and facts.kind == "style":
        mine = {name for name in facts.strong | facts.weak if name in STYLE_NAMES}
        values["other_style"] = float(bool(mine) and not mine & asked)
    if piece >= 0:
        values["aside"] = float(wish.pieces[piece].aside)
        values["kind_fits"] = float(wish.pieces[piece].role == facts.kind)
    if facts.one_of_a_kind:
        rare = [word for names in facts.own_names for word in names if rarity(word) > 0.75]
        values["unnamed_person"] = float(not any(word in said for word in rare))
    if (
        values["known"]
        and max(values["rarest"], values["same_style"], values["same_thing"]) < SLIGHT
    ):
        values["alone"] = 1.0
        values["alone_near"] = values["near_main"]
    ordered = sorted(shared, key=lambda word: (-shared[word], word))
    return Evidence(at, values, piece, tuple(ordered), trigger, terms)


def _share(names: frozenset[str], said: dict[str, float]) -> float:
    total = sum(rarity(word) for word in names)
    return sum(rarity(word) for word in names if word in said) / total if total else 0.0


def _coverage(piece: Sequence[str], shared: dict[str, float], said: dict[str, float]) -> float:
    total = sum(said.get(word, 0.0) for word in piece)
    return sum(shared.get(word, 0.0) for word in piece) / total if total > 0.3 else 0.0


def _spoken(wish: Wish) -> str:
    """All its words in one form, also fillers, with a space before and after each."""
    return f" {' '.join(words(wish.text))} "


def _trigger(
    phrases: Sequence[tuple[str, ...]], spoken: str, library: Library
) -> tuple[str, float]:
    best = ("", 0.0)
    for phrase in phrases:
        text = " ".join(phrase)
        if text and f" {text} " in spoken:
            value = max(library.telling(word) for word in phrase)
            if value > best[1]:
                best = (text, value)
    return best


def _terms(
    strong: frozenset[str], weak: frozenset[str], wish: Wish, library: Library
) -> dict[str, float]:
    """Terms in common -> how telling each is."""
    found: dict[str, float] = {}
    for name in wish.terms:
        if name in strong or name in weak:
            telling = max((library.telling(word) for word in name.split()), default=0.0)
            found[name] = telling * (1.0 if name in strong else 0.7)
    return found
