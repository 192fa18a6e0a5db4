"""Slips of the pen in a wish: "plauge doctor", "tarrot card"."""

from __future__ import annotations

import re
import string

from ..words import languages
from ..words.word_forms import is_code, is_known, rarity, raw_words, root, stem
from .search_index import Library

LEAST_LETTERS = 5
"""Shorter words have too many neighbours."""

LONG = 7
"""A wrong letter makes another word of a short one; in one as long as this it is a slip."""

_TOKEN = re.compile(rf"[A-Za-z]{{{LEAST_LETTERS},}}")


def respelled(prompt: str, library: Library) -> str:
    """The wish with words that nobody knows replaced by the one that the writer meant.

    Only words that are no English, no art term and on no card are looked at; what replaces them is
    one slip away (a letter lost, doubled, wrong, or two swapped) and is on some card.
    """
    if languages.language_of(prompt) != "en":
        return prompt
    return _TOKEN.sub(lambda match: _meant(match.group(), library) or match.group(), prompt)


def _meant(written: str, library: Library) -> str | None:
    word = stem(written.lower())
    if not is_code(word) or len(library.holders(word)) or _derived(word):
        return None
    if any(len(library.holders(part)) for part in raw_words(written)):
        return None
    near = {stem(one) for one in _one_slip_away(word) if one[0] == word[0]}
    found = [
        one
        for one in near
        if len(library.holders(one)) and len(one) >= LEAST_LETTERS and root(one) != root(word)
    ]
    return min(found, key=lambda one: (not is_known(one), rarity(one), one), default=None)


def _derived(word: str) -> bool:
    """Whether it is an English word with an ending ("mossy", "doodled")."""
    base = root(word)
    return any(is_known(base + end) for end in ("", "e", "y", base[-1:]))


def _one_slip_away(word: str) -> set[str]:
    letters = string.ascii_lowercase
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    lost = {a + letter + b for a, b in cuts for letter in letters}
    doubled = {a + b[1:] for a, b in cuts if b}
    wrong = set[str]()
    if len(word) >= LONG:
        wrong = {a + letter + b[1:] for a, b in cuts if b for letter in letters}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    return (lost | doubled | wrong | swapped) - {word}
