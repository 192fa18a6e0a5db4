"""Words of names, tags and wishes: cut, brought to one form, and how rare each is."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import pairwise
from math import log

from ...language.encoder import TOKENIZER_FILE
from .art_words import TERMS


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STOPWORDS = _set(
    """
    a an and are as at be but by for from has have he her his i if in into is it its like made me
    more my no not of off on only or our out over please she so some such than that the their them
    then there these they this to under up very was we were what which while who will with without
    you your between behind beside through above below near around against among across seen looks
    look looking should would could can want wants draw drawn draws show shows picture image give
    something anything where when how use used uses one two three der die das den dem des ein eine
    einer einem einen eines und oder mit ohne auf am im in an als von vom zu zum zur wie bei aus für
    fur über uber unter ist sind vor nach gemalt gezeichnet le la les un une des du de d l et ou
    avec sans sur sous dans en au aux a pour par comme est el los las una uno unos unas y o con sin
    sobre bajo del al para por como es su se junto il lo gli di da nel nella che
    """
)
"""Words that say nothing about a picture, in the languages of `art_words`."""

FILE_NOISE = _set(
    """
    lora lycoris locon loha lokr dora safetensors sdxl xl sd sd1 sd15 sd35 sd2 pdxl pony ponyxl
    illustrious illu ilxl il noobai noob nai flux flux1 fluxdev dev schnell final epoch step steps
    ep rank dim alpha fp16 bf16 test new version last checkpoint by model trained training
    """
)
"""Parts of file names that tell of the file, not of what it draws."""

GENERIC = _set(
    """
    1girl 1boy 1girls 2girls 2boys 1other solo girl boy woman man person people masterpiece best
    quality high ultra hd uhd 4k 8k hdr highres absurdres amazing beautiful style styles art artwork
    artistic aesthetic photo picture image looking viewer detailed detail realistic realism score
    source rating ohwx tok sks character original oc concept anime cartoon digital painting drawing
    illustration traditional media simple background backgrounds standing sitting smile long short
    hair eyes nice good cool perfect look effect tool general misc mix merge portrait view bg sky
    scene thing
    """
)
"""Words that so many LoRAs share that one of them alone tells little."""

_NOISE = re.compile(
    r"(?!\d0s$|3d$)(?:(?:v|ver|e|ep|step|epoch)?\d+(?:[.p]\d+)*[a-z]{0,2}|rev\d+|[a-z])"
)
_DECADE = re.compile(r"(?<=[a-z]{4})(?=\d0s$)")
_FAMILY_END = re.compile(r"(?:xl|sdxl|flux|pony|lora)$")
_NUMBER_END = re.compile(r"(?<=[a-z]{2})\d+$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LATIN_MARKS = re.compile(r"(?<=[a-z])[\u0300-\u036f]+")
_FIRST_WORD = 1996
"""Where whole words begin in the tokenizer's list ("the"); about as frequent as early in it."""

_SPELLINGS = {"colour": "color", "grey": "gray", "armour": "armor", "theatre": "theater",
              "watercolour": "watercolor", "coloured": "colored", "colouring": "coloring",
              "mould": "mold", "jewellery": "jewelry", "centre": "center", "aeroplane": "airplane",
              "tyre": "tire", "cosy": "cozy"}  # fmt: skip


def plain(text: str) -> str:
    """Lower case, without accents, in compatible letters."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _LATIN_MARKS.sub("", folded)).replace("’", "'")


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """One form for singular, plural and both spellings of English."""
    word = word.removesuffix("'s").replace("'", "")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "os")):
        if word.endswith("ies") and len(word) > 4:
            word = word[:-3] + "y"
        elif word.endswith(("ches", "shes", "xes", "sses")):
            word = word[:-2]
        else:
            word = word[:-1]
    return _SPELLINGS.get(word, word)


@lru_cache(maxsize=50_000)
def root(word: str) -> str:
    """The word without an English ending: "folded", "folding" and "folds" are one."""
    for ending in ("ings", "ing", "edly", "ed", "ers", "er", "ly", "en", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) > 2:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def raw_words(text: str) -> list[str]:
    """The words of a text in plain letters, not yet in one form."""
    return _WORD.findall(plain(text if text.islower() else _CAMEL.sub(" ", text)))


def words(text: str) -> list[str]:
    """The words of a text in their order, in one form; letters of Chinese and Japanese in pairs."""
    return list(_words(text))


@lru_cache(maxsize=50_000)
def _words(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for raw in raw_words(text):
        if CJK.search(raw):
            found += [raw[i : i + 2] for i in range(max(len(raw) - 1, 1))]
        else:
            found.append(stem(raw))
    return tuple(found)


def content_words(text: str) -> list[str]:
    """`words` without those that say nothing about a picture."""
    return list(_content_words(text))


@lru_cache(maxsize=50_000)
def _content_words(text: str) -> tuple[str, ...]:
    return tuple(word for word in _words(text) if raw_content(word))


def says_nothing(text: str) -> bool:
    """Whether a text holds only words that many LoRAs share ("1girl, masterpiece, style")."""
    return all(word in GENERIC or word in STOPWORDS or word.isdigit() for word in words(text))


@lru_cache(maxsize=50_000)
def mark_words(mark: str) -> tuple[str, ...]:
    """`content_words` of a tag or name and its neighbours written as one; kept, as tags recur."""
    found = content_words(mark)
    return (*found, *joined_pairs(found))


def raw_content(word: str) -> bool:
    """Whether a word (as `words` gives it) says something about a picture."""
    return word not in STOPWORDS and (len(word) > 1 or CJK.match(word) is not None)


def clean_name(name: str) -> str:
    """A file's name as words: "inkwash_v3-sdxl" is "ink wash". Empty if nothing is left."""
    found = _WORD.findall(_CAMEL.sub(" ", name).replace("_", " "))
    return " ".join(part for part in map(_clean_part, found) if part)


@lru_cache(maxsize=100_000)
def _clean_part(raw: str) -> str:
    low = _DECADE.sub(" ", plain(raw))
    if low in FILE_NOISE or _NOISE.fullmatch(low):
        return ""
    low = _FAMILY_END.sub("", low) or low
    return "" if low in FILE_NOISE else split_compound(_NUMBER_END.sub("", low))


def version_of(name: str) -> tuple[float, ...]:
    """Numbers of a name's version: "inkwash_v1.5-000012" is (1.5, 12.0)."""
    spaced = name.replace("_", " ").replace("-", " ")
    return tuple(float(found) for found in re.findall(r"(?:\bv|\be|\b)(\d+(?:\.\d+)?)\b", spaced))


@lru_cache(maxsize=100_000)
def split_compound(word: str) -> str:
    """ "inkwash" is "ink wash": two known words written as one; else the word as it is."""
    known = _ranks()
    if len(word) < 6 or any(w in known or w in _art() for w in (word, stem(word))):
        return word
    best: tuple[int, str] | None = None
    for cut in range(3, len(word) - 2):
        left, right = word[:cut], word[cut:]
        if left in known and stem(right) in known:
            worst = max(known[left], known[stem(right)])
            if worst < 16_000 and (best is None or worst < best[0]):
                best = (worst, f"{left} {right}")
    return best[1] if best else word


@lru_cache(maxsize=200_000)
def rarity(word: str) -> float:
    """How rare a word is in English: 0 for the commonest, 1 for one that is not in the list."""
    if word in STOPWORDS:
        return 0.0
    value = 1.0
    rank = _ranks().get(word)
    if rank is not None:
        value = log(rank + 2) / log(len(_ranks()) + 2)
    if word in GENERIC:
        value *= 0.35
    return value


def is_known(word: str) -> bool:
    """Whether it is a common word of English, no made-up one or rare name."""
    return word in _ranks()


def is_code(word: str) -> bool:
    """Whether it is a word that somebody made up to call a LoRA ("ohwx", "p1ckl3")."""
    if word in _CODES:
        return True
    said = word.isascii() and any(letter.isalpha() for letter in word)
    return said and not (is_known(word) or word in GENERIC or word in _art_words())


_CODES = _set("ohwx sks tok zwx")


@cache
def _art_words() -> frozenset[str]:
    """All words of the glossary, in any language."""
    return frozenset(
        stem(word)
        for term in TERMS
        for phrase in (term.name, *term.same, *term.foreign)
        for word in raw_words(phrase)
    )


@cache
def _ranks() -> dict[str, int]:
    """Whole words of MiniLM's tokenizer -> place in its list, which is sorted by frequency."""
    vocabulary = json.loads(TOKENIZER_FILE.read_text(encoding="utf-8"))["model"]["vocab"]
    return {
        word: place - _FIRST_WORD
        for word, place in vocabulary.items()
        if place >= _FIRST_WORD and len(word) > 1 and word.isalpha() and word.isascii()
    }


@cache
def _art() -> frozenset[str]:
    """Single words of the glossary: names of their own, never cut in two."""
    return frozenset(
        stem(plain(word))
        for term in TERMS
        for phrase in (term.name, *term.same)
        for word in phrase.split()
        if len(word) > 5 and phrase.count(" ") == 0
    )


def joined_pairs(tokens: Iterable[str]) -> list[str]:
    """Neighbours written as one word, so that "ink wash" meets "inkwash"."""
    return [a + b for a, b in pairwise(tokens) if len(a) > 2 and len(b) > 2]
