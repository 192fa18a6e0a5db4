"""The trigger word: one made-up word, from the name, that a prompt can call the LoRA by.

The rule, for "Mimi the cat":
1. The name's words in plain Latin letters, without those that say nothing: mimi, cat.
2. Written as one: mimicat. The parts stay readable, for people and for text encoders, which cut
   a rare word into known pieces. If it is longer than 12 letters, each of at most three words is
   cut after a syllable: "grandmother's garden" is grangarden.
3. It must be rare: no word of English as the language model knows them, nothing that the starter
   was taught to draw, no term of art, no word that many LoRAs share, no trigger of another LoRA.
   If it is not, it gets an ending: "Fox" is foxzu, and if that is taken, foxvi.
4. One word alone gets an ending in any case, unless there is a digit in it: no list holds all the
   names that models have seen ("Whiskers", "Gandalf"). Then it is whiskerszu; "m1mi" stays.

Captions that came with the pictures and nearly all begin with the same rare word have a trigger
already: it is kept, for whoever wrote it there wants it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache

from ..catalog.words.art_words import TERMS
from ..catalog.words.word_forms import GENERIC, STOPWORDS, is_known, plain, stem
from ..starter.concepts import concepts

LONGEST = 12
"""Letters of a trigger without its ending."""

_SHORTEST = 4
_WORDS = 3
_ENDINGS = ("zu", "vi", "ko", "ra", "xo", "mi", "ku", "ze", "yo", "na")
_SYLLABLE_END = re.compile(r"[aeiouy][^aeiouy]$")
_OWN_TRIGGER_SHARE = 0.8
_FEWEST_CAPTIONS = 3
_FIRST_TAG = re.compile(r"^\s*([^\s,;.:]{3,24})(?=[\s,;.:]|$)")
_NOTHING = frozenset("lora style model trained training".split())
# Letters that no accent can be taken from.
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "đ": "d", "ł": "l", "þ": "th"})


def trigger_for(name: str, taken: Collection[str] = ()) -> str:
    """The trigger of a LoRA of that name; `taken`: triggers of others, in any case."""
    others = {other.lower().strip() for other in taken}
    words = _words(name)
    root = _one_word(words) or _from_hash(name)
    alone = words == [root] and root.isalpha()
    for word in _with_endings(root):
        if alone and word == root:
            continue
        if len(word) >= _SHORTEST and is_rare(word) and word not in others:
            return word
    raise AssertionError("endings never run out")


def trigger_of(captions: Collection[str]) -> str | None:
    """The trigger that captions already begin with, as it is written there; None without one."""
    if len(captions) < _FEWEST_CAPTIONS:
        return None
    firsts = Counter(found[1] for caption in captions if (found := _FIRST_TAG.match(caption)))
    if not firsts:
        return None
    word, count = firsts.most_common(1)[0]
    if count < _OWN_TRIGGER_SHARE * len(captions):
        return None
    return word if is_rare(word.lower()) else None


def is_rare(word: str) -> bool:
    """Whether a word in lower case means nothing yet to models or to the catalog."""
    forms = {word, stem(word), *_stems(word)}
    return not any(
        form in STOPWORDS or form in GENERIC or is_known(form) or form in _meant() for form in forms
    )


def _words(name: str) -> list[str]:
    """Its words in plain Latin letters and digits, without those that say nothing."""
    lowered = plain(name).translate(_LETTERS)
    latin = unicodedata.normalize("NFKD", lowered).encode("ascii", "ignore").decode()
    found = re.findall(r"[a-z0-9]+", latin.replace("'s ", " ").replace("'", ""))
    telling = [word for word in found if word not in STOPWORDS and word not in _NOTHING]
    return telling or [word for word in found if len(word) > 2]


def _one_word(words: list[str]) -> str:
    joined = "".join(words)
    if len(joined) > LONGEST:
        kept = words[:_WORDS]
        joined = "".join(_cut(word, LONGEST // len(kept)) for word in kept)
    # A word of digits alone is a number to every text encoder.
    return joined if re.search(r"[a-z]", joined) else ""


def _cut(word: str, most: int) -> str:
    """At most that long, cut behind a syllable if there is one."""
    if len(word) <= most:
        return word
    ends = (word[:end] for end in range(most, 2, -1))
    return next((part for part in ends if _SYLLABLE_END.search(part)), word[:most])


def _with_endings(root: str) -> Iterator[str]:
    yield root
    for ending in _ENDINGS:
        yield root + ending
    for first in _ENDINGS:
        for second in _ENDINGS:
            yield root + first + second
    number = 2
    while True:
        yield f"{root}{_ENDINGS[0]}{number}"
        number += 1


def _from_hash(name: str) -> str:
    """A word that can be spoken, for names in other scripts; the same for the same name."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return "".join(
        "bdfgklmnprstvz"[a % 14] + "aeiou"[b % 5]
        for a, b in zip(*[iter(digest[:6])] * 2, strict=True)
    )


def _stems(word: str) -> Iterable[str]:
    """The word without the endings of English: "snowboarder" is no rare word."""
    for ending in ("ing", "ers", "er", "ed", "ly", "ness", "ish"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            cut = word.removesuffix(ending)
            yield cut
            yield cut + "e"


@cache
def _meant() -> frozenset[str]:
    """Words of the starter's concepts and of the glossary of art, and these written as one."""
    phrases = [phrase for concept in concepts() for phrase in (concept.label, *concept.words)]
    phrases += [phrase for term in TERMS for phrase in (term.name, *term.same)]
    found: set[str] = set()
    for phrase in phrases:
        parts = re.findall(r"[a-z0-9]+", plain(phrase))
        found |= {*parts, *(stem(part) for part in parts), "".join(parts)}
    return frozenset(found)
