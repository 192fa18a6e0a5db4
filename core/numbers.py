"""Numbers as people write them: one reader for every text that holds one."""

from __future__ import annotations

import math
import re
import unicodedata

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,4})?)(\s*%)?", re.IGNORECASE)
_MINUS = str.maketrans("\u2212\u2010\u2011\u2012\u2013", "-----")
_MOST = 100
"""Letters; a longer text is no number that a person wrote."""


def read_number(text: str) -> float:
    """The number in a text: "0.8", ".8", "8e-1", "0,8", "80%", in letters of full width, too.

    A single comma without a point is a decimal comma. Raises ValueError for all else, also for
    "nan", "inf" and what is too large for a float.
    """
    if len(text) > _MOST:
        raise ValueError("too long for a number")
    plain = unicodedata.normalize("NFKC", text).translate(_MINUS).strip()
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    match = _NUMBER.fullmatch(plain)
    value = float(match[1]) if match is not None else math.nan
    if match is None or not math.isfinite(value):
        raise ValueError(f"{text.strip()!r} is no number")
    return value / 100 if match[2] else value
