"""What an author wrote about a model: HTML as plain text, and the weight that it recommends."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from typing import Any

MAX_HTML = 200_000
"""Characters of a description that are looked at."""

MAX_WEIGHT = 2.0
"""A larger number after the word "weight" means something else."""

Range = tuple[float, float]

_BLOCKS = frozenset(
    ("p", "div", "br", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "tr", "table")
)
_SILENT = frozenset(("script", "style", "template"))

_NUMBER = r"(?<![\d.,])([0-2]?[.,]\d{1,3}|[0-2])(?![\d%]|[.,]\d)"
_SPAN = rf"{_NUMBER}(?:\s*(?:-|–|—|~|〜|to|and|到|至)\s*{_NUMBER})?"
_WORD = r"(?:weights?|strengths?|lora scale|multiplier|权重|權重|强度|強度|強さ|重み)"
_BEFORE = re.compile(rf"{_WORD}(?P<between>[^\d\n.;!?<>]{{0,30}}){_SPAN}", re.IGNORECASE)
_AFTER = re.compile(rf"{_SPAN}\s*(?:of\s+)?(?:lora\s+|model\s+)?{_WORD}", re.IGNORECASE)
_TAG = re.compile(rf"<lora:[^:<>]{{1,200}}:{_NUMBER}\s*(?::[^<>]*)?>", re.IGNORECASE)
_OTHER_STRENGTHS = re.compile(
    r"(?:denois\w*|control\w*|cfg|guidance|hires\w*|upscal\w*|noise|clip|inpaint\w*|img2img)"
    r"[\s\w]{0,12}$",
    re.IGNORECASE,
)
_ADVICE = re.compile(
    r"recommend|best|suggest|optimal|ideal|works? well|推荐|推薦|おすすめ|推奨", re.I
)


def one_line(text: Any, limit: int) -> str:
    """The text on one line, without control and format characters; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text[: 4 * limit])
    return " ".join(kept.split())[:limit].rstrip()


def text_of_html(html: Any, limit: int = 4000) -> str:
    """The words of an HTML text, a line for each paragraph, without markup and scripts."""
    if not isinstance(html, str):
        return ""
    reader = _Words()
    reader.feed(html[:MAX_HTML])
    reader.close()
    lines = (one_line(line, limit) for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line)[:limit].rstrip()


def recommended_weight(text: str) -> tuple[float | None, Range | None]:
    """The LoRA weight that a plain text recommends, and its range if it names one.

    Of several, those in a sentence that gives advice go first. A range alone recommends its
    middle. Numbers above 2, and strengths of other things (denoising, ControlNet), do not count.
    """
    found: list[tuple[bool, float, float]] = []
    for line in text.splitlines():
        for pattern in (_BEFORE, _AFTER, _TAG):
            for match in pattern.finditer(line):
                if _OTHER_STRENGTHS.search(line[: match.start()]):
                    continue
                span = _span(match)
                if span is not None:
                    sentence = line[max(0, match.start() - 60) : match.end() + 30]
                    found.append((_ADVICE.search(sentence) is not None, *span))
    found.sort(key=lambda item: not item[0])
    single = next((low for _, low, high in found if low == high), None)
    span = next(((low, high) for _, low, high in found if low < high), None)
    if span is not None and (single is None or not span[0] <= single <= span[1]):
        single = round(sum(span) / 2, 3)
    return single, span


def _span(match: re.Match[str]) -> Range | None:
    numbers = [text for text in match.groups() if text and text[-1].isdigit()]
    values = [float(text.replace(",", ".")) for text in numbers]
    if not values or not all(0 < value <= MAX_WEIGHT for value in values):
        return None
    return min(values), max(values)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)
