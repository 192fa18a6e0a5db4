"""How well LoRAs are chosen for a wish, beside three simple ways to choose.

    python -m benchmarks.selection [--part tuning] [--misses]
    python -m benchmarks.selection --fit       # writes coefficients.py and concepts.npy
    python -m benchmarks.selection --validate  # the fit, on tuning wishes that it has not seen
    python -m benchmarks.selection --speed     # among 100,000 synthetic cards

Both labelled sets (`selection_sets`) are measured on the part that was tuned on and on the part
that was set aside: precision, recall and F1 of picking nothing (`selection_scores.Score`), a table
by kind of wish, and picks of another family, also when cards lie about it or do not tell. Single
cases are only ever shown of the tuning parts (`--misses`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kizy.catalog.card import Card
from kizy.catalog.search.search_index import Library
from kizy.catalog.search.select import select

from .selection_scores import Chooser, by_case, exact, lying, measure, stripped
from .selection_sets import Cache, Labelled, LabelledSet, build_library, load_sets

MAX_LORAS = 3


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


def wrong_families(
    cards: Sequence[Card], wishes: Sequence[Labelled], cache: Cache
) -> tuple[int, int]:
    """Picks of another family when cards lie, and picks of none when every second is stripped."""
    families = {card.key: card.family for card in cards}
    choose = by_kizy(build_library(lying(cards), cache), cache)
    lies = measure(wishes, [choose(wish) for wish in wishes], families).wrong_family
    half = stripped(cards)
    choose = by_kizy(build_library(half, cache), cache)
    told = {card.key: card.family for card in half}
    return lies, measure(wishes, [choose(wish) for wish in wishes], told).wrong_family


def report(one: LabelledSet, cache: Cache, parts: Sequence[str], misses: bool) -> None:
    """Print all tables of a set."""
    from .selection_baselines import baselines

    choosers = {
        "Kizy": by_kizy(build_library(one.cards, cache), cache),
        "Kizy, by words only": by_kizy(build_library(one.cards, None), None),
        **baselines(one.cards, one.tuning, cache, one.families),
    }
    none = sum(not wish.fits for wish in one.wishes)
    print(f"\n## {one.name}: {len(one.cards)} cards, {len(one.wishes)} wishes, none fits {none}")
    for title, wishes in (("tuning", one.tuning), ("set aside", one.set_aside)):
        if title not in parts:
            continue
        none = sum(not wish.fits for wish in wishes)
        print(f"\n{one.name}, {title}: {len(wishes)} wishes, none fits {none}")
        print("| | precision | recall | abstention F1 | wrong family | picks |")
        print("|---|---|---|---|---|---|")
        kizy: list[Sequence[str]] = []
        for name, choose in choosers.items():
            chosen = [choose(wish) for wish in wishes]
            kizy = kizy or chosen
            print(measure(wishes, chosen, one.families).row(name))
        print("\n| kind of wish | wishes | exactly right | concepts | met | wrongly picked |")
        print("|---|---|---|---|---|---|")
        for row in by_case(wishes, kizy):
            print("| " + " | ".join(map(str, row)) + " |")
        lies, none = wrong_families(one.cards, wishes, cache)
        print(f"\nPicks of another family: {lies} with lying cards, {none} with stripped ones")
        if misses and title == "tuning":
            show_misses(wishes, kizy)


def show_misses(wishes: Sequence[Labelled], chosen: Sequence[Sequence[str]]) -> None:
    for wish, keys in zip(wishes, chosen, strict=True):
        if not exact(wish, keys):
            print(f"  {wish.prompt!r} ({wish.case}): {list(keys)}, fits {list(wish.fits)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fit", action="store_true", help="fit on the tuning parts, and write")
    parser.add_argument("--validate", action="store_true", help="how the fit does on unseen wishes")
    parser.add_argument("--speed", action="store_true", help="among 100,000 synthetic cards")
    parser.add_argument("--cards", type=int, default=100_000, help="how many, with --speed")
    parser.add_argument("--part", choices=("tuning", "set aside", "both"), default="both")
    parser.add_argument("--misses", action="store_true", help="list what went wrong in tuning")
    arguments = parser.parse_args()
    if arguments.speed:
        from .selection_speed import report_speed

        report_speed(arguments.cards)
        return
    sets, cache = load_sets(), Cache()
    if arguments.fit or arguments.validate:
        from .selection_fit import fit_all, validate

        (fit_all if arguments.fit else validate)(sets, cache)
        return
    parts = ("tuning", "set aside") if arguments.part == "both" else (arguments.part,)
    for one in sets:
        report(one, cache, parts, arguments.misses)


if __name__ == "__main__":
    main()
