"""Finds the terms of the glossary in a text, and says foreign ones in English."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from .art_words import TERMS, Term
from .word_forms import CJK, plain, raw_words, stem


@dataclass(frozen=True)
class Found:
    """A term in a text: `said` as written there (in plain letters), `foreign` if not English."""

    term: Term
    said: str
    foreign: bool

    @property
    def other_word(self) -> bool:
        """Whether it is said with another word than the glossary's main one."""
        return [stem(word) for word in raw_words(self.said)] != [
            stem(word) for word in raw_words(self.term.name)
        ]


@dataclass(frozen=True)
class _Entry:
    term: Term
    length: int
    foreign: bool


def terms_in(text: str) -> list[Found]:
    """The glossary's terms in a text, the longest reading first come; each term once."""
    return list(_scan(text)[0])


@lru_cache(maxsize=50_000)
def names_in(text: str) -> frozenset[str]:
    """Names of the terms in a text."""
    return frozenset(found.term.name for found in _scan(text)[0])


def meaning_of(name: str) -> str:
    """What a term is, in a sentence; empty if the glossary does not tell."""
    return _by_name()[name].meaning


@cache
def _by_name() -> dict[str, Term]:
    return {term.name: term for term in TERMS}


@lru_cache(maxsize=2_000)
def words_for(name: str) -> frozenset[str]:
    """All words of all English ways to say a term, in one form."""
    term = _by_name()[name]
    return frozenset(stem(word) for phrase in (term.name, *term.same) for word in raw_words(phrase))


def in_english(text: str) -> str:
    """The text with the glossary's foreign words in English; the same text if it has none."""
    found, spoken = _scan(text)
    return spoken if any(one.foreign for one in found) else text


@lru_cache(maxsize=50_000)
def _scan(text: str) -> tuple[tuple[Found, ...], str]:
    index = _index()
    tokens = raw_words(text)
    stems = [stem(token) for token in tokens]
    found: dict[str, Found] = {}
    spoken: list[str] = []
    place = 0
    while place < len(tokens):
        entries = _longest(index, stems, place)
        if entries:
            first = entries[0]
            said = " ".join(tokens[place : place + first.length])
            for entry in entries:
                found.setdefault(entry.term.name, Found(entry.term, said, entry.foreign))
            spoken.append(first.term.name if first.foreign else said)
            place += first.length
            continue
        token = tokens[place]
        if CJK.search(token):
            inside = _inside(token)
            spoken += [entry.name for _, entry in inside] or [token]
            for said, term in inside:
                found.setdefault(term.name, Found(term, said, True))
        else:
            spoken.append(token)
        place += 1
    return tuple(found.values()), " ".join(spoken)


def _longest(
    index: dict[str, list[tuple[tuple[str, ...], _Entry]]], stems: list[str], at: int
) -> list[_Entry]:
    """All terms that the longest known phrase here may mean: "van gogh" paints thickly, too."""
    found: list[_Entry] = []
    for phrase, entry in index.get(stems[at], ()):
        if found and entry.length < found[0].length:
            break
        if tuple(stems[at : at + len(phrase)]) == phrase:
            found.append(entry)
    return found


def _inside(run: str) -> list[tuple[str, Term]]:
    """Terms written within letters of Chinese or Japanese, which have no spaces; longest first."""
    found: list[tuple[int, str, Term]] = []
    rest = run
    for written, term in _cjk():
        at = rest.find(written)
        if at >= 0:
            found.append((at, written, term))
            rest = rest.replace(written, "\0" * len(written))
    return [(written, term) for _, written, term in sorted(found, key=lambda one: one[0])]


@cache
def _index() -> dict[str, list[tuple[tuple[str, ...], _Entry]]]:
    index: dict[str, list[tuple[tuple[str, ...], _Entry]]] = {}
    for term in TERMS:
        for phrase, foreign in _phrases(term):
            if CJK.search(phrase):
                continue
            stems = tuple(stem(word) for word in raw_words(phrase))
            entry = _Entry(term, len(stems), foreign)
            index.setdefault(stems[0], []).append((stems, entry))
            if len(stems) == 2 and min(map(len, stems)) > 2:  # "ink wash" is also "inkwash"
                joined = "".join(stems)
                index.setdefault(joined, []).append(((joined,), _Entry(term, 1, foreign)))
    for entries in index.values():
        entries.sort(key=lambda pair: -len(pair[0]))
    return index


@cache
def _cjk() -> list[tuple[str, Term]]:
    written = [(plain(p), term) for term in TERMS for p in term.foreign if CJK.search(p)]
    return sorted(written, key=lambda pair: -len(pair[0]))


def _phrases(term: Term) -> Iterable[tuple[str, bool]]:
    yield term.name, False
    yield from ((phrase, False) for phrase in term.same)
    yield from ((phrase, True) for phrase in term.foreign)
