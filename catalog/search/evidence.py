"""What speaks for a card, given a wish: a handful of numbers and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..words import glossary
from ..words.art_words import STYLE_NAMES
from ..words.word_forms import is_code, is_known, rarity, root, words
from .parsed_prompt import Wish
from .search_index import Library
from .similarity import Nearness

if TYPE_CHECKING:
    import numpy as np

    from ..words.card_words import CardWords

FEATURES = (
    "near",  # the best cosine between a piece of the wish and a text of the card
    "near_main",  # ... and its name or description alone, not its triggers and tags
    "stands_out",  # ... in spreads above the family's average for that piece, / 10, at most 1
    "lead",  # ... above the fifth best card for that piece
    "first",  # ... above the best other card for any piece (below it: negative)
    "whole",  # the cosine between the whole wish and the nearest text of the card
    "whole_first",  # ... above the best other card
    "whole_out",  # ... in spreads above the family's average, / 10, at most 1
    "both",  # the cosine with the whole wish and half of that with the nearest piece
    "both_first",  # ... above the best other card
    "unusual",  # the cosine with the whole wish above that of the nearest everyday wish
    "means",  # how likely a part of the wish means one of the card's terms
    "described",  # words that the glossary describes the card's terms with, by how rare they are
    "said_share",  # how much of the best piece's words the card holds
    "rarest",  # how telling the most telling word in common is
    "in_name",  # the same, of the words of name and triggers alone
    "named",  # share of its name, or of its first trigger, that the wish says
    "unsaid",  # how telling the most telling word of a subject's name is that the wish lacks
    "code_word",  # a word of its name or triggers that English lacks, by how telling it is
    "typed",  # a whole trigger in the wish that holds a made-up word
    "trigger",  # a whole trigger in the wish, by how telling it is
    "same_style",  # a style or technique of the glossary in common, by how telling it is
    "plain_style",  # the same, of name, triggers and tags, called by its usual name
    "same_thing",  # a thing of the glossary in common, by how telling it is
    "other_style",  # the wish names a style, and the card other ones only
    "kind_fits",  # the piece asks for the kind of thing that the card is
    "aside",  # the best piece is an aside of the wish
    "called",  # the card is of somebody or something with a name, which the wish says
    "unnamed_person",  # ... which the wish does not say
    "alone",  # no word and no term in common: by meaning alone
    "known",  # whether the card's meaning is known
)

BY_MEANING = 40
BY_WORDS = 30
ELSEWHERE = 8
COMMON_WORD = 0.25
"""A word that at least this share of the library's cards hold finds no candidates."""
USUAL_SECOND = {"first": 0.3, "whole_first": 0.25, "both_first": 0.4}
"""How near the best other card is believed to be at least, also where there is none."""
CODE = 0.9
"""A made-up trigger word that the wish holds tells at least so much, however many cards have it."""
MOST_OF_A_NAME = 0.7
"""Share of a name of common words that somebody says who means it."""
SLIGHT = 0.3
"""Words in common that tell less than this count as none."""


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
    near = Nearness(library, stretch, places, meanings, len(wish.pieces))
    candidates = np.union1d(by_words, near.best(BY_MEANING))
    near.measure(candidates)
    spoken = _spoken(wish)
    found = [
        _judge(int(at), wish, library, said, near, spoken)
        for at in near.hopeful(candidates, by_words)
    ]
    _longest_trigger(found)
    _compare(found, near, library)
    return found


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
    near = Nearness(library, stretch, places[:0], None, len(wish.pieces))
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


def _judge(
    at: int,
    wish: Wish,
    library: Library,
    said: dict[str, float],
    near: Nearness,
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
        values["whole"] = near.whole[at]
        values["both"] = near.both[at]
        values["unusual"] = near.whole[at] - near.usual
        values["means"] = near.means(facts.strong | facts.weak)
        values["whole_out"] = min(
            1.0, max(0.0, float((near.whole[at] - near.mean[-1]) / near.spread[-1] / 10))
        )
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
    if facts.kind == "subject" and values["in_name"]:
        lacking = (rarity(word) for word in facts.title.split() if word not in said)
        values["unsaid"] = max((word for word in lacking), default=0.0)
    codes = [said[w] for w in facts.identity if w in said and not is_known(w)]
    values["code_word"] = max(codes, default=0.0)
    trigger, values["trigger"] = _trigger(facts.phrases, spoken, library)
    if any(is_code(word) for word in trigger.split()):
        values["typed"] = 1.0
    found = _terms(facts.strong, facts.weak, wish, library)
    for name, telling in found.items():
        feature = "same_thing" if wish.terms[name].term.kind == "thing" else "same_style"
        values[feature] = max(values[feature], telling)
        if feature == "same_style" and name in facts.strong and not wish.terms[name].other_word:
            values["plain_style"] = max(values["plain_style"], telling)
    terms = tuple(sorted(found, key=lambda name: (-found[name], name)))
    asked = wish.style_terms
    if asked and facts.kind == "style":
        mine = {name for name in facts.strong | facts.weak if name in STYLE_NAMES}
        if mine and not mine & asked:
            values["other_style"] = near.means(asked) if near.known else 1.0
    if piece >= 0:
        values["aside"] = float(wish.pieces[piece].aside)
        values["kind_fits"] = float(wish.pieces[piece].role == facts.kind)
    if facts.one_of_a_kind:
        values["called"] = _called(facts.own, said, spoken)
        values["unnamed_person"] = float(not (values["called"] or values["typed"]))
    elif facts.kind == "subject" and _unnamed(facts, shared, said, spoken):
        values["unnamed_person"] = 1.0
    if facts.described:
        told = {root(word): rarity(word) for word in wish.words}
        strange = sum(rare**2 for word, rare in told.items() if word in facts.described)
        values["described"] = min(1.0, strange / 2)
    if (
        values["known"]
        and max(values["rarest"], values["same_style"], values["same_thing"]) < SLIGHT
    ):
        values["alone"] = 1.0
    ordered = sorted(shared, key=lambda word: (-shared[word], word))
    return Evidence(at, values, piece, tuple(ordered), trigger, terms)


def _longest_trigger(found: Sequence[Evidence]) -> None:
    """Who types "ohwx man" means no card whose trigger is "ohwx" alone."""
    typed = [one for one in found if one.values["typed"]]
    for one in typed:
        if any(
            f" {one.trigger} " in f" {other.trigger} "
            for other in typed
            if other.trigger != one.trigger
        ):
            one.values["typed"] = 0.0


def _compare(found: Sequence[Evidence], near: Nearness, library: Library) -> None:
    """How far each card is ahead of the best other one; versions of a card are no others."""
    if not near.known:
        return
    for values, feature in (
        ({one.at: one.values["near"] for one in found if one.at in near.cosines}, "first"),
        ({one.at: near.whole[one.at] for one in found if one.at in near.whole}, "whole_first"),
        ({one.at: near.both[one.at] for one in found if one.at in near.both}, "both_first"),
    ):
        ordered = sorted(values, key=lambda at: (-values[at], at))[:4]
        for one in found:
            if one.at in values:
                mine = library.words(one.at)
                others = (
                    values[at]
                    for at in ordered
                    if at != one.at and library.words(at).title != mine.title
                )
                usual = USUAL_SECOND[feature]
                ahead = values[one.at] - max(next(others, usual), usual)
                one.values[feature] = max(-0.2, min(0.3, ahead))


def _share(names: frozenset[str], said: dict[str, float]) -> float:
    total = sum(rarity(word) for word in names)
    return sum(rarity(word) for word in names if word in said) / total if total else 0.0


def _unnamed(
    facts: CardWords, shared: Mapping[str, float], said: dict[str, float], spoken: str
) -> bool:
    """Whether the wish shares with a card only common words that its author lists one by one as
    triggers ("zed, man, sword, photo"), and not what it is called by.

    Called by: a made-up name that is a trigger, too; or, of a name of several words that are all
    triggers ("Ornate Vorpal Blade"), most of them.
    """
    title = set(facts.title.split())
    single = {p[0] for p in facts.phrases if len(p) == 1 and is_known(p[0])}
    if len(single - title) < 2 or not shared:
        return False
    triggers = {word for phrase in facts.phrases for word in phrase}
    names = {word for word in title & triggers if len(word) > 1 and not is_known(word)}
    joined = spoken.replace(" ", "")
    if any(name in joined for name in names):
        return False
    if names and set(shared) <= single - title:
        return True
    several = len(title) > 1 and title <= triggers
    return several and set(shared) <= single and _share(frozenset(title), said) <= MOST_OF_A_NAME


def _called(own: frozenset[str], said: dict[str, float], spoken: str) -> float:
    """How telling the names are that the wish says; names of common words ("Captain Kestrel",
    "Barn Owl Queen") only count if most of them are said.
    """
    joined = spoken.replace(" ", "")
    names = [word for word in own if word in said or (not is_known(word) and word in joined)]
    if any(not is_known(word) for word in names) or _share(own, said) > MOST_OF_A_NAME:
        return max(rarity(word) for word in names)
    return 0.0


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
            if any(is_code(word) for word in phrase):
                value = max(value, CODE) + 0.001 * len(phrase)
            if value > best[1]:
                best = (text, value)
    return best[0], min(1.0, best[1])


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
