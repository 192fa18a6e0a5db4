"""Which LoRAs a wish asks for, how strong, with which trigger words, and why: a pure function.

A wish is cut into pieces (`parsed_prompt`); candidates come by meaning and by words (`evidence`);
a small logistic model, fitted on the tuning part of `benchmarks/data/selection`, says how
likely each fits (`coefficients`); then rules see to it that what is picked belongs together.
Docs: docs/loras.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from typing import TYPE_CHECKING

from ..card import Card
from ..families.variants import variant_penalty
from ..words.card_words import CardWords, is_generic, trigger_phrases
from ..words.word_forms import plain, words
from . import coefficients, reasons
from .evidence import Evidence, gather, gather_elsewhere
from .lora_weights import balanced, usual_weight
from .parsed_prompt import Wish, parse_wish
from .rivals import rival, same_lora
from .search_index import Library, Meanings, Scope
from .spelling import respelled

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Choice",
    "Library",
    "Meanings",
    "Named",
    "Picked",
    "Refused",
    "Scope",
    "select",
]

THRESHOLD = 0.45
"""What is less likely to fit than this is not picked beside another LoRA."""
FIRST_THRESHOLD = 0.3
"""... and this holds for the likeliest: a wish is rather for some LoRA than for two."""
ASKED_FOR = 0.9
"""What the wish calls by a made-up trigger word is at least this likely."""
UNNAMED = -1.5
"""The log-odds of what has a name that the wish does not say, at most."""
NEARLY = 0.12
"""What is at least this likely is told as a runner-up."""
SURELY = 0.8
"""What cannot be picked is told if it is at least this likely, by its words."""
RUNNERS_UP = 5
MAX_INSERTED = 2
"""Trigger words that are put into a prompt, of one LoRA."""
MAX_INSERTED_LETTERS = 60

MeaningOf = Callable[[Sequence[str]], "np.ndarray"]


@dataclass(frozen=True)
class Named:
    """A LoRA that the person named, by key or name; weights None: as Kizy sets them.

    `times`: how often it was named.
    """

    name: str
    model_weight: float | None = None
    clip_weight: float | None = None
    times: int = 1


@dataclass(frozen=True)
class Picked:
    """`triggers`: words to add to the prompt, which does not hold them yet. `score`: 0 to 1.

    `named`: by the person.
    """

    card: Card
    model_weight: float
    clip_weight: float
    triggers: tuple[str, ...]
    why: str
    score: float
    named: bool = False


@dataclass(frozen=True)
class Refused:
    """A LoRA that was named and cannot be taken. `card` None: there is none of that name."""

    named: Named
    card: Card | None
    why: str


@dataclass(frozen=True)
class Choice:
    """`picked`: what was named, then the surest first. `why_none`: set if nothing was picked.

    `by_words_only`: no meanings were at hand. `refused`: what was named and cannot be taken.
    `notices`: what the person should know, such as a re-ranking that failed.
    """

    picked: tuple[Picked, ...] = ()
    why_none: str | None = None
    runners_up: tuple[tuple[Card, str], ...] = ()
    by_words_only: bool = False
    refused: tuple[Refused, ...] = ()
    notices: tuple[str, ...] = ()


def embedded(sentences: Sequence[str]) -> np.ndarray:
    """`language.embed`, imported when it is needed. Raises ImportError in a base install."""
    from ...language import embed

    return embed(sentences)


def select(
    prompt: str,
    family: str,
    library: Library,
    *,
    variant: str | None = None,
    scope: Scope | None = None,
    max_loras: int = 3,
    named: Sequence[Named] = (),
    meaning_of: MeaningOf | None = embedded,
    rerank: Rerank | None = None,
) -> Choice:
    """The LoRAs that fit a wish, at most `max_loras` unless more were named; never of another
    family.

    `variant`: the model's own within its family ("pony"). `meaning_of`: sentences -> (n, 384) unit
    vectors; None, or ImportError: by words only. `rerank`: see `rerank.Reranker`. Deterministic
    without it. Raises InputError `name_ambiguous` for what is named, nothing else.
    """
    scope = scope or Scope()
    wish = parse_wish(respelled(prompt, library))
    meanings = _meanings(wish, library, meaning_of)
    taken, refused = _named(named, family, library)
    allowed = library.allowed(scope)
    judged = _one_a_training(
        judge(wish, library, family, allowed, meanings, variant), library, allowed
    )
    notices: tuple[str, ...] = ()
    if rerank is not None and judged:
        judged, notices = rerank(prompt, judged, library)
    elsewhere = _elsewhere(wish, library, family, allowed)
    out_of_reach = [evidence for evidence, _ in elsewhere if evidence.values["called"]]
    rounds = _Picking(wish, library, variant, [at for at, _ in taken], out_of_reach)
    for evidence in judged:
        rounds.consider(evidence, len(taken), max_loras)
    picked = _finished(prompt, taken, rounds, library, variant)
    told_elsewhere = [(evidence.at, why) for evidence, why in elsewhere]
    why_none = None
    if not picked:
        why_none = reasons.why_none(wish, library, family, allowed, judged, told_elsewhere)
    told = [(evidence.at, why) for evidence, why in rounds.left_out] + told_elsewhere
    runners_up = tuple((library.cards[at], why) for at, why in told[:RUNNERS_UP])
    return Choice(picked, why_none, runners_up, meanings is None, tuple(refused), notices)


def _one_a_training(
    judged: Sequence[Evidence], library: Library, allowed: np.ndarray
) -> list[Evidence]:
    """Evidence for files that were saved on the way goes to their training's final file."""
    heads = library.heads(allowed)
    found: dict[int, Evidence] = {}
    for evidence in judged:
        at = heads.get(evidence.at, evidence.at)
        found.setdefault(at, evidence if at == evidence.at else replace(evidence, at=at))
    return list(found.values())


Rerank = Callable[[str, Sequence[Evidence], Library], tuple[Sequence[Evidence], tuple[str, ...]]]


def judge(
    wish: Wish,
    library: Library,
    family: str,
    allowed: np.ndarray,
    meanings: np.ndarray | None,
    variant: str | None = None,
) -> list[Evidence]:
    """Evidence for a family's candidates with their scores, the surest first, ties by key."""
    found = gather(wish, library, family, allowed, meanings)
    for evidence in found:
        if wish.fast and library.words(evidence.at).speed:
            evidence.score = ASKED_FOR
            continue
        evidence.score = score(evidence, library.cards[evidence.at].variant, variant)
    return sorted(found, key=lambda one: (-round(one.score, 6), library.cards[one.at].key))


def score(evidence: Evidence, made_for: str | None, variant: str | None) -> float:
    """How likely a card fits, 0 to 1."""
    model = coefficients.BY_WORDS
    if evidence.values["known"]:
        alone = evidence.values["alone"] > 0
        model = coefficients.BY_MEANING if alone else coefficients.WITH_MEANING
    total = model.get("constant", 0.0) - variant_penalty(made_for, variant)
    total += sum(model.get(name, 0.0) * value for name, value in evidence.values.items())
    if evidence.values["unnamed_person"]:
        total = min(total, UNNAMED)
    likely = 1 / (1 + exp(-max(-30.0, min(30.0, total))))
    return ASKED_FOR + (1 - ASKED_FOR) * likely if evidence.values["typed"] else likely


def _meanings(wish: Wish, library: Library, meaning_of: MeaningOf | None) -> np.ndarray | None:
    """(pieces + 1, 384), the whole wish last; None if it goes by words."""
    if meaning_of is None or not library.has_meanings:
        return None
    try:
        return meaning_of(wish.texts)
    except ImportError:
        return None


@dataclass
class _Picking:
    """Takes cards in the order of their scores, as long as they belong together.

    `out_of_reach`: cards of somebody whom the wish names, and which cannot be picked.
    """

    wish: Wish
    library: Library
    variant: str | None
    held: list[int]
    out_of_reach: list[Evidence]
    picked: list[Evidence] = field(default_factory=list)
    left_out: list[tuple[Evidence, str]] = field(default_factory=list)

    def consider(self, evidence: Evidence, named: int, max_loras: int) -> None:
        at, library = evidence.at, self.library
        if at in self.held or evidence.score < NEARLY:
            return
        card, facts = library.cards[at], library.words(at)
        why = None
        if facts.speed and not self.wish.fast:
            why = reasons.SPEED
        elif facts.nothing_told and evidence.score < 0.9:
            why = reasons.NOTHING_TOLD
        elif evidence.score < (THRESHOLD if self.picked or named else FIRST_THRESHOLD):
            why = reasons.not_asked(self.wish, evidence, card, facts, self.variant)
        elif self._unwanted(evidence, facts):
            why = reasons.UNWANTED
        elif self._stands_in(evidence):
            why = reasons.not_asked(self.wish, evidence, card, facts, self.variant)
        else:
            why = self._rival(evidence, card, facts)
        if why is None and len(self.picked) + named >= max_loras:
            why = reasons.too_many(max_loras)
        if why is None:
            self.picked.append(evidence)
        else:
            self.left_out.append((evidence, why))

    def _unwanted(self, evidence: Evidence, facts: CardWords) -> bool:
        """Whether the wish says that it does not want what the card brings."""
        for text in self.wish.unwanted:
            said = set(words(text))
            if said & facts.identity or parse_wish(text).terms.keys() & facts.strong:
                return not (facts.identity - said) & set(evidence.shared)
        return False

    def _stands_in(self, evidence: Evidence) -> bool:
        """Whether it shares only words that name somebody who is out of reach: any owl is not
        the Barn Owl Queen.
        """
        shared = set(evidence.shared)
        return bool(shared) and any(shared < set(named.shared) for named in self.out_of_reach)

    def _rival(self, evidence: Evidence, card: Card, facts: CardWords) -> str | None:
        for at in self.held:
            other, held = self.library.cards[at], self.library.words(at)
            if facts.kind == held.kind == "style":
                return reasons.two_styles(other)
            if same_lora(self.library, at, evidence.at):
                return reasons.same(other)
        for number, chosen in enumerate(self.picked):
            verdict = rival(self.wish, self.library, chosen, evidence, self.variant)
            if verdict is None:
                continue
            if verdict.instead:
                self.picked.pop(number)
                self.left_out.append((chosen, verdict.why))
                return None
            return verdict.why
        return None


def _named(
    named: Sequence[Named], family: str, library: Library
) -> tuple[list[tuple[int, Named]], list[Refused]]:
    """(place, as named) of what can be taken, and what cannot with the reason.

    Raises InputError `name_ambiguous`.
    """
    taken: dict[int, Named] = {}
    refused: list[Refused] = []
    for one in named:
        found = library.find(one.name)
        if not found:
            refused.append(Refused(one, None, reasons.unknown_name(one.name, library)))
            continue
        whole = [at for at in found if library.cards[at].problem is None]
        of_family = [at for at in whole if library.cards[at].family == family]
        usable = of_family or [at for at in whole if library.cards[at].family is None]
        if usable:
            at = library.only(usable, one.name)
            taken[at] = _together(taken[at], one) if at in taken else one
        else:
            card = library.cards[found[0]]
            refused.append(Refused(one, card, reasons.refused(card, family)))
    return list(taken.items()), refused


def _together(one: Named, other: Named) -> Named:
    """A LoRA that is named twice: what was said of its weights adds up, as in A1111 and ComfyUI."""

    def total(*weights: float | None) -> float | None:
        said = [weight for weight in weights if weight is not None]
        return max(-10.0, min(10.0, sum(said))) if said else None

    clips = [named.clip_weight for named in (one, other)]
    if any(clip is not None for clip in clips):
        # A text weight that is not said is the model's.
        clips = [n.model_weight if n.clip_weight is None else n.clip_weight for n in (one, other)]
    model = total(one.model_weight, other.model_weight)
    return Named(one.name, model, total(*clips), one.times + other.times)


def _finished(
    prompt: str,
    taken: Sequence[tuple[int, Named]],
    rounds: _Picking,
    library: Library,
    variant: str | None,
) -> tuple[Picked, ...]:
    """Weights, trigger words and reasons for what was picked."""
    places = [at for at, _ in taken] + [evidence.at for evidence in rounds.picked]
    asked = [one.model_weight for _, one in taken] + [None] * len(rounds.picked)
    usual = [usual_weight(library.cards[at], library.words(at)) for at in places]
    lowered = balanced(
        [weight if given is None else given for weight, given in zip(usual, asked, strict=True)],
        fixed=[
            given is not None or library.words(at).speed
            for given, at in zip(asked, places, strict=True)
        ],
    )
    picked: list[Picked] = []
    text = prompt
    for number, at in enumerate(places):
        card, facts = library.cards[at], library.words(at)
        weight = lowered[number]
        note = reasons.weight_note(card, facts, weight, usual[number], asked[number], len(places))
        was_named = number < len(taken)
        if was_named:
            why = reasons.was_named(card, variant, note)
            if taken[number][1].times > 1:
                why += " It is named more than once: the weights add up."
            clip = taken[number][1].clip_weight
            sure = 1.0
        else:
            evidence = rounds.picked[number - len(taken)]
            why = reasons.why(rounds.wish, evidence, card, facts, variant, note)
            clip, sure = None, evidence.score
        inserted = missing_triggers(text, card)
        text = ", ".join((text, *inserted))
        clip = weight if clip is None else clip
        picked.append(Picked(card, weight, clip, inserted, why, round(sure, 3), was_named))
    return tuple(picked)


def missing_triggers(prompt: str, card: Card) -> tuple[str, ...]:
    """The author's first trigger words, at most two; none if the prompt holds the first already.

    Authors put the one that matters first; lists of hair, clothes and quality words follow.
    """
    spoken = f" {' '.join(words(prompt))} "
    found: list[str] = []
    usable = [phrase for phrase in trigger_phrases(card) if not is_generic(phrase)]
    for number, phrase in enumerate(usable[:MAX_INSERTED]):
        held = f" {' '.join(words(phrase))} " in spoken or plain(phrase) in plain(prompt)
        if held and number == 0:
            break
        if not held and (not found or len(found[0]) + len(phrase) <= MAX_INSERTED_LETTERS):
            found.append(phrase)
    return tuple(found)


def _elsewhere(
    wish: Wish, library: Library, family: str, allowed: np.ndarray
) -> list[tuple[Evidence, str]]:
    """What would fit by its words, and why it cannot be picked: family, problem, adult, scope."""
    told: list[tuple[Evidence, str]] = []
    for evidence in gather_elsewhere(wish, library, family, allowed):
        card = library.cards[evidence.at]
        evidence = replace(evidence, score=score(evidence, card.variant, card.variant))
        if evidence.score >= SURELY and not library.words(evidence.at).speed:
            told.append((evidence, reasons.cannot(card, family)))
    return told
