"""Why a LoRA was picked or not, in words that an artist understands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.errors import nearest
from ..card import Card
from ..families.family import load_families
from ..words.art_words import STYLE_NAMES
from ..words.card_words import CardWords
from ..words.word_forms import raw_words, stem
from .evidence import Evidence
from .parsed_prompt import Wish
from .search_index import Library

if TYPE_CHECKING:
    import numpy as np

SPEED = "It only makes drawing faster, and needs other steps and guidance: name it to use it."
NOTHING_TOLD = "Nothing tells what it draws: give it a description or trigger words."
UNWANTED = "You said that you do not want this."

_KINDS = {"subject": "a subject", "style": "a style", "technique": "an effect"}
MAX_QUOTE = 90
MOST_HINTED = 10_000
"""Cards among which the nearest name is looked for."""
SAME_START = 5
"""Words that begin with as many same letters need no explanation ("embroidered", "embroidery")."""


def why(
    wish: Wish,
    evidence: Evidence,
    card: Card,
    facts: CardWords,
    variant: str | None,
    weight: str,
) -> str:
    """Why a card was picked: what was asked for, what the LoRA does, how strong."""
    sentences = [f"{_asked(wish, evidence, facts)} {_does(card, facts)}", weight]
    note = variant_note(card.variant, variant)
    return " ".join(part for part in (*sentences, note) if part)


def was_named(card: Card, variant: str | None, weight: str) -> str:
    """Why a card was taken that the person named."""
    unknown = "" if card.family else "Kizy could not tell which models it is for."
    parts = ("You named it.", weight, unknown, variant_note(card.variant, variant))
    return " ".join(part for part in parts if part)


def weight_note(
    card: Card,
    facts: CardWords,
    weight: float,
    usual: float,
    asked: float | None,
    together: int,
) -> str:
    """Where a weight comes from."""
    if asked is not None:
        return f"Strength {weight:g}, as you set it."
    if facts.speed and card.weight is None:
        origin = "what LoRAs for speed are made for"
    elif card.weight is not None:
        origin = "as its author recommends"
    else:
        origin = f"usual for {_KINDS[facts.kind]}"
    if weight < usual:
        return (
            f"Strength {weight:g}: {usual:g} alone ({origin}), lowered as {together} are combined."
        )
    return f"Strength {weight:g}, {origin}."


def variant_note(made_for: str | None, variant: str | None) -> str:
    """What to know if a LoRA was made for another variant of the family; else empty."""
    if made_for is None or made_for == variant:
        return ""
    here = f"a {_variant(variant)} model" if variant else "the plain base model"
    return f"It was made for {_variant(made_for)} models; on {here} it may come out weaker."


def not_asked(
    wish: Wish, evidence: Evidence, card: Card, facts: CardWords, variant: str | None
) -> str:
    """Why a card that came close was not picked."""
    if evidence.values["unnamed_person"]:
        return "It is of somebody or something with a name, which you did not say."
    if evidence.values["other_style"] > 0.5:
        asked = sorted(wish.style_terms)[0]
        mine = sorted(name for name in facts.strong or facts.weak if name in STYLE_NAMES)
        return f"You asked for {asked}; this is {mine[0]}." if mine else "It is another style."
    if variant_note(card.variant, variant) and evidence.score > 0.2:
        return f"It comes close, but was made for {_variant(card.variant)} models."
    return "It comes close, but you did not clearly ask for it."


def two_styles(other: Card) -> str:
    """Lost against another style."""
    return f'Two styles at once fight; "{other.name}" fits better.'


def same(other: Card) -> str:
    """A copy of what was picked."""
    return f'Much the same as "{other.name}", which fits better.'


def older(newer: Card) -> str:
    """Another version was picked."""
    return f'Another version of "{newer.name}", which is taken.'


def same_concept(wish: Wish, chosen: Evidence, other: Card) -> str:
    """Lost the concept to another card."""
    return f'"{other.name}" is there for {_quoted(_phrase(wish, chosen))} already.'


def too_many(limit: int) -> str:
    """There was no place left."""
    return f"At most {limit} are combined." if limit != 1 else "Only one was to be picked."


def cannot(card: Card, family: str) -> str:
    """Why a card that would fit by its words is out of the question."""
    if card.problem is not None:
        return f"It cannot be used: {card.problem}"
    if card.family is None:
        return "Kizy could not tell which models it is for, so it is only used if you name it."
    if card.family != family:
        return f"It is for {family_name(card.family)}, and this model is {family_name(family)}."
    if card.mature:
        return "It is marked as adult, and adult LoRAs are off."
    return "It is not among the LoRAs that you allowed."


def refused(card: Card, family: str) -> str:
    """Why a named card cannot be taken."""
    return cannot(card, family)


def unknown_name(name: str, library: Library) -> str:
    """There is no such card."""
    usable = (card for card in library.cards[:MOST_HINTED] if card.problem is None)
    known = (call(card) for card in usable for call in (library.name_of, library.file_name))
    hint = nearest(name, known)
    return f'No LoRA is called "{name}". {hint}'.strip()


def why_none(
    wish: Wish,
    library: Library,
    family: str,
    allowed: np.ndarray,
    judged: Sequence[Evidence],
    elsewhere: Sequence[tuple[int, str]],
) -> str:
    """Why nothing was picked."""
    stretch = library.stretch(family)
    size, here = stretch.stop - stretch.start, family_name(family)
    if not size:
        text = f"There is no LoRA for {here} here."
    elif not allowed[stretch].any():
        text = f"None of the LoRAs for {here} may be used: see your settings, or their problems."
    elif not wish.pieces and not wish.words:
        text = "Your words name nothing that a LoRA could add."
    else:
        many = f"None of your {size:,} LoRAs" if size > 1 else "Your only LoRA"
        text = f"{many} for {here} {'is' if size > 1 else 'is not'} about what you asked for."
        if size > 1 and judged and judged[0].score > 0.05:
            text += f' The nearest was "{library.cards[judged[0].at].name}".'
    if elsewhere:
        at, cause = elsewhere[0]
        text += f' "{library.cards[at].name}" would fit, but: {cause[:1].lower()}{cause[1:]}'
    return text


def family_name(family: str) -> str:
    """A family's name as people know it."""
    known = load_families().get(family)
    return known.name if known else family


def _variant(variant: str | None) -> str:
    """Its name as people know it."""
    known = (v.name for f in load_families().values() for v in f.variants if v.id == variant)
    return next(known, variant or "base")


def _asked(wish: Wish, evidence: Evidence, facts: CardWords) -> str:
    if evidence.trigger and evidence.values["trigger"] > 0.5:
        code = evidence.values["code_word"] > 0
        if code and facts.kind != "subject":
            return f"You wrote its trigger word {_quoted(evidence.trigger)}."
        return f"You asked for {_quoted(evidence.trigger)}."
    if evidence.terms:
        name = evidence.terms[0]
        said = wish.terms[name].said
        if _letters(said)[:SAME_START] != _letters(name)[:SAME_START]:
            return f"You asked for {_quoted(said)} ({name})."
    if evidence.shared or evidence.piece >= 0:
        return f"You asked for {_quoted(_phrase(wish, evidence))}."
    return "It fits your words."


def _does(card: Card, facts: CardWords) -> str:
    about = re.split(r"(?<=[.!?])\s|\n", " ".join(card.about.split()))[0].strip(" .")
    if len(about) > MAX_QUOTE:
        about = about[:MAX_QUOTE].rsplit(" ", 1)[0] + " …"
    if about:
        teller = "You say" if card.source == "kizy" else "Its author says"
        return f'{teller} of this LoRA: "{about}".'
    what = {"subject": "shows", "style": "draws in the style", "technique": "gives"}[facts.kind]
    if facts.title:
        return f"By its name this LoRA {what}: {facts.title}."
    tags = ", ".join(card.tags[:3])
    return f"By its tags this LoRA {what}: {tags}." if tags else "It has that trigger word."


def _phrase(wish: Wish, evidence: Evidence) -> str:
    """The shortest part of the wish with the most telling words in common, as it was written."""
    wanted = set(evidence.shared[:2])
    holding = [p.said for p in wish.pieces if wanted and wanted <= set(p.words)]
    if not holding and evidence.shared:
        holding = [p.said for p in wish.pieces if evidence.shared[0] in p.words]
    if not holding and evidence.piece >= 0:
        holding = [wish.pieces[evidence.piece].said]
    shortest = min(holding, key=len, default=" ".join(evidence.shared[:3]))
    if len(shortest) > MAX_QUOTE // 2:
        shortest = _around(shortest, evidence.shared)
    return shortest


def _around(said: str, shared: Sequence[str]) -> str:
    """A long part of a wish, cut to what stands between the first and last word in common."""
    spoken = said.split()
    places = [n for n, word in enumerate(spoken) if any(stem(w) in shared for w in raw_words(word))]
    first, last = (places[0], places[-1]) if places else (0, len(spoken) - 1)
    kept = " ".join(spoken[first : last + 1])
    if len(kept) > MAX_QUOTE // 2:
        kept = kept[: MAX_QUOTE // 2].rsplit(" ", 1)[0]
    before = "… " if first else ""
    return f"{before}{kept}{'' if spoken[-1] in kept.split()[-1:] else ' …'}"


def _letters(text: str) -> str:
    return "".join(raw_words(text))


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return f'"{text[: MAX_QUOTE - 1]}…"' if len(text) > MAX_QUOTE else f'"{text}"'
