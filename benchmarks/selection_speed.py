"""How fast a choice is among very many cards: synthetic ones, with random meanings."""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
from kizy.catalog.card import Card
from kizy.catalog.search.search_index import Library
from kizy.catalog.search.select import embedded, select
from kizy.catalog.words.word_forms import clean_name

from .selection_sets import Labelled, Rows, load_sets

SHARES = {"sdxl": 0.45, "sd15": 0.25, "flux1-dev": 0.2, "sd35": 0.05, "flux1-schnell": 0.05}
"""Of the cards: as in large collections, where SDXL with its variants is the greatest part."""
ROWS = 4
"""Meanings a card, as `card_texts` gives at most."""
ROUNDS = 5
EVERY = 4
"""Of the labelled wishes, one of this many is timed."""
WIDTH = 384
TIMES = (
    "with the sentence's embedding",
    "the same, time of the processor",
    "without the embedding",
    "the same, time of the processor",
)


def synthetic(many: int, seed: int = 0) -> list[Card]:
    """Cards whose words are shuffled from those of the labelled set and of made-up names."""
    rng = random.Random(seed)
    known = load_sets()[0].cards
    names = [word for card in known for word in clean_name(card.name).split()]
    abouts = [word for card in known for word in card.about.split()]
    tags = [tag for card in known for tag in card.tags]
    letters = "aeioubdklmnrstvz"
    cards = []
    for number in range(many):
        rare = "".join(rng.choices(letters, k=7))
        title = "_".join((*rng.choices(names, k=2), rare))
        cards.append(
            Card(
                key=f"{number:06d}",
                name=f"{title}_v{rng.randint(1, 4)}",
                family=rng.choices(list(SHARES), list(SHARES.values()))[0],
                kind=rng.choice(("subject", "style", "technique", None)),
                about=" ".join(rng.choices(abouts, k=rng.randint(0, 30))),
                triggers=(rare, *rng.sample(tags, 2)),
                tags=tuple(rng.choices(tags, k=6)),
            )
        )
    return cards


def meanings(cards: Sequence[Card], seed: int = 0) -> Rows:
    """Random unit vectors, float16, `ROWS` a card."""
    rng = np.random.default_rng(seed)
    vectors = np.empty((len(cards) * ROWS, WIDTH), np.float16)
    for start in range(0, len(vectors), 30_000):
        block = rng.standard_normal((min(30_000, len(vectors) - start), WIDTH), np.float32)
        vectors[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return Rows([card.key for card in cards for _ in range(ROWS)], vectors)


def report_speed(many: int) -> None:
    """Load time, memory, and the time of a choice with and without the sentence's embedding."""
    cards = synthetic(many)
    rows = meanings(cards)
    gc.collect()
    before = _resident()
    start, start_cpu = time.perf_counter(), time.process_time()
    library = Library.of(cards, rows)
    loaded, loaded_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    del rows
    gc.collect()
    print(f"{many:,} cards with {ROWS} meanings each: prepared in {loaded:.1f} s,")
    print(f"{loaded_cpu:.1f} s of the processor's time,")
    print(f"{(_resident() - before) / 1e6:.0f} MB more, the cards and their given vectors aside")
    wishes = [wish for wish in load_sets()[0].tuning if wish.family in SHARES][::EVERY]
    embedded(["warm up"])
    for wish in wishes[:20]:
        _choose(wish, library)
    best = np.full((len(wishes), 4), np.inf)
    for _ in range(ROUNDS):
        for number, wish in enumerate(wishes):
            best[number] = np.minimum(best[number], _choose(wish, library))
    print(f"{len(wishes)} wishes, the quickest of {ROUNDS} each:")
    print("| | median ms | p95 ms | most ms |")
    print("|---|---|---|---|")
    for name, times in zip(TIMES, best.T, strict=True):
        shown = " | ".join(f"{value * 1000:.0f}" for value in np.percentile(times, (50, 95, 100)))
        print(f"| {name} | {shown} |")


def _choose(wish: Labelled, library: Library) -> tuple[float, float, float, float]:
    """Seconds of a choice, in the order of `TIMES`."""
    wall = cpu = 0.0

    def meaning_of(texts: Sequence[str]) -> np.ndarray:
        nonlocal wall, cpu
        start, start_cpu = time.perf_counter(), time.process_time()
        found = embedded(texts)
        wall += time.perf_counter() - start
        cpu += time.process_time() - start_cpu
        return found

    library.words.cache_clear()  # every choice as if it were the first
    start, start_cpu = time.perf_counter(), time.process_time()
    select(wish.prompt, wish.family, library, variant=wish.variant, meaning_of=meaning_of)
    all_wall, all_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return all_wall, all_cpu, all_wall - wall, all_cpu - cpu


def _resident() -> int:
    """Bytes in memory now (Linux), else the most so far."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
