"""MiniLM's tokens in plain Python, for where the prompt is put together: the planner, which has to
work without the extra `local`. Whatever encodes a prompt uses `tokenizers`, to the same result.

BERT's uncased WordPiece (Devlin et al., 2019; arXiv 1810.04805), as its tokenizer.json says it.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from .encoder import TOKENIZER_FILE

UNKNOWN = "[UNK]"
LONGEST = 100
"""Letters; a longer word is unknown."""

_SPECIAL = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def word_pieces(text: str) -> list[int]:
    """The text's tokens, without marks of start and end."""
    known = _vocabulary()
    found: list[int] = []
    for part in _SPECIAL.split(text):
        if _SPECIAL.fullmatch(part):
            found.append(known[part])
        else:
            found += [token for word in _words(part) for token in _pieces(word)]
    return found


def _words(text: str) -> Iterator[str]:
    """Words and single marks, lower case, without accents."""
    letters = []
    for letter in text:
        kind = unicodedata.category(letter)
        if letter in "\t\n\r" or kind == "Zs":
            letters.append(" ")
        elif letter not in "\0\ufffd" and kind not in ("Cc", "Cf", "Co"):
            at = ord(letter)
            cjk = any(first <= at <= last for first, last in _CJK)
            letters.append(f" {letter} " if cjk else letter)
    plain = unicodedata.normalize("NFD", "".join(letters))
    # Letter by letter: as a whole, Python would make another sigma at the end of a Greek word.
    lower = (c.lower() for c in plain if unicodedata.category(c) != "Mn")
    for word in "".join(lower).split():
        begin = 0
        for at, letter in enumerate(word):
            if letter in string.punctuation or unicodedata.category(letter)[0] == "P":
                if begin < at:
                    yield word[begin:at]
                yield letter
                begin = at + 1
        if begin < len(word):
            yield word[begin:]


@lru_cache(maxsize=4096)
def _pieces(word: str) -> tuple[int, ...]:
    """The longest pieces that are known, from the left."""
    known = _vocabulary()
    unknown = (known[UNKNOWN],)
    if len(word) > LONGEST:
        return unknown
    found: list[int] = []
    begin = 0
    while begin < len(word):
        mark = "##" if begin else ""
        ends = range(len(word), begin, -1)
        end = next((end for end in ends if mark + word[begin:end] in known), None)
        if end is None:
            return unknown
        found.append(known[mark + word[begin:end]])
        begin = end
    return tuple(found)


@lru_cache(maxsize=1)
def _vocabulary() -> dict[str, int]:
    return json.loads(TOKENIZER_FILE.read_text(encoding="utf-8"))["model"]["vocab"]
