"""The list of what the starter model is taught to draw, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CONCEPTS_FILE = Path(__file__).with_name("concepts.txt")

STYLES = {"3d": "3d render", "flat": "flat sticker", "cartoon": "cartoon"}
"""Short name of a style, as the data is keyed, and the words for it at the end of a caption."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 50, 47),
    "orange": (245, 150, 50),
    "yellow": (250, 220, 80),
    "green": (90, 180, 90),
    "blue": (70, 130, 220),
    "light blue": (170, 215, 245),
    "purple": (140, 90, 200),
    "pink": (250, 170, 200),
    "brown": (140, 95, 60),
    "black": (25, 25, 28),
    "gray": (150, 150, 150),
    "teal": (50, 160, 160),
    "white": (255, 255, 255),
}
"""Named background colours as sRGB, 0 to 255."""


@dataclass(frozen=True)
class Concept:
    """One thing: its label in emojibase-data, and other words that people use for it.

    `everyday`: one of those that training on a CPU keeps to.
    """

    label: str
    words: tuple[str, ...]
    everyday: bool


@lru_cache(maxsize=1)
def concepts() -> tuple[Concept, ...]:
    """The concepts of `concepts.txt`, in its order."""
    found: list[Concept] = []
    for line in CONCEPTS_FILE.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        label, _, words = line.removeprefix("*").partition(";")
        synonyms = tuple(word.strip() for word in words.split(",") if word.strip())
        found.append(Concept(label.strip(), synonyms, everyday=line.startswith("*")))
    return tuple(found)


def taught(*, everyday_only: bool) -> frozenset[str]:
    """Labels of the concepts that a training teaches."""
    return frozenset(c.label for c in concepts() if c.everyday or not everyday_only)
