"""A wish read in the words that the starter was taught: what of it is known, and what is not.

By words alone, without a model of meanings; wishes in other languages are read through the
dictionary of everyday words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ..catalog.families.styles import STYLES as ALL_STYLES
from ..catalog.words import languages
from ..catalog.words.word_forms import CJK, is_known, plain, stem
from .concepts import COLORS, concepts

OTHER_WORDS_FILE = Path(__file__).with_name("other_words.txt")

Kind = Literal["thing", "colour", "free", "style", "number", "text", "small", "unknown"]

MOST_THINGS = 2
"""Things in one picture at most, as in the training pictures."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_ASIDE = re.compile(r"<[^<>]{0,200}>|:\s*-?\d+(?:\.\d+)?(?=\s*[)\]])|\bBREAK\b")
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]{1,80})[\"”“»]")
_BREAK = re.compile(r"[,;.|\n。、，()\[\]{}!?]")
_SMALL = frozenset(
    "a an the some of in on at by for from to into with without as is are was be that this these"
    " it and or under inside outside over through before after while during across along out up"
    " down off my your our his her their no not who which where when what i you he she we s d"
    " l".split()
)
_BETWEEN = frozenset("in on under inside into over through on-top riding wearing holding".split())
_COLOURS = frozenset(
    " ".join(COLORS).split()
    + "grey magenta cyan turquoise violet beige navy lime crimson scarlet maroon mint lavender"
    " cream ivory rosy reddish bluish greenish yellowish coral peach indigo khaki".split()
)
_NUMBERS = frozenset(
    "three four five six seven eight nine ten eleven twelve dozen several many few numerous"
    " hundreds thousands group herd flock crowd swarm pack pile stack row lots".split()
)
_TEXT = frozenset(
    "text letters lettering says saying typography caption slogan written words word title"
    " signature inscription font".split()
)
_STYLE_WORDS = frozenset("3d flat sticker cartoon comic toon die cut design die-cut".split())
_OWN_PLURAL = frozenset({"glasses", "eyeglasses"})
"""Plurals that are no more of the same in the singular."""

_AFTER_THEIR_NOUN = ("fr", "es", "it", "pt")
"""Languages whose colours stand behind what they belong to."""


@dataclass(frozen=True)
class Part:
    """A few words of a wish. `text`: in English. `label`: of what the starter was taught.

    `said`: as written. `where`: first and last place in the wish; None where it was translated.
    `begins`: a break, a small word or the beginning stands before it.
    """

    kind: Kind
    text: str
    said: str
    label: str = ""
    where: tuple[int, int] | None = None
    begins: bool = False


@dataclass(frozen=True)
class Reading:
    """A wish in parts. `language`: "en", or what it was translated from."""

    prompt: str
    language: str
    parts: tuple[Part, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What it asks for of what the starter was taught, each once."""
        return tuple(dict.fromkeys(part.label for part in self.parts if part.kind == "thing"))

    def said(self, kind: Kind) -> tuple[str, ...]:
        """The parts of that kind, as written."""
        return tuple(dict.fromkeys(part.said for part in self.parts if part.kind == kind))

    @property
    def unknown(self) -> tuple[str, ...]:
        """In English what is not known: neighbours are one."""
        runs: list[list[str]] = []
        before: Part | None = None
        for part in self.parts:
            if part.kind == "unknown":
                joined = before is not None and before.kind == "unknown" and not part.begins
                if joined:
                    runs[-1].append(part.text)
                else:
                    runs.append([part.text])
            before = part
        return tuple(dict.fromkeys(" ".join(run) for run in runs))

    @property
    def entangled(self) -> bool:
        """Whether one thing is to be in, on or under another, or to wear or hold it."""
        things = [at for at, part in enumerate(self.parts) if part.kind == "thing"]
        return any(
            part.text in _BETWEEN
            for first, second in pairwise(things)
            for part in self.parts[first:second]
            if not any(p.text in _BACKGROUND for p in self.parts[first:second])
        )


_BACKGROUND = frozenset({"background", "backdrop", "wall"})


@lru_cache(maxsize=2_000)
def read(prompt: str) -> Reading:
    """The wish in parts, in the language that leaves less of it unknown."""
    english = _read_english(prompt)
    unknown = [part for part in english.parts if part.kind == "unknown"]
    language = languages.language_of(prompt) if unknown else "en"
    if language == "en":
        return _in_all_but_name(english, [part.said for part in unknown]) or english
    foreign = _read_foreign(prompt, language)
    if _strangeness(foreign) >= _strangeness(english) and not CJK.search(prompt):
        return english
    return foreign


def _in_all_but_name(english: Reading, unknown: Sequence[str]) -> Reading | None:
    """A wish that might be English, if one language knows every word: "chat noir", "Bär".

    One common word of English alone is left as it is: a "pan" is no bread.
    """
    common = len(unknown) == 1 and unknown[0].isascii() and is_known(plain(unknown[0]))
    if not unknown or common or english.labels:
        return None
    for language in languages.LANGUAGES:
        reading = _read_foreign(english.prompt, language)
        if reading.labels and _strangeness(reading) == 0:
            return reading
    return None


def in_taught_words(reading: Reading) -> str:
    """The wish as the starter was taught to be asked.

    A translated one is put together anew; in an English one what has another name is called by
    the taught one.
    """
    if reading.language == "en":
        return _replaced(reading)
    return _put_together(reading.parts, reading.language)


def _strangeness(reading: Reading) -> float:
    """The share of unknown parts among those that say something."""
    telling = [part for part in reading.parts if part.kind not in ("small",)]
    unknown = sum(part.kind == "unknown" for part in telling)
    return unknown / len(telling) if telling else 1.0


def _read_english(prompt: str) -> Reading:
    text = _ASIDE.sub(lambda found: " " * len(found[0]), prompt)
    parts = [Part("text", m[1], m[1], where=m.span()) for m in _QUOTED.finditer(text)]
    text = _QUOTED.sub(lambda found: " " * len(found[0]), text)
    tokens = [(m.start(), m.end(), plain(m[0])) for m in _WORD.finditer(text)]
    forms = [_form(word) for _, _, word in tokens]
    at, after_break = 0, True
    end = 0
    while at < len(tokens):
        start = tokens[at][0]
        after_break = after_break or _BREAK.search(text, end, start) is not None
        length, kind, label = _known(forms, [word for _, _, word in tokens], at)
        end = tokens[at + length - 1][1]
        said = prompt[start:end]
        parts.append(Part(kind, plain(said), said, label, (start, end), after_break))
        after_break = kind == "small"
        at += length
    return Reading(prompt, "en", tuple(parts))


def _read_foreign(prompt: str, language: str) -> Reading:
    text = _QUOTED.sub(" ", _ASIDE.sub(" ", prompt))
    parts = [Part("text", m[1], m[1]) for m in _QUOTED.finditer(prompt)]
    for piece in _BREAK.split(text):
        begins = True
        found = languages.in_english(piece, language)
        for left in _left_over(piece, found, language):
            parts.append(Part("unknown", left, left, begins=True))
        for said in found:
            words = plain(said.english).split()
            forms = [_form(word) for word in words]
            at = 0
            while at < len(words):
                length, kind, label = _known(forms, words, at)
                english = " ".join(words[at : at + length])
                parts.append(Part(kind, english, said.said, label, None, begins))
                begins = kind == "small"
                at += length
    return Reading(prompt, language, tuple(parts))


def _left_over(piece: str, found: Sequence[languages.Said], language: str) -> list[str]:
    """What no word covers of a text without spaces, but for particles and counting words."""
    if language not in _FILLERS:
        return []
    rest = plain(piece)
    for said in sorted(found, key=lambda one: -len(one.said)):
        if CJK.search(said.said):
            rest = rest.replace(said.said, " ")
    for filler in _FILLERS[language]:
        rest = rest.replace(filler, " ")
    return [run for run in rest.split() if CJK.search(run)]


_FILLERS = {
    "ja": (
        "ください の中 中の の上 上の という の に と が を は で も や な い へ だ です た 描いて"
        " 絵 色 一匹 匹 一つ つ 個 本 枚 台"
    ).split(),
    "zh": (
        "一只 一个 一条 一张 一朵 一辆 一棵 一座 一本 一把 画 请 的 了 着 在 上 和 与 色 只 个 里"
        " 有 是 它"
    ).split(),
}
"""Particles and the like, the longest first."""


def _known(forms: Sequence[str], words: Sequence[str], at: int) -> tuple[int, Kind, str]:
    """(how many words, of which kind, the label) of what stands at a place."""
    for length, label in _things().get(forms[at], ()):
        if length[0] and tuple(forms[at : at + length[0]]) == length[1]:
            return length[0], "thing", label
    for phrase in _other_styles().get(words[at], ()):
        if tuple(words[at : at + len(phrase)]) == phrase:
            return len(phrase), "style", ""
    word = words[at]
    if word in _SMALL:
        return 1, "small", ""
    if word in _COLOURS:
        return 1, "colour", ""
    if word in _NUMBERS or (word.isdigit() and int(word[:4]) > MOST_THINGS):
        return 1, "number", ""
    if word in _TEXT:
        return 1, "text", ""
    if word in _free() or forms[at] in _free() or word in _STYLE_WORDS or word.isdigit():
        return 1, "free", ""
    return 1, "unknown", ""


def _form(word: str) -> str:
    return word if word in _OWN_PLURAL else stem(word)


@cache
def _things() -> dict[str, tuple[tuple[tuple[int, tuple[str, ...]], str], ...]]:
    """First word -> ((how many words, the words), label), the longest first."""
    found: dict[str, dict[tuple[str, ...], str]] = {}
    for label, phrase in taught_phrases():
        words = tuple(_form(word) for word in _WORD.findall(plain(phrase)))
        if words:
            found.setdefault(words[0], {}).setdefault(words, label)
    return {
        first: tuple(
            ((len(words), words), label)
            for words, label in sorted(phrases.items(), key=lambda pair: -len(pair[0]))
        )
        for first, phrases in found.items()
    }


def taught_phrases() -> Iterable[tuple[str, str]]:
    """(label, words for it): the captions' own first, then others that mean it."""
    taught = [concept for concept in concepts() if concept.everyday]
    for concept in taught:
        yield concept.label, concept.label
        for word in concept.words:
            yield concept.label, word
    for label, others in _others().items():
        for word in others:
            yield label, word


@cache
def own_words() -> frozenset[str]:
    """Words of the captions, in plain letters: an encoder of English knows them from there."""
    return frozenset(plain(word) for c in concepts() if c.everyday for word in (c.label, *c.words))


def shown_name(label: str) -> str:
    """A label as people would say it."""
    return _SHOWN.get(label, label)


_SHOWN = {
    "globe showing Americas": "globe",
    "snowman without snow": "snowman",
    "deciduous tree": "tree",
    "hot beverage": "cup of coffee",
    "lady beetle": "ladybird",
    "cheese wedge": "cheese",
    "automobile": "car",
    "wrapped gift": "gift",
    "gem stone": "diamond",
    "flying saucer": "ufo",
    "crescent moon": "moon",
    "tangerine": "orange",
}


@cache
def _others() -> dict[str, tuple[str, ...]]:
    return _read_file()[0]


@cache
def _free() -> frozenset[str]:
    return _read_file()[1]


@cache
def _read_file() -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    others: dict[str, tuple[str, ...]] = {}
    free: set[str] = set()
    inside_free = False
    for line in OTHER_WORDS_FILE.read_text(encoding="utf-8").splitlines():
        if line == "[free]":
            inside_free = True
        elif line and not line.startswith("#") and inside_free:
            free.update(line.split())
        elif line and not line.startswith("#"):
            label, _, words = line.partition(" = ")
            others[label] = tuple(word.strip() for word in words.split(","))
    return others, frozenset(free)


@cache
def _other_styles() -> dict[str, tuple[tuple[str, ...], ...]]:
    """First word -> names of styles that the starter does not know, the longest first."""
    own = {style.id for style in ALL_STYLES if "starter" in style.families}
    named = {
        name
        for style in ALL_STYLES
        if style.id not in own
        for name in (style.name, style.words, *style.aliases)
    } | {"photo", "photographic", "realistic", "photorealism", "hyperrealistic", "cinematic"}
    named |= {"selfie", "snapshot", "sketch", "engraving", "etching", "painterly", "impressionist"}
    named |= {"photoreal", "raw photo", "polaroid", "ukiyo e", "low poly", "claymation", "graffiti"}
    found: dict[str, list[tuple[str, ...]]] = {}
    for name in named:
        words = tuple(_WORD.findall(plain(name)))
        found.setdefault(words[0], []).append(words)
    return {first: tuple(sorted(many, key=len, reverse=True)) for first, many in found.items()}


def _replaced(reading: Reading) -> str:
    """The prompt with the taught names instead of others for the same."""
    text = reading.prompt
    for part in reversed(reading.parts):
        if part.kind != "thing" or part.where is None or _is_own(part.text):
            continue
        start, end = part.where
        name = _taught_name(part)
        article = re.search(r"\b(an?)\s+$", text[:start], re.IGNORECASE)
        if article is not None:
            right = "an" if name[0] in "aeiou" else "a"
            text = (
                text[: article.start(1)] + right + text[article.end(1) : start] + name + text[end:]
            )
        else:
            text = text[:start] + name + text[end:]
    return text


def _is_own(text: str) -> bool:
    own = own_words()
    words = " ".join(_form(word) for word in _WORD.findall(text))
    return text in own or any(words == " ".join(map(_form, _WORD.findall(w))) for w in own)


def _taught_name(part: Part) -> str:
    return part.label if part.kind == "thing" and not _is_own(part.text) else part.text


def _put_together(parts: Sequence[Part], language: str) -> str:
    """ "a red fox and a cat on a blue background" from the parts, in the captions' order."""
    things: list[list[str]] = []
    rest: list[list[str]] = []
    background: list[str] = []
    waiting: list[str] = []
    before: list[str] | None = None
    for part in parts:
        if part.kind in ("small", "number", "text") or (
            part.kind == "free" and (part.text not in _BACKGROUND and part.text not in _STYLE_WORDS)
        ):
            continue
        if part.kind == "colour":
            if language in _AFTER_THEIR_NOUN and before is not None:
                before.insert(0, part.text)
            else:
                waiting.append(part.text)
            continue
        if part.text in _BACKGROUND:
            background += waiting
            before = background
        else:
            before = [*waiting, _taught_name(part)]
            (things if part.kind == "thing" else rest).append(before)
        waiting = []
    text = " and ".join(map(_with_article, things)) or " ".join(" ".join(one) for one in rest)
    if background:
        place = " ".join(background)
        text += f" on {'an' if place[0] in 'aeiou' else 'a'} {place} background"
    if things and rest:
        text = ", ".join([text, *(" ".join(one) for one in rest)])
    return text or " ".join(part.text for part in parts)


def _with_article(words: Sequence[str]) -> str:
    text = " ".join(words)
    if text.endswith("s") and not text.endswith("ss"):
        return text
    return f"{'an' if text[0].lower() in 'aeiou' else 'a'} {text}"
