"""A card's words: how its LoRA is called, what it is said to do, and which kind it is."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import unescape
from itertools import pairwise

from ..card import Card, Kind
from . import glossary
from .word_forms import (
    GENERIC,
    clean_name,
    content_words,
    is_known,
    mark_words,
    plain,
    rarity,
    root,
    says_nothing,
    split_compound,
    words,
)

MAX_ABOUT = 300
"""Characters of a description that count: what comes later is thanks, versions and settings."""
MAX_TRIGGERS = 12
MAX_TAGS = 20

NAME, TRIGGER, TAG, ABOUT, EXAMPLE = 1.0, 1.0, 0.75, 0.6, 0.4
"""How much a word counts by where it stands."""

MAX_MEANINGS = 2
"""Glossary terms whose meaning is said of a card."""

SAME_MEANING = 0.9
"""How much a word counts that the card says with another word ("aquarelle", "watercolor")."""

_STYLE_WORDS = frozenset(
    content_words(
        "style painting drawing illustration look aesthetic art print sketch photo photography"
        " render rendering graphics poster watercolor anime comic medium cover"
    )
)
_TECHNIQUE_WORDS = frozenset(
    content_words(
        "light lighting lens slider detail enhancer sharpness focus bokeh exposure camera view pose"
        " speed steps turbo lcm lightning hands fix shot angle fog weather shadow texture"
        " resolution perspective"
    )
)
_SPEED = re.compile(r"\b(?:lcm|turbo|lightning|hyper|dmd2?|pcm|distill\w*|[2-8][ -]?steps?)\b")
_SPEED_TAGS = frozenset({"speed", "acceleration", "distilled", "fast", "turbo", "lcm", "few steps"})


@dataclass(frozen=True)
class CardWords:
    """`title`: the cleaned name. `weights`: word -> how much it counts (0 to 1).

    `identity`: the words of name and triggers that tell it apart. `phrases`: whole triggers, in
    words. `own_names`: the name's words, and those of the first trigger. `strong`, `weak`:
    glossary terms in name, triggers and tags; in the description.
    `described`: words of what the glossary says these terms are. `own`: what only it is called
    (names, made-up words). `speed`: it makes drawing faster and changes nothing else.
    `one_of_a_kind`: somebody or something with a name. `nothing_told`: no word of it tells what
    it draws.
    """

    title: str
    weights: dict[str, float]
    identity: frozenset[str]
    phrases: tuple[tuple[str, ...], ...]
    own_names: tuple[frozenset[str], ...]
    strong: frozenset[str]
    weak: frozenset[str]
    described: frozenset[str]
    own: frozenset[str]
    kind: Kind
    speed: bool
    one_of_a_kind: bool
    nothing_told: bool


def describe(card: Card) -> CardWords:
    """Everything that is matched of a card by words."""
    title = clean_name(card.name)
    triggers = trigger_phrases(card)[:MAX_TRIGGERS]
    about = card.about[:MAX_ABOUT]
    weights: dict[str, float] = {}
    sources = [(about, ABOUT), *((tag, TAG) for tag in card.tags[:MAX_TAGS])]
    if not about and not card.tags:
        sources += [(example, EXAMPLE) for example in card.examples[:2]]
    # What counts more comes later.
    for text, weight in (*sources, *((t, TRIGGER) for t in triggers), (title, NAME)):
        found = content_words(text) if text == about else mark_words(text)
        weights.update(dict.fromkeys(found, weight))
    named = " , ".join((title, *triggers))
    marks = (title, *triggers, *card.tags[:MAX_TAGS])
    strong = frozenset().union(*(glossary.names_in(mark) for mark in marks))
    weak = glossary.names_in(about) - strong
    for names, weight in ((strong, NAME), (weak, ABOUT)):
        for word in content_words(" , ".join(sorted(names))):
            weights[word] = max(weights.get(word, 0.0), weight * SAME_MEANING)
    identity = frozenset(
        word for text in (title, *triggers) for word in content_words(text) if word not in GENERIC
    )
    kind = card.kind or _guess_kind(card, title, named)
    own = _own_words(card, title, triggers)
    return CardWords(
        title=title,
        weights=weights,
        identity=identity,
        phrases=tuple(dict.fromkeys(tuple(words(trigger)) for trigger in triggers)),
        own_names=tuple(
            frozenset(found)
            for text in (title, *triggers[:1])
            if (found := [word for word in content_words(text) if word not in GENERIC])
        ),
        strong=strong,
        weak=weak,
        described=frozenset(root(w) for text in meanings_of(card) for w in content_words(text)),
        own=own,
        kind=kind,
        speed=_is_speed(card, title),
        one_of_a_kind=kind == "subject" and bool(own) and _one_of_a_kind(card, own),
        nothing_told=not identity and says_nothing(about) and says_nothing(" ".join(card.tags)),
    )


def trigger_phrases(card: Card) -> list[str]:
    """Its triggers one by one: authors also write several into one, with commas."""
    parts = [part for trigger in card.triggers for part in clean_trigger(trigger).split(",")]
    return list(dict.fromkeys(part for part in map(_short_trigger, parts) if part))


def clean_trigger(text: str) -> str:
    """What an author listed as a trigger, as words for a prompt: without markup, LoRA tags, BREAK,
    weights in brackets, control characters and bytes that were no UTF-8.
    """
    text = _MARKUP.sub(" ", unescape(unescape(text)))
    text = _WEIGHTED.sub(r"\1", text.replace("\\(", "\0").replace("\\)", "\1"))
    text = re.sub(r"\bBREAK\b", ",", re.sub(r"[\[\]{}()\ufffd]", " ", text))
    text = text.replace("\0", "\\(").replace("\1", "\\)")
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return " ".join(kept.split())


def _short_trigger(part: str) -> str:
    """The trigger; "" for a whole sentence or a text that is none."""
    part = part.strip(" .;:")
    return part if len(part) <= MAX_PHRASE and len(part.split()) <= MAX_PHRASE_WORDS else ""


MAX_PHRASE, MAX_PHRASE_WORDS = 100, 10
"""Letters and words of a trigger; what is longer is a sentence."""
_MARKUP = re.compile(r"<[^<>]*>")
_WEIGHTED = re.compile(r"[(\[]+([^()\[\]:]*):\s*[\d.]+\s*[)\]]+")


def card_texts(card: Card) -> tuple[str, ...]:
    """What of a card has a meaning to search for: its name with what it is said to do; its name,
    also in the glossary's words; its triggers and tags; what the glossary says of its terms. At
    most four; none if it says nothing.
    """
    title = clean_name(card.name)
    about = story(card)
    if says_nothing(about):
        about = ""
    marks = [
        split_compound(plain(mark))
        for mark in (*trigger_phrases(card)[:MAX_TRIGGERS], *card.tags[:MAX_TAGS])
        if not says_nothing(mark) and any(map(is_known, words(split_compound(mark))))
    ]
    first = ": ".join(part for part in (title, about) if part)
    second = ", ".join(dict.fromkeys(marks))
    named = glossary.names_in(" , ".join((title, *marks)))
    others = sorted(name for name in named if not set(words(name)) & set(words(title)))
    title = ", ".join(part for part in (title, *others[:3]) if part)
    if not about and not second and card.examples:
        second = card.examples[0][:MAX_ABOUT]
    meaning = "; ".join(meanings_of(card))
    return tuple(
        dict.fromkeys(
            text for text in (first, title, second, meaning) if text and not says_nothing(text)
        )
    )


def story(card: Card) -> str:
    """What its description says of what it draws, without how it was trained or is to be used."""
    parts = _SENTENCE.split(" ".join(card.about[:MAX_ABOUT].split()))
    kept = " ".join(part for part in parts if part and not _ABOUT_FILE.search(part))
    return kept.strip(" ,;")


_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_ABOUT_FILE = re.compile(
    r"\b(?:train(?:ed|ing)|dataset|epochs?|\d+\s?(?:steps|images|pictures|photos|scans|pics|MB)|"
    r"rank|dim|alpha|learning rate|adamw|prodigy|weights?|strength|checkpoint|version|v\d+|update|"
    r"trigger(?:\s?words?)?|prompt|download|enjoy|thanks|thank you|commission|patreon|discord|"
    r"kofi|ko-fi|civitai|feedback|review|works? (?:well|best|nice|with)|recommend\w*|settings|"
    r"sdxl|sd\s?1\.?5|flux|pony|illustrious)\b",
    re.IGNORECASE,
)


def meanings_of(card: Card) -> tuple[str, ...]:
    """What the glossary says of a card's terms: of those in its name and triggers first, then
    tags, then description; styles before techniques. At most two.
    """
    places = (
        " , ".join((clean_name(card.name), *trigger_phrases(card)[:MAX_TRIGGERS])),
        " , ".join(card.tags[:MAX_TAGS]),
        card.about[:MAX_ABOUT],
    )
    found: dict[str, str] = {}
    for text in places:
        terms = [one.term for one in glossary.terms_in(text) if one.term.meaning]
        for term in sorted(terms, key=lambda term: term.kind != "style"):
            found.setdefault(term.name, f"{term.name}, {term.meaning}")
    return tuple(found.values())[:MAX_MEANINGS]


def is_generic(phrase: str) -> bool:
    """Whether a trigger says nothing of its own ("1girl", "masterpiece", "style")."""
    return all(word in GENERIC or rarity(word) < 0.2 for word in words(phrase))


def _guess_kind(card: Card, title: str, named: str) -> Kind:
    kinds = [f.term.kind for f in glossary.terms_in(named)] or [
        f.term.kind for f in glossary.terms_in(" , ".join(card.tags))
    ]
    told = set(words(" ".join((named, *card.tags))))
    if "style" in kinds or (told & _STYLE_WORDS and "thing" not in kinds):
        return "style"
    if "technique" in kinds or told & _TECHNIQUE_WORDS:
        return "technique"
    if kinds:
        return "subject"
    return "style" if set(words(card.about[:MAX_ABOUT])) & _STYLE_WORDS else "subject"


def _is_speed(card: Card, title: str) -> bool:
    told = {plain(tag) for tag in card.tags} & _SPEED_TAGS
    return bool(told and card.kind in (None, "technique")) or (
        _SPEED.search(plain(card.name.replace("_", " "))) is not None
        and not glossary.names_in(title) - {"speed"}
    )


_PERSON_TAGS = frozenset(
    ("character", "oc", "original character", "mascot", "pet", "person", "celebrity", "product")
)
_OWN = re.compile(r"\b(?:my|our|his|her|oc)\b|^\W*[A-Z][a-z]+\s[A-Z][a-z]+\b")
_CALLED = re.compile(r"^\W*(?:(?:The|Our|My)\s)?((?:[A-Z][\w.'’-]*\s?)+(?:\d+\s?)?)[,:(/]")


def _own_words(card: Card, title: str, triggers: list[str]) -> frozenset[str]:
    """Words of its name, its first trigger, and made-up ones of the others ("silver hair" is a
    trigger of many): those that tags and description do not use as common words.
    """
    common = {word for tag in card.tags for word in words(tag)}
    for raw in _LOWER_WORD.findall(card.about[:MAX_ABOUT]):
        common.update(words(raw))
    names = [word for text in (title, *triggers[:1]) for word in content_words(text)]
    names += [w for text in triggers[1:] for w in content_words(text) if not is_known(w)]
    told = set(words(card.about[:MAX_ABOUT]))
    for one, two in pairwise(title.split()):
        if one + two in told:  # "halden" is a name and no "hal den"
            names = [word for word in names if word not in (one, two)] + [one + two]
    return frozenset(
        word for word in names if word not in common and word not in GENERIC and len(word) > 1
    )


_LOWER_WORD = re.compile(r"(?<![\w'’-])[a-z][\w'’]*")


def _one_of_a_kind(card: Card, own: frozenset[str]) -> bool:
    """Somebody or something with a name: only who names it means it."""
    if {plain(tag) for tag in card.tags} & _PERSON_TAGS:
        return True
    about = card.about[:MAX_ABOUT]
    if _OWN.search(about[:60]) is not None:
        return True
    called = _CALLED.match(about)
    proper = set(words(called.group(1))) if called else set()
    for raw in re.findall(r"(?<=\w\s)[A-Z][\w'’-]+", about):
        proper.update(words(raw))
    return bool(proper & {word for word in own if not is_known(word)}) or (
        len(proper & own) > 1 and called is not None
    )
