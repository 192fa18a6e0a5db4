"""Which language a wish is in, and the wish in English, word by word.

The encoder of meanings knows English only. `dictionary/languages.txt` holds the words for everyday
things and for art in thirteen languages; endings are met by their beginnings, and German and Dutch
compounds by their parts. What is not in it stays as it was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from .word_forms import CJK, STOPWORDS, is_known, plain, raw_words

WORDS_FILE = Path(__file__).parent / "dictionary" / "languages.txt"

LANGUAGES = ("de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja", "zh", "tr", "uk", "ko")

_SMALL: dict[str, frozenset[str]] = {
    language: frozenset(plain(words).split())
    for language, words in {
        "en": "a an the of in on with and at is are as by for from to his her its my our into made"
        " under over like out without no not wearing",
        "de": "der die das den dem des ein eine einen einem einer eines und mit auf im am in an von"
        " vom zum zur wie als aus bei für über unter vor nach ist sind beim ohne mein meine unser"
        " bitte mach so dieses diese dieser meiner meinem meinen meines"
        " neben hinter zwischen gegen durch",
        "fr": "le la les un une des du de d l et avec dans sur sous en au aux comme par pour qui"
        " est sont son sa mon ma mes ce cette devant derrière sans très fait façon",
        "es": "el la los las un una unos unas de del y con en sobre bajo por para como al su que"
        " es está mi esta este sin hecho estilo muy",
        "it": "il lo la i gli le un uno una di del della dei delle e con in nel nella sul sulla su"
        " per come da al alla che mia mio questa sotto fatto stile",
        "pt": "o a os as um uma uns umas de do da dos das e com em no na nos nas por para como"
        " sob sobre ao que minha meu esta feito feita pelo pela estilo",
        "nl": "de het een van en met op in aan bij als uit voor over onder naar is zijn mijn onze"
        " tussen door gemaakt stijl",
        "pl": "i w we z ze na do od po pod nad przy jak o za przez dla jest są mój moja jako obok"
        " stylu się tego tej ten ta",
        "ru": "и в во с со на из под над у о об к по за для как при от до мой моя это в стиле",
        "tr": "ve bir bu şu ile için de da gibi içinde üzerinde altında olan olarak tarzında tarzı"
        " stilinde mi çok en benim bizim",
        "uk": "і й та в у на з із зі від до під над по про за для як це моя мій наш що стилі",
    }.items()
}
_LATIN = ("de", "fr", "es", "it", "pt", "nl", "pl", "tr")
_COMPOUNDS = ("de", "nl")
_KANA = range(0x3040, 0x3100)
_HAN = re.compile(r"[\u3400-\u9fff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_UKRAINIAN = re.compile(r"[іїєґ]|\b(?:та|з|що|як)\b", re.IGNORECASE)
"""What Russian does not have."""
LEAST_BEGINNING = 4
"""Letters at the beginning that two forms of a word share at least, ..."""
SAME_SHARE = 0.65
"""... and this share of the longer one; in Turkish, which adds endings to endings, any."""
LEAST_STEM = 3
"""Letters that are left of a word without its ending, at least."""
_ENDINGS = {
    "de": ("er", "es", "en", "em", "e"),
    "nl": ("e",),
    "fr": ("es", "e", "s", "x"),
    "es": ("os", "as", "es", "o", "a", "s"),
    "it": ("o", "a", "i", "e"),
    "pt": ("os", "as", "o", "a", "s"),
    "pl": ("ego", "ej", "ych", "ym", "y", "a", "e", "i"),
    "ru": ("ый", "ий", "ой", "ая", "яя", "ое", "ее", "ые", "ие", "ую", "ом", "ем", "е", "у", "ы"),
    "uk": ("ий", "ій", "а", "я", "е", "є", "і", "ого", "ому"),
}
"""Endings that take each other's place; of each language the longest first."""
KOREAN_WORD = 3
"""Syllables of a word of one with its ending, at most."""


@dataclass(frozen=True)
class Said:
    """A word, or a few, of a wish (in plain letters) and its English; equal if unknown."""

    said: str
    english: str


@dataclass(frozen=True)
class _Lexicon:
    exact: dict[tuple[str, ...], str]
    by_first: dict[str, list[tuple[str, ...]]]
    by_beginning: dict[str, list[str]]


def language_of(text: str) -> str:
    """The likeliest language of a wish: "en", or one of `LANGUAGES`."""
    if any(ord(letter) in _KANA for letter in text):
        return "ja"
    if _HAN.search(text):
        return "zh"
    if _HANGUL.search(text):
        return "ko"
    tokens = raw_words(text)
    if any("\u0400" <= token[0] <= "\u04ff" for token in tokens) and _UKRAINIAN.search(text):
        return "uk"
    if any("\u0400" <= token[0] <= "\u04ff" for token in tokens):
        return "ru"
    english = sum(token in _SMALL["en"] for token in tokens)
    best = ("en", 0.0)
    for language in _LATIN:
        small = sum(token in _SMALL[language] for token in tokens)
        lexicon = _lexicon(language)
        own = sum((t,) in lexicon.exact and not is_known(t) and t not in STOPWORDS for t in tokens)
        strange = sum(len(t) > 3 and not is_known(t) for t in tokens)
        value = small + own + (0.25 * strange if own or small > english else 0)
        if (small or own) and value > max(best[1], english + 0.2 * (len(tokens) - strange)):
            best = (language, value)
    return best[0]


def in_english(text: str, language: str) -> tuple[Said, ...]:
    """A text of that language word by word; small words are left out."""
    if language == "en":
        return tuple(Said(token, token) for token in raw_words(text))
    found: list[Said] = []
    tokens = raw_words(text)
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if CJK.search(token):
            found += _run(token, language)
            place += 1
            continue
        length, english = _phrase(tokens, place, language)
        if length:
            found.append(Said(" ".join(tokens[place : place + length]), english))
        elif token not in _SMALL.get(language, frozenset()):
            found.append(Said(token, _one(token, language) or token))
        place += max(length, 1)
    return tuple(found)


def _phrase(tokens: list[str], place: int, language: str) -> tuple[int, str]:
    lexicon = _lexicon(language)
    for phrase in lexicon.by_first.get(tokens[place], ()):
        if tuple(tokens[place : place + len(phrase)]) == phrase:
            return len(phrase), lexicon.exact[phrase]
    return 0, ""


@lru_cache(maxsize=20_000)
def _one(token: str, language: str) -> str | None:
    """A word in English by its ending, its beginning, or the parts it is put together from."""
    lexicon = _lexicon(language)
    inflected = _with_other_ending(token, language)
    if inflected is not None:
        return inflected
    best: tuple[float, str] | None = None
    for form in lexicon.by_beginning.get(token[:LEAST_BEGINNING], ()):
        same = _beginning(token, form)
        share = same / max(len(token), len(form))
        if language == "tr" and same == len(form):
            share = max(share, SAME_SHARE)
        if share >= SAME_SHARE and (best is None or share > best[0]):
            best = (share, lexicon.exact[(form,)])
    if best is not None:
        return best[1]
    if language in _COMPOUNDS and len(token) > 7:
        for cut in range(len(token) - 3, 3, -1):
            first = lexicon.exact.get((token[:cut],)) or lexicon.exact.get(
                (token[:cut].rstrip("sn"),)
            )
            if first is None:
                continue
            last = token[cut:]
            second = lexicon.exact.get((last,)) or (_one(last, language) if len(last) > 3 else None)
            if second is not None or cut > 5:
                return " ".join(dict.fromkeys((first, second or "")).keys()).strip()
    return None


def _with_other_ending(token: str, language: str) -> str | None:
    """A short word, which has too little of a beginning: "roter" is "rot", "roja" is "rojo"."""
    exact = _lexicon(language).exact
    endings = _ENDINGS.get(language, ())
    for ending in endings:
        if not token.endswith(ending) or len(token) - len(ending) < LEAST_STEM:
            continue
        kept = token.removesuffix(ending)
        for other in ("", *endings):
            if (kept + other,) in exact:
                return exact[(kept + other,)]
        if language == "nl" and (f"{kept[:-1]}{kept[-2]}{kept[-1]}",) in exact:
            return exact[(f"{kept[:-1]}{kept[-2]}{kept[-1]}",)]
    return None


def _beginning(one: str, two: str) -> int:
    same = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        same += 1
    return same


def _run(run: str, language: str) -> list[Said]:
    """The known words in letters of Chinese or Japanese, which have no spaces, in their order."""
    found: list[tuple[int, Said]] = []
    rest = run
    for written, english in _written(language):
        at = rest.find(written)
        if language == "ko" and len(written) == 1 and (at or len(run) > KOREAN_WORD):
            continue  # a syllable is a word only with an ending, not within any other word
        while at >= 0:
            found.append((at, Said(written, english)))
            rest = rest[:at] + "\0" * len(written) + rest[at + len(written) :]
            at = rest.find(written)
    return [said for _, said in sorted(found, key=lambda one: one[0])]


@cache
def _written(language: str) -> list[tuple[str, str]]:
    lexicon = _lexicon(language)
    pairs = [(" ".join(phrase), english) for phrase, english in lexicon.exact.items()]
    return sorted(
        ((written, english) for written, english in pairs if CJK.search(written)),
        key=lambda pair: (-len(pair[0]), pair[0]),
    )


@cache
def _lexicon(language: str) -> _Lexicon:
    exact: dict[tuple[str, ...], str] = {}
    for english, forms in _table()[language]:
        for form in forms:
            tokens = tuple(raw_words(form))
            if tokens:
                exact.setdefault(tokens, english)
    by_first: dict[str, list[tuple[str, ...]]] = {}
    by_beginning: dict[str, list[str]] = {}
    for phrase in exact:
        by_first.setdefault(phrase[0], []).append(phrase)
        if len(phrase) == 1 and len(phrase[0]) > LEAST_BEGINNING:
            by_beginning.setdefault(phrase[0][:LEAST_BEGINNING], []).append(phrase[0])
    for phrases in by_first.values():
        phrases.sort(key=lambda phrase: -len(phrase))
    return _Lexicon(exact, by_first, by_beginning)


@cache
def _table() -> dict[str, list[tuple[str, list[str]]]]:
    table: dict[str, list[tuple[str, list[str]]]] = {language: [] for language in LANGUAGES}
    columns_of: list[str] = []
    for line in WORDS_FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            columns_of = line.strip("[]").split()
        elif line and not line.startswith("#"):
            english, *columns = (part.strip() for part in line.split(" | "))
            for language, column in zip(columns_of, columns, strict=True):
                table[language].append((english, [form.strip() for form in column.split("/")]))
    return table
