"""Which caption belongs to which picture, by their names."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from .signatures import CAPTION_ENDINGS, ending

_TEXT_FOLDERS = frozenset("captions caption texts text txt tags labels prompts".split())
_PICTURE_FOLDERS = frozenset("images image imgs img pictures photos data".split())


def pair(pictures: Sequence[str], texts: Sequence[str]) -> dict[str, str]:
    """Picture -> its text, by their paths with slashes.

    A text's path ends like a caption file ("a.txt" or "a.png.txt" for "a.png"), or it is a
    picture's name with or without its ending, out of a list. First the names must be the same; then
    but for case and the way in which accents are stored; then but for spaces, hyphens and
    underscores; then also without folders that only part pictures from captions. From the third on
    a pair must be the only one.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    for level, same in enumerate((_exact, _folded, _loose, _without_folders)):
        by_key: dict[str, list[str]] = defaultdict(list)
        for text in texts:
            by_key[same(_bare(text), _TEXT_FOLDERS)].append(text)
        waiting = [picture for picture in pictures if picture not in found]
        keys = {picture: _keys(picture, same) for picture in waiting}
        alike: dict[str, set[str]] = defaultdict(set)
        for picture, (stem, _) in keys.items():
            alike[stem].add(_stem(picture))
        taken: list[str] = []
        for picture in waiting:
            stem, full = keys[picture]
            fitting = [*by_key.get(stem, ()), *by_key.get(full, ())]
            if level >= 2:
                # Several that fit loosely: nobody knows which is meant.
                fitting = [text for text in fitting if text not in used]
                if len(alike[stem]) > 1 or len({_bare(text) for text in fitting}) > 1:
                    continue
            if fitting:
                found[picture] = min(fitting, key=_rank)
                taken.append(found[picture])
        used.update(taken)
    return found


def _rank(text: str) -> int:
    """A caption file before an entry of a list, ".txt" first."""
    end = ending(text)
    return CAPTION_ENDINGS.index(end) if end in CAPTION_ENDINGS else len(CAPTION_ENDINGS)


def _bare(text: str) -> str:
    """Without the ending of a caption file."""
    end = ending(text)
    return text[: -len(end)] if end in CAPTION_ENDINGS else text


def _stem(picture: str) -> str:
    end = PurePosixPath(picture).suffix
    return picture[: -len(end)] if end else picture


_Same = Callable[[str, frozenset[str]], str]


def _keys(picture: str, same: _Same) -> tuple[str, str]:
    return same(_stem(picture), _PICTURE_FOLDERS), same(picture, _PICTURE_FOLDERS)


def _exact(name: str, _: frozenset[str]) -> str:
    return name.replace("\\", "/")


def _folded(name: str, folders: frozenset[str]) -> str:
    return unicodedata.normalize("NFC", _exact(name, folders)).casefold()


def _loose(name: str, folders: frozenset[str]) -> str:
    return re.sub(r"[\s_\-]+", "_", _folded(name, folders))


def _without_folders(name: str, folders: frozenset[str]) -> str:
    *above, last = _loose(name, folders).split("/")
    return "/".join([*(part for part in above if part not in folders), last])


def unused(texts: Iterable[str], pairs: Mapping[str, str]) -> list[str]:
    """Texts that no picture has, in their order."""
    used = set(pairs.values())
    return [text for text in texts if text not in used]
