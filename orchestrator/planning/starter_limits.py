"""What of a wish the starter cannot draw, and the wish in the words that it was taught.

The words decide (`starter.vocabulary`); where the model of meanings is there, it finds other words
for what was taught, and what is nearest to the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from ... import language
from ...catalog.words.word_forms import words
from ...core.plan import NOTICE, Reason
from ...core.request import GenerationRequest
from ...starter.concepts import concepts
from ...starter.vocabulary import (
    MOST_THINGS,
    Part,
    Reading,
    in_taught_words,
    read,
    shown_name,
    taught_phrases,
)
from .no_effect import keeps_start

if TYPE_CHECKING:
    import numpy as np

NOT_TAUGHT = "starter_not_taught"
"""The notice's code: something of the wish will not be seen."""
OTHER_WORDS = "starter_other_words"
"""The notice's code: it is drawn from other words for the same."""

SAME = 0.86
"""Cosine of two meanings from which they are one thing. Other words for what was taught ("doggos",
"mobile") have 0.87 and more, what is only near ("beetle" to a ladybird, "coconut" to its palm) 0.85
and less: benchmarks/starter_limits.py."""

NEAREST = 3

MOST_WORDS = 20
"""Words of a wish that are compared."""

GET_A_MODEL = "kizy models add https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0"


@dataclass(frozen=True)
class Limits:
    """`drawn_from`: the wish in the starter's words. `notices`: code and text of each.

    `unknown`: what was not taught, in English.
    """

    drawn_from: str
    unknown: tuple[str, ...]
    notices: tuple[Reason, ...]


@dataclass(frozen=True)
class Learned:
    """What LoRAs bring to the starter. `words`: of their names and triggers, in one form.

    `style`: one brings a manner of drawing.
    """

    words: frozenset[str] = frozenset()
    style: bool = False


NOTHING_LEARNED = Learned()


def said_to_starter(
    request: GenerationRequest, learned: Learned
) -> tuple[Mapping[str, str], tuple[Reason, ...]]:
    """(line of the request -> the words that it is drawn from, what there is to tell)."""
    if keeps_start(request) and not request.improve:
        return {}, ()
    lines = [line for asked in request.improve for line in asked.prompts if line]
    found = {line: starter_limits(line, learned) for line in (request.prompt, *lines)}
    wording = {line: limits.drawn_from for line, limits in found.items()}
    told = dict.fromkeys(notice for limits in found.values() for notice in limits.notices)
    if request.negative not in ("auto", ""):
        wording[request.negative] = starter_limits(request.negative).drawn_from
    return wording, tuple(told)


def starter_can(prompt: str) -> bool:
    """Whether the starter was taught all that a prompt speaks of, and that is something."""
    reading = _read(prompt)
    return bool(reading.labels) and not _shortcomings(reading)


@lru_cache(maxsize=500)
def starter_limits(prompt: str, learned: Learned = NOTHING_LEARNED) -> Limits:
    """What there is to say of a prompt that the starter draws, with LoRAs that taught it more."""
    reading = _with_learned(_read(prompt), learned)
    drawn_from = in_taught_words(reading)
    notices: list[Reason] = []
    if drawn_from != prompt:
        from_what = "translated" if reading.language != "en" else "in the words that it was taught"
        text = f'The starter draws "{drawn_from}": your words {from_what}.'
        notices.append(Reason(choice=NOTICE, value=OTHER_WORDS, why=text))
    shortcomings = _shortcomings(reading)
    if shortcomings:
        notices.append(Reason(choice=NOTICE, value=NOT_TAUGHT, why=_told(reading, shortcomings)))
    return Limits(drawn_from, reading.unknown, tuple(notices))


def _read(prompt: str) -> Reading:
    """The wish in parts, where words that mean what was taught are taken for it."""
    reading = read(prompt)
    if not reading.unknown or not language.available():
        return reading
    same = {text: label for text in reading.unknown if (label := _same_as(text))}
    return _with(reading, same) if same else reading


def _with_learned(reading: Reading, learned: Learned) -> Reading:
    """The reading without doubts about what LoRAs bring."""
    parts = tuple(
        replace(part, kind="free")
        if (part.kind == "unknown" and learned.words & set(words(part.text)))
        or (part.kind == "style" and learned.style)
        else part
        for part in reading.parts
    )
    return replace(reading, parts=parts)


def learned_from(texts: Collection[str], *, style: bool) -> Learned:
    """Of LoRAs by their names and trigger words."""
    return Learned(frozenset(word for text in texts for word in words(text)), style)


def _with(reading: Reading, same: dict[str, str]) -> Reading:
    """The reading, where runs of unknown words are the things of these labels."""
    parts: list[Part] = []
    waiting = list(reading.parts)
    while waiting:
        for text, label in same.items():
            many = len(text.split())
            run = waiting[:many]
            whole = all(part.kind == "unknown" for part in run)
            if whole and " ".join(part.text for part in run) == text:
                where = None
                if run[0].where is not None and run[-1].where is not None:
                    where = (run[0].where[0], run[-1].where[1])
                said = " ".join(part.said for part in run)
                parts.append(Part("thing", text, said, label, where, run[0].begins))
                del waiting[:many]
                break
        else:
            parts.append(waiting.pop(0))
    return replace(reading, parts=tuple(parts))


def _shortcomings(reading: Reading) -> list[str]:
    """A sentence for each kind of thing that will not be seen, without what to do instead."""
    found: list[str] = []
    if unknown := reading.unknown:
        many = sum(concept.everyday for concept in concepts())
        said = _listed([f'"{text}"' for text in unknown])
        which = "is" if len(unknown) == 1 else "are"
        found.append(f"The starter was taught {many} things, and {said} {which} not among them.")
    if styles := reading.said("style"):
        said = _listed([f'"{text}"' for text in styles])
        own = "3d renders, flat stickers and cartoons"
        found.append(f"It draws {own}: no photos and no other styles ({said}).")
    if reading.said("text"):
        found.append("It draws no letters.")
    if len(reading.labels) > MOST_THINGS:
        said = _listed([shown_name(label) for label in reading.labels])
        found.append(f"It draws two things in a picture at most, not {said}.")
    if numbers := reading.said("number"):
        found.append(f'It draws one of each, whatever the number ("{numbers[0]}").')
    if reading.entangled:
        found.append("Two things stand side by side, never in, on or under one another.")
    return found


def _told(reading: Reading, shortcomings: Sequence[str]) -> str:
    sentences = list(shortcomings)
    if reading.labels:
        known = _listed([shown_name(label) for label in reading.labels])
        sentences.append(f"Of your words it knows {known}.")
    if reading.unknown:
        near = nearest_taught(reading.unknown, without=reading.labels)
        if near:
            sentences.append(f"The nearest that it can draw: {_listed(near, 'or')}.")
        if not language.available():
            sentences.append("(Judged by words alone: the extra local is not installed.)")
    sentences.append(f"For all else get a model: {GET_A_MODEL}")
    return " ".join(sentences)


def nearest_taught(
    texts: Sequence[str], many: int = NEAREST, without: Collection[str] = ()
) -> list[str]:
    """The things that were taught and mean nearest to the texts or their words, in turns.

    `without`: labels that are known to be asked for. Without the model of meanings those that are
    written alike; there may be none.
    """
    if not language.available():
        return _written_alike(texts, many)
    parts = list(dict.fromkeys(word for text in texts for word in text.split()))
    labels = [label for label, _ in _taught()]
    values = _likeness(parts[:MOST_WORDS])
    found: dict[str, None] = {}
    orders = [iter((-row).argsort()) for row in values[(-values.max(1)).argsort()]]
    while len(found) < many:
        for order in orders:
            at = next(at for at in order if labels[at] not in {*without, *found})
            found[labels[at]] = None
    return [shown_name(label) for label in found][:many]


def _written_alike(texts: Sequence[str], many: int) -> list[str]:
    import difflib

    by_phrase = {phrase.casefold(): shown_name(label) for label, phrase in _taught()}
    words = [word for text in texts for word in (text, *text.split())]
    close = [p for word in words for p in difflib.get_close_matches(word, by_phrase, n=many)]
    return list(dict.fromkeys(by_phrase[phrase] for phrase in close))[:many]


def _same_as(text: str) -> str | None:
    values = _likeness([text])[0]
    best = int(values.argmax())
    return _taught()[best][0] if values[best] >= SAME else None


def _likeness(texts: Sequence[str]) -> np.ndarray:
    """Cosines of the texts' meanings with all phrases that were taught: (texts, phrases)."""
    return language.embed(list(texts)) @ _vectors().T


@cache
def _taught() -> tuple[tuple[str, str], ...]:
    """(label, phrase), each phrase once."""
    return tuple({phrase: (label, phrase) for label, phrase in taught_phrases()}.values())


@cache
def _vectors() -> np.ndarray:
    """(phrases, 384), unit length. Two threads that come at once compute the same."""
    return language.embed([phrase for _, phrase in _taught()])


def _listed(texts: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"
