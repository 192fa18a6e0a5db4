"""How well LoRAs are chosen for a wish, beside three simple ways to choose.

    python -m benchmarks.selection [--part tuning|held-out|both] [--misses]
    python -m benchmarks.selection --fit       # writes catalog/coefficients.py
    python -m benchmarks.selection --speed     # among 100,000 synthetic cards

`data/selection/cards.json` are cards as collections have them; `prompts.json` are wishes with what
fits: `fits` holds one list of keys a concept, any of which is right; none: nothing fits. A third
of the wishes, by a hash of their words, is held out: nothing is tuned on it.

Printed, over all wishes of a part: precision (of everything picked, the share that fits a concept
that nothing picked before it took), recall (of all concepts, the share that was met), F1 of picking
nothing, and picks of another family, also when cards lie about it or do not tell.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kizy.catalog import coefficients
from kizy.catalog.card import Card
from kizy.catalog.card_words import card_texts
from kizy.catalog.evidence import FEATURES, gather
from kizy.catalog.library import Library, Scope
from kizy.catalog.select import select
from kizy.catalog.wish import parse_wish

DATA = Path(__file__).parent / "data" / "selection"
COEFFICIENTS = Path(coefficients.__file__)
FOLDS = 5
MAX_LORAS = 3

SIGNS = {"other_style": -1, "aside": -1, "unnamed_person": -1, "known": 0, "alone": 0, "alone_near": 0, "alone_first": 0, "alone_unusual": 0, "alone_means": 0, "unusual": 0}
"""Features that may only speak against a card (-1) or either way (0); all others only for it."""
PENALTY = 0.3
"""L2 penalty of the coefficients, beside the log-loss summed over all pairs."""

Chooser = Callable[["Labelled"], Sequence[str]]


@dataclass(frozen=True)
class Labelled:
    """A wish with what fits it; see the module."""

    prompt: str
    family: str
    variant: str | None
    fits: tuple[tuple[str, ...], ...]
    case: str

    @property
    def held_out(self) -> bool:
        return int(hashlib.sha256(self.prompt.encode()).hexdigest(), 16) % 3 == 0


@dataclass(frozen=True)
class Score:
    """Shares, 0 to 1; counts of wishes, picks, concepts and wrong families."""

    precision: float
    recall: float
    abstention: float
    wishes: int
    picks: int
    concepts: int
    wrong_family: int

    def row(self, name: str) -> str:
        shares = " | ".join(f"{x:.3f}" for x in (self.precision, self.recall, self.abstention))
        return f"| {name} | {shares} | {self.wrong_family} | {self.picks} |"


@dataclass(frozen=True)
class Rows:
    """Meanings: one row for each text of a card."""

    keys: Sequence[str]
    vectors: np.ndarray


class Cache:
    """Meanings of texts, each computed once in this run."""

    def __init__(self) -> None:
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        from kizy.language import embed

        new = sorted({text for text in texts if text not in self._known}, key=len)
        self._known.update(zip(new, embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def load_cards() -> list[Card]:
    listed = json.loads((DATA / "cards.json").read_text(encoding="utf-8"))
    return [Card.model_validate(one) for one in listed]


def load_wishes() -> list[Labelled]:
    listed = json.loads((DATA / "prompts.json").read_text(encoding="utf-8"))
    return [
        Labelled(
            one["prompt"],
            one["family"],
            one.get("variant"),
            tuple(tuple(keys) for keys in one["fits"]),
            one["case"],
        )
        for one in listed
    ]


def build_library(cards: Sequence[Card], meaning_of: Cache | None) -> Library:
    """A library with the meanings of all its cards' texts; None: by words."""
    if meaning_of is None:
        return Library.of(cards)
    texts = [(card.key, text) for card in cards for text in card_texts(card)]
    return Library.of(
        cards, Rows([key for key, _ in texts], meaning_of([text for _, text in texts]))
    )


def by_kizy(library: Library, meaning_of: Cache | None) -> Chooser:
    def choose(wish: Labelled) -> Sequence[str]:
        choice = select(
            wish.prompt,
            wish.family,
            library,
            variant=wish.variant,
            max_loras=MAX_LORAS,
            meaning_of=meaning_of,
        )
        return [picked.card.key for picked in choice.picked]

    return choose


def right_picks(wish: Labelled, keys: Iterable[str]) -> int:
    """How many picks fit a concept that none before them took."""
    open_concepts = list(wish.fits)
    right = 0
    for key in keys:
        for concept in open_concepts:
            if key in concept:
                open_concepts.remove(concept)
                right += 1
                break
    return right


def measure(
    wishes: Sequence[Labelled], chosen: Sequence[Sequence[str]], families: dict[str, str | None]
) -> Score:
    """The score of what was chosen for each wish. `families`: the true one of each key."""
    pairs = list(zip(wishes, chosen, strict=True))
    right = sum(right_picks(wish, keys) for wish, keys in pairs)
    picks = sum(len(keys) for _, keys in pairs)
    concepts = sum(len(wish.fits) for wish in wishes)
    none_fits = sum(not wish.fits for wish in wishes)
    abstained = sum(not keys for _, keys in pairs)
    rightly = sum(not wish.fits and not keys for wish, keys in pairs)
    wrong = sum(families[key] != wish.family for wish, keys in pairs for key in keys)
    return Score(
        precision=right / picks if picks else 1.0,
        recall=right / concepts if concepts else 1.0,
        abstention=2 * rightly / (none_fits + abstained) if none_fits + abstained else 1.0,
        wishes=len(wishes),
        picks=picks,
        concepts=concepts,
        wrong_family=wrong,
    )


def lying(cards: Sequence[Card], family: str) -> list[Card]:
    """The cards of other families claim, in every text they have, to be for this one."""
    return [
        card
        if card.family == family
        else card.model_copy(
            update={
                "name": f"{card.name}_{family}",
                "about": f"{card.about} Made for {family}.",
                "tags": (*card.tags, family),
                "folder": family,
            }
        )
        for card in cards
    ]


def stripped(cards: Sequence[Card]) -> list[Card]:
    """Every second card (by a hash of its key) does not tell its family."""
    return [
        card.model_copy(update={"family": None})
        if hashlib.sha256(card.key.encode()).digest()[0] % 2
        else card
        for card in cards
    ]


def wrong_families(
    cards: Sequence[Card], wishes: Sequence[Labelled], cache: Cache
) -> tuple[int, int]:
    """Picks of another family when cards lie, and picks of none when every second is stripped."""
    families = {card.key: card.family for card in cards}
    lies = 0
    for family in sorted({wish.family for wish in wishes}):
        mine = [wish for wish in wishes if wish.family == family]
        choose = by_kizy(build_library(lying(cards, family), cache), cache)
        lies += measure(mine, [choose(wish) for wish in mine], families).wrong_family
    half = stripped(cards)
    choose = by_kizy(build_library(half, cache), cache)
    told = {card.key: card.family for card in half}
    return lies, measure(wishes, [choose(wish) for wish in wishes], told).wrong_family


def pairs(
    library: Library, wishes: Sequence[Labelled], cache: Cache | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, fits, number of the wish) of every candidate that the model has to judge."""
    rows, fits, which = [], [], []
    for number, labelled in enumerate(wishes):
        wish = parse_wish(labelled.prompt)
        meanings = None
        if cache is not None and wish.pieces:
            meanings = cache([piece.text for piece in wish.pieces])
        right = {key for concept in labelled.fits for key in concept}
        allowed = library.allowed(Scope())
        for one in gather(wish, library, labelled.family, allowed, meanings):
            card = library.cards[one.at]
            other_variant = card.variant not in (None, labelled.variant)
            if card.key in right or not (other_variant or library.words(one.at).speed):
                rows.append([one.values[name] for name in FEATURES])
                fits.append(float(card.key in right))
                which.append(number)
    return np.array(rows), np.array(fits), np.array(which)


def fit(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Logistic regression with an L2 penalty, by Newton's method; a coefficient that comes out
    with the wrong sign (see `SIGNS`) is held at 0 and the rest is fitted again.
    """
    names = (*FEATURES, "constant")
    x = np.hstack([x, np.ones((len(x), 1))])
    signs = np.array([SIGNS.get(name, 0 if name == "constant" else 1) for name in names])
    free = x.std(0) + (np.arange(len(names)) == len(FEATURES)) > 0
    while True:
        weights = np.zeros(len(names))
        weights[free] = _newton(x[:, free], y)
        wrong = (signs * weights < 0) & free
        if not wrong.any():
            break
        free[np.argmin(np.where(wrong, signs * weights, 0.0))] = False
    return {name: round(float(weight), 3) for name, weight in zip(names, weights, strict=True)}


def _newton(x: np.ndarray, y: np.ndarray, steps: int = 40) -> np.ndarray:
    """The last column is the constant, which is not penalised."""
    weights = np.zeros(x.shape[1])
    penalty = np.append(np.full(x.shape[1] - 1, PENALTY), 1e-6)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        hessian = (x.T * (p * (1 - p)).clip(1e-6)) @ x + np.diag(penalty)
        weights = weights - np.linalg.solve(hessian, x.T @ (p - y) + penalty * weights)
    return weights


def write_coefficients(with_meaning: dict[str, float], by_words: dict[str, float]) -> None:
    def table(values: dict[str, float]) -> str:
        return "{\n" + "".join(f'    "{name}": {value},\n' for name, value in values.items()) + "}"

    COEFFICIENTS.write_text(
        '"""How much each piece of evidence counts; written by'
        " `python -m benchmarks.selection --fit`.\n\nSee `evidence.FEATURES`; the sum is the"
        ' log-odds that a LoRA fits.\n"""\n\nfrom __future__ import annotations\n\n'
        f"WITH_MEANING: dict[str, float] = {table(with_meaning)}\n\n"
        f"BY_WORDS: dict[str, float] = {table(by_words)}\n",
        encoding="utf-8",
    )


def fit_all(cards: Sequence[Card], wishes: Sequence[Labelled], cache: Cache) -> None:
    """Fit both models on the tuning part and write them."""
    tuning = [wish for wish in wishes if not wish.held_out]
    found = []
    for meaning_of in (cache, None):
        x, y, _ = pairs(build_library(cards, meaning_of), tuning, meaning_of)
        found.append(fit(x, y))
        print(f"{len(y)} pairs, {int(y.sum())} fit:", found[-1])
    write_coefficients(*found)


def report(cards: Sequence[Card], wishes: Sequence[Labelled], cache: Cache, misses: bool) -> None:
    from .selection_baselines import baselines

    tuning = [wish for wish in wishes if not wish.held_out]
    held_out = [wish for wish in wishes if wish.held_out]
    seen = {key for wish in tuning for concept in wish.fits for key in concept}
    unseen = [
        wish
        for wish in held_out
        if not any(key in seen for concept in wish.fits for key in concept)
    ]
    families = {card.key: card.family for card in cards}
    choosers = {
        "Kizy": by_kizy(build_library(cards, cache), cache),
        "Kizy, by words only": by_kizy(build_library(cards, None), None),
        **baselines(cards, tuning, cache, families),
    }
    parts = (
        ("tuning", tuning),
        ("held out", held_out),
        ("held out, cards that no tuning wish wants", unseen),
    )
    print(f"{len(cards)} cards, {len(wishes)} wishes, none fits {sum(not w.fits for w in wishes)}")
    for title, part in parts:
        print(f"\n{title}: {len(part)} wishes, none fits {sum(not wish.fits for wish in part)}")
        print("| | precision | recall | abstention F1 | wrong family | picks |")
        print("|---|---|---|---|---|---|")
        for name, choose in choosers.items():
            chosen = [choose(wish) for wish in part]
            print(measure(part, chosen, families).row(name))
            if misses and name == "Kizy" and title == "tuning":
                show_misses(part, chosen)
        if title != "tuning":
            continue
    for title, part in parts[:2]:
        lies, none = wrong_families(cards, part, cache)
        print(f"{title}: wrong family with lying cards {lies}, with stripped cards {none}")


def show_misses(wishes: Sequence[Labelled], chosen: Sequence[Sequence[str]]) -> None:
    for wish, keys in zip(wishes, chosen, strict=True):
        if right_picks(wish, keys) != max(len(keys), len(wish.fits)):
            print(f"  {wish.prompt!r} ({wish.case}): {list(keys)}, fits {list(wish.fits)}")


def by_case(wishes: Sequence[Labelled], chosen: Sequence[Sequence[str]]) -> dict[str, float]:
    """Share of wishes of each case for which exactly the right was chosen."""
    cases: dict[str, list[bool]] = {}
    for wish, keys in zip(wishes, chosen, strict=True):
        exact = right_picks(wish, keys) == max(len(keys), len(wish.fits))
        cases.setdefault(wish.case, []).append(exact)
    return {case: sum(found) / len(found) for case, found in sorted(cases.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fit", action="store_true", help="fit on the tuning part, and write")
    parser.add_argument("--speed", action="store_true", help="among 100,000 synthetic cards")
    parser.add_argument("--cards", type=int, default=100_000, help="how many, with --speed")
    parser.add_argument("--misses", action="store_true", help="list what went wrong in tuning")
    arguments = parser.parse_args()
    if arguments.speed:
        from .selection_speed import report_speed

        report_speed(arguments.cards)
        return
    cards, wishes, cache = load_cards(), load_wishes(), Cache()
    if arguments.fit:
        fit_all(cards, wishes, cache)
    else:
        report(cards, wishes, cache, arguments.misses)


if __name__ == "__main__":
    main()
