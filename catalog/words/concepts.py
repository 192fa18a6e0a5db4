"""The meanings of the glossary's terms and of everyday wishes: a fixed ground to compare with.

How near a card is to a wish says little: short texts are near to much. It says more how much
nearer the wish is to the card than to everyday wishes, and whether the wish is nearer to what the
card's terms mean than to what all other terms mean. `dictionary/concepts.npy` holds the vectors;
`python -m benchmarks.selection --fit` writes it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .art_words import TERMS

if TYPE_CHECKING:
    import numpy as np

FOLDER = Path(__file__).parent / "dictionary"
EVERYDAY_FILE = FOLDER / "everyday.txt"
VECTORS_FILE = FOLDER / "concepts.npy"
STEPS = 300.0
"""Steps of the stored numbers for 1: the largest of a unit vector's 384 stay below 127 / 300."""


@cache
def names() -> tuple[str, ...]:
    """Terms with a meaning, in the order of their vectors."""
    return tuple(term.name for term in TERMS if term.meaning)


@cache
def texts() -> tuple[str, ...]:
    """What is embedded: the terms with their meanings, then the everyday wishes."""
    lines = EVERYDAY_FILE.read_text(encoding="utf-8").splitlines()
    everyday = [line for line in lines if line and not line.startswith("#")]
    meanings = [f"{term.name}, {term.meaning}" for term in TERMS if term.meaning]
    return (*meanings, *everyday)


@cache
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """((terms, 384), (everyday wishes, 384)), float32, unit length."""
    import numpy as np

    stored = np.load(VECTORS_FILE, allow_pickle=False).astype(np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True).clip(1e-6)
    many = len(names())
    return stored[:many], stored[many:]


@cache
def place_of() -> dict[str, int]:
    """Term -> its row."""
    return {name: row for row, name in enumerate(names())}


def write(found: np.ndarray) -> None:
    """Store the vectors of `texts()`, (n, 384), with 8 bits a number."""
    import numpy as np

    np.save(VECTORS_FILE, np.clip(np.rint(found * STEPS), -127, 127).astype(np.int8))
