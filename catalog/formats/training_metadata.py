"""What a trainer noted in a LoRA's metadata: trigger words, and the tags of its data set.

The keys are those of sd-scripts (`ss_...`) and of the model specification (`modelspec....`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from ..words.descriptions import one_line

MAX_TRIGGERS = 8
MAX_TRIGGER_LENGTH = 100
MAX_TAGS = 24
MAX_TAG = 40
MAX_TAGS_LENGTH = 5_000_000
"""Characters of `ss_tag_frequency` that are still looked at."""

DOMINATING = 1.5
"""A tag is taken for the trigger if it is this many times as frequent as the next one."""

NEARLY_ALL = 0.8
"""A tag as frequent as this part of the commonest one stands in nearly every caption."""

# Tags that say nothing of what a LoRA is for: in most data sets, or about quality.
_GENERIC_TAGS = frozenset(
    (
        *("1girl", "1boy", "2girls", "2boys", "solo", "solo focus", "no humans", "1other"),
        *("looking at viewer", "simple background", "white background", "grey background"),
        *("masterpiece", "best quality", "high quality", "absurdres", "highres", "score_9"),
        *("realistic", "photorealistic", "smile", "breasts", "long hair", "short hair"),
        *("blush", "open mouth", "closed mouth", "standing", "sitting", "upper body"),
        *("full body", "cowboy shot", "outdoors", "indoors", "day", "night", "multiple girls"),
        *("monochrome", "greyscale", "photo", "photograph", "image", "picture", "portrait"),
        *("close-up", "blurry", "depth of field", "bangs", "shirt", "jewelry", "holding"),
        *("man", "woman", "girl", "boy", "person", "male focus", "style", "score_8_up"),
    )
)
# Names of folders of pictures that were never meant as words of a prompt.
_FOLDER_WORDS = frozenset(
    (
        *("img", "imgs", "image", "images", "pic", "pics", "picture", "pictures", "photos"),
        *("train", "training", "data", "dataset", "datasets", "lora", "class", "reg", "input"),
        *("face", "person", "man", "woman", "girl", "boy", "style", "character", "concept"),
        *("subject", "instance", "new", "test", "crop", "cropped", "resized", "512", "768", "1024"),
    )
)
_REPEATS = re.compile(r"\d{1,4}_")


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Trigger words: what the author says, else what the captions say, else the folders' names.

    `modelspec.trigger_phrase` at its commas; the class tokens of `ss_datasets` that the captions
    hold; the tag of `ss_tag_frequency` that dominates or that the LoRA is called by. Without
    control characters, each at most 100 characters long, at most 8.
    """
    return words_of(metadata)[0]


def words_of(metadata: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Triggers, and tags: the author's and the data set's commonest ones that say something."""
    counts = tag_counts(metadata)
    said = [_plain(part) for part in metadata.get("modelspec.trigger_phrase", "").split(",")]
    found = list(dict.fromkeys(part for part in said if part))
    if not found:
        found = _from_captions(metadata, counts)
    own = [_plain(tag).lower()[:MAX_TAG] for tag in metadata.get("modelspec.tags", "").split(",")]
    tags = dict.fromkeys([*(tag for tag in own if tag), *_common(counts)])
    return tuple(found[:MAX_TRIGGERS]), tuple(tags)[:MAX_TAGS]


def _common(counts: Counter[str]) -> list[str]:
    """The commonest tags of the data set, the most frequent first."""
    ranked = _ranked(counts)[: 2 * MAX_TAGS]
    least = max(2, ranked[0][1] * 0.1) if ranked else 0
    plain = (_plain(tag) for tag, count in ranked if count >= least and len(tag) <= MAX_TAG)
    return [tag for tag in plain if tag and tag.casefold() not in _GENERIC_TAGS]


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """As `most_common` gives them, which is slow for the many small data sets of a library."""
    return sorted(counts.items(), key=itemgetter(1), reverse=True)


def tag_counts(metadata: Mapping[str, str]) -> Counter[str]:
    """Tag -> how often, from sd-scripts' `{folder: {tag: count}}`; empty if that is broken."""
    folders = _json(metadata.get("ss_tag_frequency", ""))
    counts: dict[str, int] = {}
    for tags in folders.values() if isinstance(folders, dict) else ():
        if not isinstance(tags, dict):
            continue
        if not counts and set(map(type, tags.values())) == {int} and min(tags.values()) > 0:
            # Nearly always: one folder, right numbers, no tag twice.
            counts = dict(zip(map(str.strip, tags), tags.values(), strict=True))
            if len(counts) == len(tags):
                continue
            counts = {}
        for tag, count in tags.items():
            if type(count) is int and count > 0:
                name = tag.strip()
                counts[name] = counts.get(name, 0) + count
    counts.pop("", None)
    return Counter(counts)


def _from_captions(metadata: Mapping[str, str], counts: Counter[str]) -> list[str]:
    names = _names_of_folders(metadata)
    if not counts:
        return list(dict.fromkeys(names))
    most = max(counts.values())
    frequent = {tag for tag, count in counts.items() if count >= NEARLY_ALL * most}
    by_letters = {_plain(tag).casefold(): tag for tag in frequent}
    named = [by_letters[name.casefold()] for name in names if name.casefold() in by_letters]
    dominating = _dominating(counts)
    if not named and dominating:
        named = [dominating]
    if not named:
        called = _letters(metadata.get("ss_output_name", "") + " ".join(names))
        named = [tag for tag in sorted(frequent) if _calls(tag, called)]
    return list(dict.fromkeys(text for text in map(_plain, named) if text))


def _dominating(counts: Counter[str]) -> str:
    """The tag that stands out; empty if none does."""
    ranked = _ranked(counts)[:2]
    if len(ranked) == 2 and ranked[0][1] < DOMINATING * ranked[1][1]:
        return ""
    tag = ranked[0][0]
    return "" if tag.casefold() in _GENERIC_TAGS else tag


def _calls(tag: str, called: str) -> bool:
    letters = _letters(tag)
    return len(letters) > 3 and tag.casefold() not in _GENERIC_TAGS and letters in called


def _names_of_folders(metadata: Mapping[str, str]) -> list[str]:
    """What DreamBooth's folders are called ("10_ohwx man" -> "ohwx man"), and class tokens."""
    found: list[Any] = []
    datasets = _json(metadata.get("ss_datasets", ""))
    for dataset in datasets if isinstance(datasets, list) else ():
        subsets = dataset.get("subsets") if isinstance(dataset, dict) else None
        for subset in subsets if isinstance(subsets, list) else ():
            if isinstance(subset, dict) and not subset.get("is_reg"):
                found.append(subset.get("class_tokens"))
    folders = _json(metadata.get("ss_dataset_dirs", ""))
    for folder in folders if isinstance(folders, dict) else ():
        if _REPEATS.match(folder):
            found.append(_REPEATS.sub("", folder, count=1))
    plain = (_plain(name) for name in found if isinstance(name, str))
    return [name for name in plain if len(name) > 2 and name.casefold() not in _FOLDER_WORDS]


def _json(text: str) -> Any:
    if not text or len(text) > MAX_TAGS_LENGTH:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _plain(text: str) -> str:
    if len(text) <= MAX_TRIGGER_LENGTH and text.isascii() and text.isprintable():
        return " ".join(text.split())
    return one_line(text, MAX_TRIGGER_LENGTH)


def sensible_weight(value: Any) -> float | None:
    """A weight that makes sense; numbers come as text, too."""
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return None
    return number if 0 < number <= 2 and not isinstance(value, bool) else None
