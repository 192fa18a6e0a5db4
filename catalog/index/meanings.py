"""What cards mean, as vectors, and how they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WIDTH = 384
"""Numbers of a meaning: language.WIDTH, which cannot be asked for without loading it."""

BATCH = 256
"""Texts that are embedded before their vectors are kept."""


@dataclass(frozen=True)
class Meanings:
    """`vectors`: (n, 384), float16, unit length; row i belongs to the card with `keys[i]`.

    A card has a row for each of its texts (`card_words.card_texts`).
    """

    keys: list[str]
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def text_hash(text: str) -> bytes:
    """16 bytes that tell texts apart."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def to_bytes(vectors: np.ndarray) -> list[bytes]:
    """Each row as float16, little endian."""
    return [row.astype("<f2").tobytes() for row in vectors]


def from_bytes(rows: Sequence[bytes]) -> np.ndarray:
    """(n, 384) float16 from `to_bytes`."""
    import numpy as np

    return np.frombuffer(b"".join(rows), "<f2").reshape(len(rows), WIDTH)


def why_by_words(*, known: bool) -> str:
    """Why what words mean was not looked at: the end of a sentence.

    `known`: whether the meanings of any cards are kept.
    """
    from ...language import missing

    if lacking := missing():
        return f"to go by meaning, {', '.join(lacking)} must be installed"
    if not known:
        return "what your LoRAs mean is not known yet"
    return "what the words mean could not be worked out"
