"""CLIP's tokens in plain Python, from the vocabulary that lies beside a model: to count them.

Byte-pair encoding as OpenAI's CLIP has it (simple_tokenizer.py there; arXiv 2103.00020). Whatever
encodes a prompt uses transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

END = "</w>"
"""Behind the last letter of a word."""

_WORDS = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+",
    re.IGNORECASE,
)
LARGEST = 20_000_000
"""Bytes of a file; CLIP's own have one million."""


def counter(folder: Path) -> Callable[[str], int] | None:
    """Counts a text's tokens without marks; None without a vocabulary in the folder.

    `folder`: with `vocab.json` and `merges.txt`, as transformers' tokenizers have them.
    """
    try:
        files = [folder / "vocab.json", folder / "merges.txt"]
        stamp = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        ranks = _ranks(folder, stamp)
    except (OSError, ValueError, RecursionError):
        return None
    return lambda text: sum(_count(word, ranks) for word in _WORDS.findall(text.lower()))


@lru_cache(maxsize=4)
def _ranks(folder: Path, stamp: tuple[tuple[int, int], ...]) -> dict[tuple[str, str], int]:
    """Pairs that are merged, the first to come first. Raises ValueError for what is none."""
    if any(size > LARGEST for size, _ in stamp):
        raise ValueError("no vocabulary of CLIP is that large")
    known = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    pairs = (tuple(line.split()) for line in lines if not line.startswith("#version"))
    return {
        (pair[0], pair[1]): rank
        for rank, pair in enumerate(pairs)
        if len(pair) == 2 and pair[0] + pair[1] in known
    }


def _count(word: str, ranks: dict[tuple[str, str], int]) -> int:
    letters = [_BYTES[byte] for byte in word.encode("utf-8", "replace")]
    letters[-1] += END
    while len(letters) > 1:
        first = min(pairwise(letters), key=lambda pair: ranks.get(pair, len(ranks)))
        if first not in ranks:
            break
        merged: list[str] = []
        at = 0
        while at < len(letters):
            both = tuple(letters[at : at + 2]) == first
            merged.append("".join(first) if both else letters[at])
            at += 2 if both else 1
        letters = merged
    return len(letters)


def _byte_letters() -> dict[int, str]:
    """A letter for each byte: itself where it can be seen, else one from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {b: chr(256 + n) for n, b in enumerate(others)}


_BYTES = _byte_letters()
