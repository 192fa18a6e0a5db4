"""Which old encoding texts are in that are no UTF-8: judged together, and sure or not at all.

Each encoding goes with a language. The bytes are decoded by it, and the letters that come out are
weighed as that language would have them: how frequent each is, and how often one of its letters
follows another or an ASCII letter. That gives a probability of the whole text under each encoding
(a hidden Markov model of two states, ASCII and other); the best must be far ahead of the second.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from . import letters

CAPTIONS = (
    "gb18030", "cp932", "euc_jp", "big5", "cp949", "cp1251", "koi8_r", "cp866", "cp1252", "cp1250",
    "cp1253", "cp1254", "cp1255", "cp1256", "cp874",
)  # fmt: skip
"""Encodings that caption files of people come in, by Python's names."""
NAMES = (
    "cp932", "gb18030", "big5", "cp949", "cp866", "cp1251", "cp850", "cp437", "cp1252", "cp852",
)  # fmt: skip
"""Encodings that names in zip files come in."""

SURE = 7.0
"""Nats by which the best must be ahead: odds of about a thousand to one."""
SENSE = 2.0
"""Nats by which the best must be ahead of bytes without a meaning."""
_MOST = 20_000
"""Bytes that are looked at: far more than is needed to be sure."""

_SHOWN = {
    "gb18030": "GB18030 (Chinese)",
    "cp932": "Shift-JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "big5": "Big5 (Chinese)",
    "cp949": "EUC-KR (Korean)",
    "cp1251": "cp1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "cp866": "cp866 (Cyrillic)",
    "cp1252": "cp1252 (Western European)",
    "cp1250": "cp1250 (Central European)",
    "cp1253": "cp1253 (Greek)",
    "cp1254": "cp1254 (Turkish)",
    "cp1255": "cp1255 (Hebrew)",
    "cp1256": "cp1256 (Arabic)",
    "cp874": "cp874 (Thai)",
    "cp850": "cp850 (Western European)",
    "cp852": "cp852 (Central European)",
    "cp437": "cp437 (Western European)",
}


@dataclass(frozen=True)
class Verdict:
    """`encoding`: None if it cannot be told for sure. `nearest`: those that it may be."""

    encoding: str | None
    nearest: tuple[str, ...] = ()


def shown(encoding: str) -> str:
    """An encoding as people know it."""
    return _SHOWN.get(encoding, encoding)


def judge(texts: Iterable[bytes], among: Sequence[str]) -> Verdict:
    """The encoding of texts that are all in one. ASCII texts say nothing, and are passed over."""
    samples: list[bytes] = []
    size = 0
    for text in texts:
        if not text.isascii() and size < _MOST:
            samples.append(text)
            size += len(text)
    found: dict[tuple[str, ...], tuple[float, str]] = {}
    for encoding in among:
        try:
            decoded = tuple(sample.decode(encoding) for sample in samples)
        except UnicodeDecodeError:
            continue
        score = sum(_likelihood(text, encoding) for text in decoded)
        # Encodings that give the same text are one answer.
        if decoded not in found or score > found[decoded][0]:
            found[decoded] = (score, encoding)
    ranked = sorted(found.values(), key=lambda pair: -pair[0])
    nearest = tuple(encoding for _, encoding in ranked[:3])
    if not samples or not ranked:
        return Verdict(None, nearest)
    best, encoding = ranked[0]
    second = ranked[1][0] if len(ranked) > 1 else -math.inf
    sure = best - second >= SURE and best - _chance(samples) >= SENSE
    return Verdict(encoding if sure else None, nearest)


@dataclass(frozen=True)
class _Language:
    """Log-probabilities. `letters`: of each letter that is frequent; `ranges`: of all in (first,
    last); `other`: of any other. `enter`, `stay`, `leave`: of one of its letters after ASCII but
    letters, after another, and of ASCII after one. `mixed`: of one beside an ASCII letter.
    """

    letters: Mapping[str, float]
    ranges: tuple[tuple[int, int, float], ...] = ()
    other: float = math.log(1e-7)
    enter: float = math.log(0.3)
    stay: float = math.log(0.85)
    leave: float = math.log(0.15)
    mixed: float = math.log(0.3)

    def of(self, letter: str) -> float:
        known = self.letters.get(letter)
        if known is not None:
            return known
        place = ord(letter)
        for first, last, value in self.ranges:
            if first <= place <= last:
                return value
        return self.other


def _likelihood(text: str, encoding: str) -> float:
    language = _language(encoding)
    common = _common(encoding)
    total, before = 0.0, " "
    for letter in text:
        if letter.isascii():
            if not before.isascii():
                total += language.mixed if letter.isalpha() else language.leave
            else:
                total += _STAY_ASCII
            total += _ascii(letter)
        else:
            if not before.isascii():
                total += language.stay
            else:
                total += language.mixed if before.isalpha() else language.enter
            value = language.of(letter)
            if common is not None and value <= _PLAIN and letter not in language.letters:
                value = _LEVEL_1 if letter in common else value
            total += value
        before = letter
    return total


_STAY_ASCII = math.log(0.7)
_PLAIN = math.log(0.02 / 3000)
_LEVEL_1 = math.log(0.25 / 3500)


_CHANCE_ENTER = math.log(0.3 / 128)
_CHANCE_STAY = math.log(0.5 / 128)
_CHANCE_LEAVE = math.log(0.5)


def _chance(samples: Sequence[bytes]) -> float:
    """The score of bytes that mean nothing: each of the upper half is as likely as the others."""
    total = 0.0
    for sample in samples:
        before = 0
        for byte in sample:
            if byte >= 0x80:
                total += _CHANCE_STAY if before >= 0x80 else _CHANCE_ENTER
            else:
                total += (_CHANCE_LEAVE if before >= 0x80 else _STAY_ASCII) + _ascii(chr(byte))
            before = byte
    return total


def _ascii(letter: str) -> float:
    if letter.islower() or letter in " ,.\n":
        return math.log(1 / 32)
    if letter.isalnum() or letter in "-_'\"()!?:;/\r\t":
        return math.log(1 / 300)
    return math.log(1e-4 if letter.isprintable() else 1e-8)


def _spread(share: float, characters: str) -> dict[str, float]:
    distinct = set(characters)
    return dict.fromkeys(distinct, math.log(share / len(distinct)))


_MARKS = _spread(0.06, "、。，：；！？（）「」・～《》“”…ー　")


def _alphabet(ordered: str, rare: str = "", quotes: float = 0.003) -> dict[str, float]:
    """Letters by frequency: each is a little rarer than the one before (Zipf's law); capitals are
    rarer again."""
    weights = {letter: 1 / (5 + place) for place, letter in enumerate(dict.fromkeys(ordered))}
    whole = sum(weights.values())
    found = {letter: math.log(0.93 * weight / whole) for letter, weight in weights.items()}
    for letter, weight in weights.items():
        if len(letter.upper()) == 1:
            found.setdefault(letter.upper(), math.log(0.05 * weight / whole))
    found.update((mark, math.log(quotes)) for mark in "’“”–…")
    found.update((mark, math.log(0.002)) for mark in "«»—„" + rare)
    return found


@cache
def _language(encoding: str) -> _Language:
    if encoding == "gb18030":
        return _Language(_spread(0.65, letters.SIMPLIFIED) | _MARKS, (_HAN,))
    if encoding == "big5":
        return _Language(_spread(0.65, letters.TRADITIONAL) | _MARKS, (_HAN,))
    if encoding in ("cp932", "euc_jp"):
        known = _spread(0.3, letters.KANJI) | _spread(0.4, letters.HIRAGANA) | _MARKS
        half_width = (0xFF61, 0xFF9F, math.log(1e-5))
        kana = (0x3041, 0x30FC, math.log(0.15 / 120))
        return _Language(known, (kana, half_width, _HAN))
    if encoding == "cp949":
        syllables = (0xAC00, 0xD7A3, math.log(1e-6))
        return _Language(_spread(0.7, letters.HANGUL) | _MARKS, (syllables, (0x4E00, 0x9FFF, -14)))
    if encoding in ("cp1251", "koi8_r", "cp866"):
        return _Language(_alphabet(letters.RUSSIAN, "№іїєґІЇЄ"), mixed=math.log(1e-3))
    if encoding in letters.ALPHABETS:
        return _Language(_alphabet(letters.ALPHABETS[encoding]), mixed=math.log(1e-3))
    latin = {"cp1250": letters.CENTRAL, "cp852": letters.CENTRAL, "cp1254": letters.TURKISH}
    return _Language(
        _alphabet(latin.get(encoding, letters.WESTERN), quotes=0.1),
        enter=math.log(0.03),
        stay=math.log(0.03),
        leave=math.log(0.4),
        mixed=math.log(0.25),
    )


_HAN = (0x4E00, 0x9FFF, math.log(0.02 / 3000))


@cache
def _common(encoding: str) -> frozenset[str] | None:
    """The letters of an encoding's first level: those that people use in writing.

    GB 2312 and JIS X 0208: rows 16 on; Big5: A440 to C67E; KS X 1001: the syllables of rows 16-40.
    """
    levels = {
        "gb18030": ("gb2312", range(0xB0, 0xD8), range(0xA1, 0xFF)),
        "cp932": ("euc_jp", range(0xB0, 0xD0), range(0xA1, 0xFF)),
        "euc_jp": ("euc_jp", range(0xB0, 0xD0), range(0xA1, 0xFF)),
        "big5": ("big5", range(0xA4, 0xC7), (*range(0x40, 0x7F), *range(0xA1, 0xFF))),
        "cp949": ("euc_kr", range(0xB0, 0xC9), range(0xA1, 0xFF)),
    }
    if encoding not in levels:
        return None
    codec, rows, cells = levels[encoding]
    return frozenset(
        "".join(bytes((row, cell)).decode(codec, "ignore") for row in rows for cell in cells)
    )
