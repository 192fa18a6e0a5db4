"""A wish cut into what it asks for: subjects, styles, techniques, and what it does not want."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from ..words import glossary, languages
from ..words.word_forms import CJK, content_words, plain, says_nothing, words

Role = Literal["subject", "style", "technique"]

MAX_WORDS = 120
MAX_CLAUSES = 12
MAX_PIECES = 24

_LORA_TAG = re.compile(r"<[^<>]{0,200}>")
_WEIGHT = re.compile(r":\s*-?\d+(?:\.\d+)?(?=\s*[)\]])")
_BRACKETS = re.compile(r"[()\[\]{}]|\bBREAK\b")
_QUOTED = re.compile(r"[\"“„«][^\"“”„«»]{1,80}[\"”“»]")
_NEGATED = re.compile(
    r"(?:\b(?:but|aber|mais|pero)\s+)?"
    r"\b(?:no|not|without|never|neither|nor|except|excluding|instead\s+of|rather\s+than|"
    r"anything\s+but|(?:do|does|should|must|can)(?:n[’']t|\s?not)|dont|"
    r"ohne|keine?|keinen|nicht|statt|sans|pas\s+de|sin|senza|sem|zonder|geen|bez|nie|без|не|"
    r"utan|ikke|uden)\s+"
    r"((?:an?\s+|any\s+)?[^,.;:|\n]+)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;|\n。、，]+|\.(?:\s|$)|:\s")
_STYLE_MARKER = re.compile(
    r"\b(?:in|im|dans|al|nello)\s+(?:the\s+|le\s+)?(?:style|stil|stile|manner|estilo|spirit|look)\s+"
    r"(?:of|von|des|der|de|d'|di|du)\s*|\bin\s+the\s+way\s+of\s+",
    re.IGNORECASE,
)
_AS = re.compile(
    r"\b(?:drawn|painted|rendered|photographed|shot|made|built|done|sculpted|modelled|gemalt|"
    r"gezeichnet|als|as)\s+(?:as|in|with|from|of|out\s+of|through|like|on|als|mit|in)?\s*"
    r"(?:an?\s+|eine?\s+)?",
    re.IGNORECASE,
)
_STYLE_END = re.compile(r"[-\s](?:style|styled|stil|look|aesthetic|inspired)\b", re.IGNORECASE)
_CHUNK = re.compile(
    r"\b(?:in|on|at|with|under|over|of|from|through|by|for|and|into|onto|behind|between|against|"
    r"inside|out|up|down|beside|above|below|near|around|along|across|to|after|before|while|like|"
    r"is|are|has|wearing|holding|riding|looking|standing|sitting|"
    r"auf|mit|im|am|an|von|und|vor|unter|uber|bei|"
    r"dans|sur|avec|de|du|des|en|et|sous|a|au|"
    r"con|sobre|y|del|junto|"
    r"come|como|comme|wie|jak|sul|sulla|nel|nella|della|delle|dei|di|do|da|dos|das|no|na|com|sob|feito|feita|"
    r"op|met|van|bij|onder|voor|"
    r"w|we|z|ze|pod|przy|"
    r"в|на|с|из|под|над|у)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Piece:
    """Part of a wish. `said`: as written. `text`: the same in English as far as Kizy can say it.

    `whole`: a clause (not a part of one). `aside`: where something is, what is with it: what comes
    after a preposition. `words`: what it says, in one form, without fillers.
    `terms`: of the glossary.
    """

    said: str
    text: str
    role: Role
    whole: bool
    aside: bool
    words: tuple[str, ...]
    terms: frozenset[str]


@dataclass(frozen=True)
class Wish:
    """A wish in parts. `text`: without what it does not want, tags, weights and brackets.

    `english`: all of it in English, as far as Kizy can say it. `words`: of all of it.
    `terms`: glossary terms with the words that name them.
    `unwanted`: the words and terms of what it does not want.
    """

    text: str
    english: str
    pieces: tuple[Piece, ...]
    words: tuple[str, ...]
    terms: dict[str, glossary.Found]
    unwanted: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """What to embed: the pieces, then the wish as a whole."""
        return (*(piece.text for piece in self.pieces), self.english or "nothing")

    @property
    def fast(self) -> bool:
        """Whether it asks for a picture after few steps."""
        return _FAST.search(self.text) is not None

    @property
    def style_terms(self) -> frozenset[str]:
        return frozenset(name for name, f in self.terms.items() if f.term.kind == "style")


def parse_wish(prompt: str) -> Wish:
    """Cut a wish into pieces; any text is fine, also a list of tags."""
    text = _BRACKETS.sub(" ", _WEIGHT.sub("", _LORA_TAG.sub(" ", prompt)))
    text = " ".join(text.replace("_", " ").split()[:MAX_WORDS])
    text = _QUOTED.sub(" ", text)
    unwanted = [match.strip() for match in _NEGATED.findall(text)]
    text = _NEGATED.sub(" ", text).strip(" ,;.") or ""
    language = languages.language_of(text)
    pieces: dict[str, Piece] = {}
    for clause in [part.strip() for part in _CLAUSE.split(text) if part.strip()][:MAX_CLAUSES]:
        for number, (said, role, whole) in enumerate(_parts(clause, language)):
            aside = not whole and number > 1 and role is None
            piece = replace(_piece(said, role, whole, language), aside=aside)
            key = piece.text.casefold()
            tells = piece.words and not says_nothing(piece.text)
            if tells and key not in pieces and len(pieces) < MAX_PIECES:
                pieces[key] = piece
    english = _in_english(text, language)
    found_terms = _terms(text, english, language)
    for name, found in found_terms.items():
        # "Mucha", "Vespa": what it is called most often is a piece as well.
        if found.other_word and name not in pieces and len(pieces) < MAX_PIECES:
            pieces[name] = replace(_piece(name, None, False, "en"), said=found.said)
    named = [found.term.name for found in found_terms.values()]
    spoken = (word for part in (text, english, *named) for word in content_words(part))
    return Wish(
        text=text,
        english=english,
        pieces=tuple(pieces.values()),
        words=tuple(dict.fromkeys(spoken)),
        terms=found_terms,
        unwanted=tuple(unwanted),
    )


def _in_english(text: str, language: str) -> str:
    if language != "en":
        text = " ".join(one.english for one in languages.in_english(text, language)) or text
    return glossary.in_english(text)


def _terms(text: str, english: str, language: str) -> dict[str, glossary.Found]:
    """The glossary's terms in a wish and in its English, with the words that the wish holds."""
    found = {one.term.name: one for one in glossary.terms_in(text)}
    if language != "en":
        spoken = languages.in_english(text, language)
        for one in glossary.terms_in(english):
            first = one.said.split()[0]
            said = next((s.said for s in spoken if first in s.english.split()), one.said)
            found.setdefault(one.term.name, glossary.Found(one.term, said, True))
    return found


def _parts(clause: str, language: str) -> list[tuple[str, Role | None, bool]]:
    """(text, role if a marker tells, whether it is a whole clause)."""
    parts: list[tuple[str, Role | None, bool]] = [(clause, None, True)]
    before, marker, after = _cut(_STYLE_MARKER, clause)
    if marker:
        parts += [(before, None, False), (after, "style", True)]
    else:
        before, marker, after = _cut(_AS, clause)
        if marker and before:
            parts += [(before, None, False), (after, "style", False)]
        else:
            before = clause
    rest: Role | None = "style" if marker else None
    sources: tuple[tuple[str, Role | None], ...] = ((before, None), (after if marker else "", rest))
    for source, role in sources:
        if language in ("ja", "zh", "ko"):
            chunks = [one.said for one in languages.in_english(source, language)]
        else:
            chunks = [c.strip() for c in _CHUNK.split(source) if c and c.strip()]
        for chunk in chunks if len(chunks) > 1 else ():
            parts.append((chunk, role, False))
    return [(said.strip(" -'"), role, whole) for said, role, whole in parts if said.strip(" -'")]


def _cut(pattern: re.Pattern[str], text: str) -> tuple[str, bool, str]:
    match = pattern.search(text)
    if match is None:
        return text, False, ""
    return text[: match.start()].strip(), True, text[match.end() :].strip()


def _piece(said: str, role: Role | None, whole: bool, language: str) -> Piece:
    text = _in_english(said, language)
    found = _terms(said, text, language)
    kinds = {one.term.kind for one in found.values()}
    if role is None:
        if _STYLE_END.search(" " + said):
            role = "style"
        elif "thing" in kinds or not kinds:
            role = "subject"
        else:
            role = "style" if "style" in kinds else "technique"
    spoken = list(dict.fromkeys(content_words(text)))
    return Piece(
        said=said,
        text=text if CJK.search(text) else _without_articles(text),
        role=role,
        whole=whole,
        aside=False,
        words=tuple(spoken),
        terms=frozenset(found),
    )


_FAST = re.compile(
    r"\b(?:few|fewer|less|only|[1-9]|two|four|six|eight|8|4)[\s-]+steps?\b|\blcm\b|\bturbo lora\b|"
    r"\bin a (?:hurry|rush)\b|\bas (?:fast|quick|quickly) as possible\b|"
    r"\bquick (?:draft|preview)\b",
    re.IGNORECASE,
)
_ARTICLES = re.compile(
    r"^(?:an?|the|my|our|some|der|die|das|eine?|einen|einem|einer|le|la|les|une?|el|los|las|una)\s+"
)


def _without_articles(text: str) -> str:
    return _ARTICLES.sub("", text) if len(words(text)) > 1 else plain(text)
