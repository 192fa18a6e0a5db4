"""The words that a Plan draws: a person's own, with the style and the triggers, as the family reads
them. Pure.

Where a family reads a fixed number of tokens, style and triggers keep their place and the person's
last words are left out, which is told word by word; elsewhere nothing is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ...catalog.families.family import Family
from ...catalog.families.styles import Style
from ...core.errors import InputError
from ...core.plan import Reason
from ...language.chunks import rows
from ...language.encoder import MARKS
from ...language.prompt_syntax import Segment, parts, segments, written
from ...language.word_pieces import word_pieces
from .unread_syntax import unread

CountTokens = Callable[[str], int]
"""A text's tokens without marks, by the tokenizer of the model that draws."""

ROW = 75
"""Tokens that CLIP reads at once, beside its two marks."""

MAX_WEIGHT = 100.0
"""Text encoders' states are of about -30 to 30: beyond this a picture is noise, or black."""

MAX_SHOWN = 600
"""Letters of what is left out."""

_NO_NUMBER = re.compile(r":\s*[+-]?(?:nan|inf(?:inity)?)\s*\)", re.IGNORECASE)
_EMBEDDING = re.compile(r"(?<!\S)(\(*)embedding:([^\s,()<>\[\]]+)")


@dataclass(frozen=True)
class Added:
    """What goes around a person's words. `style`: None if they name it well enough by themselves.

    `triggers`: words of LoRAs that the prompt lacks; `spoken`: those that it holds, which stay
    where it is cut.
    """

    style: Style | None = None
    triggers: tuple[str, ...] = ()
    spoken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Who reads the words. `embeddings`: files of that kind (textual inversion) may be there.

    `count_tokens`: None where the model's tokenizer is not at hand.
    """

    family: Family
    embeddings: bool = False
    count_tokens: CountTokens | None = None


def worded(prompt: str, added: Added, reader: Reader) -> tuple[str, list[Reason]]:
    """The prompt as the family wants it. Raises InputError `request_invalid`."""
    prompt, notes = _readable(prompt, reader)
    quality = reader.family.quality_tags
    if quality and quality.split(",")[0].casefold() not in prompt.casefold():
        prompt = f"{quality}, {prompt}"
    text, left_out = _fitted(prompt, added, reader.family)
    length = _length(_joined(prompt, added), reader, left_out)
    return text, [*notes, *length]


def negative_words(negative: str, reader: Reader) -> tuple[str, list[Reason]]:
    """The negative prompt, with nothing added. Raises InputError `request_invalid`."""
    text, notes = worded(negative, Added(), _without_quality(reader))
    return text, [reason.model_copy(update={"choice": "negative"}) for reason in notes]


def _without_quality(reader: Reader) -> Reader:
    family = reader.family.model_copy(update={"quality_tags": ""})
    return Reader(family, reader.embeddings, reader.count_tokens)


def _readable(prompt: str, reader: Reader) -> tuple[str, list[Reason]]:
    """The prompt without what this family cannot read, and what is to be told of it."""
    family = reader.family
    notes = [_note(line) for line in unread(prompt)]
    names = [match[2].split(":")[0] for match in _EMBEDDING.finditer(prompt)]
    if names and not reader.embeddings:
        prompt = re.sub(r"\(\s*(?::[\d.]+)?\s*\)", "", _EMBEDDING.sub(r"\1", prompt))
        prompt = re.sub(r"\s*,(?:\s*,)+", ",", prompt).strip(" ,")
        notes += [_note(f"embedding:{name} is left out: none are read here") for name in names]
    elif names:
        why = "is read if ComfyUI has a file of that name among its embeddings, and left out if not"
        notes += [_note(f"embedding:{name} {why}") for name in names]
    if _NO_NUMBER.search(prompt):
        # ComfyUI takes "infinity" for a weight, and draws nothing.
        prompt = written(segments(prompt))
    several = parts(prompt)
    if len(several) > 1 and family.long_prompts != "rows":
        prompt = ", ".join(part.rstrip(" ,") for part in several)
        notes.append(_note(f"BREAK is left out: {family.name} reads a prompt as one part"))
    elif len(several) > 1:
        why = "each is read by itself, and they follow one another"
        notes.append(Reason(choice="prompt", value=f"{len(several)} parts (BREAK)", why=why))
    for _, weight in segments(prompt):
        if abs(weight) > MAX_WEIGHT:
            message = f"The weight {weight:g} in the prompt is beyond what text encoders stand."
            fix = "Take weights from about 0 to 2."
            raise InputError("request_invalid", message, fix=fix)
    return prompt, notes


def _note(why: str) -> Reason:
    return Reason(choice="prompt", value="note", why=why)


def _joined(prompt: str, added: Added, more: Sequence[str] = ()) -> str:
    if added.style is not None:
        prompt = added.style.added_to(prompt) if prompt else added.style.words
    return ", ".join(word for word in (prompt, *more, *added.triggers) if word)


def _fitted(prompt: str, added: Added, family: Family) -> tuple[str, str]:
    """(all words that are read, the words that are left out)."""
    whole = _joined(prompt, added)
    if family.long_prompts != "cut" or _fits(whole):
        return whole, ""
    words = list(_words(prompt))
    # A word is a token or more, so that no more words than tokens can fit.
    for kept in range(min(len(words) - 1, MARKS.length), -1, -1):
        begin = _text(words[:kept]).rstrip(" ,;")
        lost = [word for word in added.spoken if _holds(prompt, word) and not _holds(begin, word)]
        text = _joined(begin, added, lost)
        if _fits(text):
            return text, _shown("".join(text for _, text, _ in words[kept:]))
    # Style and triggers alone are too many: the first of them count most.
    tail = Added(added.style, added.triggers[:-1], added.spoken)
    if not added.triggers:
        return whole, _shown(prompt)
    text, left_out = _fitted("", tail, family)
    said = ", ".join(word for word in (prompt, left_out, added.triggers[-1]) if word)
    return text, _shown(said)


def _holds(prompt: str, words: str) -> bool:
    return words.casefold() in prompt.casefold()


def _words(prompt: str) -> Iterator[tuple[int, str, float]]:
    """(number of its segment, a word with the blanks before it, its weight)."""
    for number, (text, weight) in enumerate(segments(prompt)):
        for word in re.findall(r"\s*\S+|\s+", text):
            yield number, word, weight


def _text(words: Sequence[tuple[int, str, float]]) -> str:
    found = []
    for (_, weight), group in groupby(words, key=lambda word: (word[0], word[2])):
        found.append(Segment("".join(text for _, text, _ in group), weight))
    return written(found)


def _fits(text: str) -> bool:
    return len(rows(segments(text), word_pieces, MARKS)) == 1


def _shown(words: str) -> str:
    said = " ".join(words.split()).strip(" ,")
    if len(said) <= MAX_SHOWN:
        return said
    half = MAX_SHOWN // 2
    return f"{said[:half]} ... {said[-half:]}"


def _length(whole: str, reader: Reader, left_out: str) -> list[Reason]:
    """What is to be told of a long prompt."""
    family = reader.family
    if family.long_prompts == "cut":
        if not left_out:
            return []
        count = sum(len(word_pieces(text)) for text, _ in segments(whole))
        why = f'{family.name} reads {MARKS.length - 2} at once; left out: "{left_out}"'
        return [Reason(choice="prompt", value=f"{count} tokens", why=why)]
    text = " ".join(words for words, _ in segments(whole))
    count = reader.count_tokens(text) if reader.count_tokens else _estimate(text, family)
    about = "" if reader.count_tokens else "about "
    guessed = "" if reader.count_tokens else " (an estimate: its tokenizer is not at hand)"
    if family.long_prompts == "rows" and count > ROW and len(parts(whole)) == 1:
        why = f"{family.name} reads {ROW} at a time, one row behind the other{guessed}"
    elif family.long_prompts == "whole" and count > family.prompt_tokens:
        why = (
            f"{family.name} was made for prompts of at most {family.prompt_tokens}; "
            f"it gets all of them, but what stands last may count little{guessed}"
        )
    else:
        return []
    return [Reason(choice="prompt", value=f"{about}{count} tokens", why=why)]


def _estimate(text: str, family: Family) -> int:
    """About how many tokens a text takes: a word of up to eight letters is one, each mark, too.

    T5 (families that read prompts as a whole) has a piece for about four letters.
    """
    if family.long_prompts == "whole":
        return math.ceil(len(text) / 4)
    pieces = re.findall(r"[^\W\d_]+|\d|[^\s\w]+|_", text)
    # Letters outside of Latin are two or three bytes, and hardly any is merged.
    return sum(math.ceil(len(p.encode()) / 8) if p.isascii() else len(p) * 2 for p in pieces)
