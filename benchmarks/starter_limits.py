"""How well is told what the starter was not taught.

    python -m benchmarks.starter_limits [--words] [--fit]

Wishes with labels (tests/data/starter_wishes.txt): of those that were set aside, the precision and
recall of "not known". `--words`: without the model of meanings. `--fit`: of the others, for each
threshold of the meanings, with what is judged wrongly.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kizy import language
from kizy.orchestrator.planning import starter_limits

WISHES = Path(__file__).parent.parent / "tests" / "data" / "starter_wishes.txt"
THRESHOLDS = (0.7, 0.75, 0.8, 0.86, 0.9, 0.95)


@dataclass(frozen=True)
class Labelled:
    language: str
    known: bool
    text: str


@dataclass(frozen=True)
class Judged:
    """Of "not known": `wrong` holds the wishes that were judged otherwise than labelled."""

    wishes: int
    precision: float
    recall: float
    wrong: tuple[Labelled, ...]


def wishes(*, set_aside: bool) -> list[Labelled]:
    """One half of the labelled wishes: of each language's known and not known ones every second."""
    found: list[Labelled] = []
    spoken = ""
    for line in WISHES.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            spoken = line.strip("[]")
        elif line and not line.startswith("#"):
            label, _, text = line.partition(" | ")
            found.append(Labelled(spoken, label == "known", text))
    groups: dict[tuple[str, bool], list[Labelled]] = {}
    for one in found:
        groups.setdefault((one.language, one.known), []).append(one)
    return [one for group in groups.values() for one in group[1 if set_aside else 0 :: 2]]


def judged(labelled: Iterable[Labelled]) -> Judged:
    """What `starter_limits` says of them."""
    starter_limits.starter_limits.cache_clear()
    many = true = told = unknown = 0
    wrong: list[Labelled] = []
    for one in labelled:
        notices = starter_limits.starter_limits(one.text).notices
        said = any(notice.value == starter_limits.NOT_TAUGHT for notice in notices)
        many += 1
        told += said
        unknown += not one.known
        true += said and not one.known
        if said == one.known:
            wrong.append(one)
    return Judged(many, true / max(told, 1), true / max(unknown, 1), tuple(wrong))


def _print(name: str, result: Judged) -> None:
    print(
        f"{name}: {result.wishes} wishes, precision {result.precision:.3f}, "
        f"recall {result.recall:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--words", action="store_true", help="by words alone")
    parser.add_argument("--fit", action="store_true", help="the half for choosing thresholds")
    options = parser.parse_args()
    if options.words:
        starter_limits.SAME = 2.0
    elif not language.available():
        parser.error("the extra local is not installed: --words judges by words alone")
    if not options.fit:
        _print("set aside", judged(wishes(set_aside=True)))
        return
    for threshold in (2.0,) if options.words else THRESHOLDS:
        starter_limits.SAME = threshold
        result = judged(wishes(set_aside=False))
        _print(f"{threshold:g}", result)
        for one in result.wrong:
            print(f"    {'known' if one.known else 'not'} | {one.text}")


if __name__ == "__main__":
    main()
