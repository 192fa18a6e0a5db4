"""Fits how much each piece of evidence counts, on the tuning parts of both labelled sets.

`python -m benchmarks.selection --fit` writes `catalog/search/coefficients.py` and the meanings of
the glossary, `catalog/words/dictionary/concepts.npy`; the same data gives the same files.
`python -m benchmarks.selection --validate` tells, with five folds, how the fit does on tuning
wishes that it has not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from kizy.catalog.search import coefficients
from kizy.catalog.search.evidence import FEATURES, gather
from kizy.catalog.search.parsed_prompt import parse_wish
from kizy.catalog.search.search_index import Library, Scope
from kizy.catalog.search.spelling import respelled
from kizy.catalog.words import concepts

from .selection_scores import measure
from .selection_sets import Cache, Labelled, LabelledSet, build_library

FOLDS = 5
PENALTY = 0.3
"""L2 penalty of the coefficients, beside the log-loss summed over all pairs."""
SIGNS = {"other_style": -1, "aside": -1, "unnamed_person": -1, "unsaid": -1}
"""Features that may only speak against a card."""
EITHER = {"known", "alone", "unusual", "constant"}
"""Features that may speak for or against one; all others only for it."""

Table = dict[str, float]


def write_concepts(cache: Cache) -> None:
    """Embed the glossary's terms and the everyday wishes anew, and store them."""
    concepts.write(cache(concepts.texts()))
    concepts.vectors.cache_clear()


def pairs(
    library: Library, wishes: Sequence[Labelled], cache: Cache | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, fits, number of the wish) of every candidate that the model has to judge."""
    rows, fits, which = [], [], []
    for number, labelled in enumerate(wishes):
        wish = parse_wish(respelled(labelled.prompt, library))
        meanings = None if cache is None else cache(wish.texts)
        allowed = library.allowed(Scope())
        for one in gather(wish, library, labelled.family, allowed, meanings):
            card = library.cards[one.at]
            other_variant = card.variant not in (None, labelled.variant)
            right = card.key in labelled.right
            if right or not (other_variant or library.words(one.at).speed):
                rows.append([one.values[name] for name in FEATURES])
                fits.append(float(right))
                which.append(number)
    return np.array(rows), np.array(fits), np.array(which)


def fit(x: np.ndarray, y: np.ndarray) -> Table:
    """Logistic regression with an L2 penalty, by Newton's method; a coefficient that comes out
    with the wrong sign is held at 0 and the rest is fitted again.
    """
    names = (*FEATURES, "constant")
    x = np.hstack([x, np.ones((len(x), 1))])
    signs = np.array([0 if name in EITHER else SIGNS.get(name, 1) for name in names])
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


def fit_with_meaning(x: np.ndarray, y: np.ndarray) -> tuple[Table, Table]:
    """(cards that share telling words with the wish, cards found by meaning alone)."""
    alone = x[:, FEATURES.index("alone")] > 0
    return fit(x[~alone], y[~alone]), fit(x[alone], y[alone])


def fit_all(sets: Sequence[LabelledSet], cache: Cache) -> None:
    """Fit all three models on the tuning parts, and write them."""
    write_concepts(cache)
    x, y = _joined([pairs(build_library(one.cards, cache), one.tuning, cache) for one in sets])
    with_meaning, by_meaning = fit_with_meaning(x, y)
    x, y = _joined([pairs(build_library(one.cards, None), one.tuning, None) for one in sets])
    tables = {"WITH_MEANING": with_meaning, "BY_MEANING": by_meaning, "BY_WORDS": fit(x, y)}
    for name, table in tables.items():
        print(name, {feature: value for feature, value in table.items() if value})
    write_coefficients(tables)


def _joined(
    found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    return np.vstack([x for x, _, _ in found]), np.concatenate([y for _, y, _ in found])


def write_coefficients(tables: dict[str, Table]) -> None:
    """Write `catalog/search/coefficients.py`; coefficients of 0 are left out."""
    text = (
        '"""How much each piece of evidence counts; written by'
        " `python -m benchmarks.selection --fit`.\n\nSee `evidence.FEATURES`; the sum is the"
        " log-odds that a LoRA fits.\nWITH_MEANING is for cards that share telling words with the"
        " wish, BY_MEANING for those found by\nmeaning alone, BY_WORDS for when no meanings are at"
        ' hand.\n"""\n\nfrom __future__ import annotations\n'
    )
    for name, table in tables.items():
        lines = "".join(f'    "{key}": {value},\n' for key, value in table.items() if value)
        text += f"\n{name}: dict[str, float] = {{\n{lines}}}\n"
    Path(coefficients.__file__).write_text(text, encoding="utf-8")


def validate(sets: Sequence[LabelledSet], cache: Cache) -> None:
    """Scores on tuning wishes that a fit has not seen: five folds of both sets together, and one
    set by a fit on the other one alone. Nothing is written.
    """
    from .selection import by_kizy

    libraries = [build_library(one.cards, cache) for one in sets]
    found = [pairs(lib, one.tuning, cache) for lib, one in zip(libraries, sets, strict=True)]
    kept = coefficients.WITH_MEANING, coefficients.BY_MEANING
    chosen: list[dict[int, Sequence[str]]] = [{} for _ in sets]
    for fold in range(FOLDS):
        others = []
        for (x, y, which), one in zip(found, sets, strict=True):
            seen = np.array([_fold(wish) != fold for wish in one.tuning])[which]
            others.append((x[seen], y[seen], which[seen]))
        coefficients.WITH_MEANING, coefficients.BY_MEANING = fit_with_meaning(*_joined(others))
        for number, one in enumerate(sets):
            choose = by_kizy(libraries[number], cache)
            for place, wish in enumerate(one.tuning):
                if _fold(wish) == fold:
                    chosen[number][place] = choose(wish)
    for number, one in enumerate(sets):
        ordered = [chosen[number][place] for place in range(len(one.tuning))]
        print(measure(one.tuning, ordered, one.families).row(f"{one.name}, {FOLDS} folds"))
    for number, one in enumerate(sets):
        other = _joined([pair for place, pair in enumerate(found) if place != number])
        coefficients.WITH_MEANING, coefficients.BY_MEANING = fit_with_meaning(*other)
        picks = [by_kizy(libraries[number], cache)(wish) for wish in one.tuning]
        print(measure(one.tuning, picks, one.families).row(f"{one.name}, fitted on the other"))
    coefficients.WITH_MEANING, coefficients.BY_MEANING = kept


def _fold(wish: Labelled) -> int:
    return hashlib.sha256(wish.prompt.encode()).digest()[4] % FOLDS
