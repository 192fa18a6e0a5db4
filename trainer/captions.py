"""The words for each picture: from a file beside it, a captioner, or the description."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from .limits import stop_if

CaptionsFrom = Literal["files", "endpoint", "description", "mixed"]

DESCRIPTION_LETTERS = 300
"""So much of a description goes into captions: text encoders read about 75 tokens."""

_FAILURES = 3
"""After so many failures in a row the captioner is asked no more."""


class CaptionFailed(Exception):  # noqa: N818 -- never leaves the trainer
    """A captioner gave no caption; its text says why, as a sentence without a full stop.

    `for_good`: there is no use in asking it for the next picture.
    """

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


class Captioner(Protocol):
    """Says what a picture shows."""

    def caption(self, picture: Path, hint: str, cancelled: Callable[[], bool]) -> str:
        """One sentence. `hint`: what the pictures are about. Raises CaptionFailed."""
        ...


@dataclass(frozen=True)
class Captions:
    """`texts`: one a picture, with the trigger. `complaint`: what went wrong with the captioner."""

    texts: tuple[str, ...]
    come_from: CaptionsFrom
    complaint: str | None = None


def caption_all(
    pictures: Sequence[tuple[Path, str | None]],
    trigger: str,
    about: str,
    *,
    hint: str,
    captioner: Captioner | None,
    tell: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> Captions:
    """The caption of each (file, caption of its own): its own, else the captioner's, else `about`.

    `tell`: told how many are done. Raises CancelledError.
    """
    texts: list[str] = []
    sources: set[CaptionsFrom] = set()
    failed = in_a_row = 0
    why = ""
    described = one_line(about, DESCRIPTION_LETTERS)
    for done, (file, own) in enumerate(pictures):
        stop_if(cancelled)
        tell(done)
        text, source = own, "files"
        if text is None and captioner is not None:
            if in_a_row < _FAILURES:
                try:
                    text, source = captioner.caption(file, hint, cancelled), "endpoint"
                    in_a_row = 0
                except CaptionFailed as error:
                    why = str(error)
                    in_a_row = _FAILURES if error.for_good else in_a_row + 1
            failed += text is None
        if text is None:
            text, source = described, "description"
        texts.append(with_trigger(text, trigger))
        sources.add(source)
    complaint = None
    if failed:
        which = "1 picture has" if failed == 1 else f"{failed:,} pictures have"
        complaint = f"{which} the description as caption: {why}."
    come_from: CaptionsFrom = sources.pop() if len(sources) == 1 else "mixed"
    return Captions(tuple(texts), come_from, complaint)


def one_line(text: str, most: int) -> str:
    """Without control characters and double spaces, cut behind a word."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(plain) <= most:
        return plain
    return plain[: most + 1].rsplit(" ", 1)[0][:most].rstrip(" ,;")


def with_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger in it exactly once: where it stood first, else in front."""
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    first = word.search(caption)
    if first is None:
        return f"{trigger}, {caption}" if caption else trigger
    rest = word.sub("", caption[first.end() :])
    joined = caption[: first.start()] + trigger + rest
    # What was cut out leaves double commas and spaces behind.
    joined = re.sub(r"\s*,(?:\s*,)+", ",", joined)
    return " ".join(joined.split()).strip(" ,") if rest != caption[first.end() :] else joined
