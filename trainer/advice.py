"""What is worth saying about a data set before training on it, in plain words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .collect import Kept

FEW = 6
"""Fewer pictures than this are worth a warning."""

_STRETCHED = 4.0
_SMALL = 0.75
_NAMES = 3

_TOGETHER = {
    "is animated: its first frame is used": "are animated: the first frame of each is used",
    "has several pages: the first is used": "have several pages: the first of each is used",
    "has a caption of several lines: they are read as one": (
        "have a caption of several lines: they are read as one"
    ),
    "has an empty caption file": "have an empty caption file",
}


def advice(
    kept: Sequence[Kept],
    *,
    described: bool,
    resolution: int | None,
    notes: Sequence[tuple[str, str]],
    mirrored: Collection[str],
    duplicates: int,
    lone_captions: Sequence[str],
) -> list[str]:
    """The weightiest first. `described`: by captions or a description; `duplicates`: left out."""
    said: list[str] = []
    count = len(kept)
    if count < FEW:
        said.append(
            f"Only {_number(count, 'picture')}: 10 to 30 that differ in pose, place and light "
            "teach far more."
        )
    if duplicates > count:
        said.append(
            f"More near duplicates ({duplicates}) were left out than pictures stayed ({count})."
        )
    said += _blurred(kept)
    if not described:
        said.append("There are neither captions nor a description: the name alone must do.")
    said += _sizes(kept, resolution)
    without = [picture.source for picture in kept if picture.caption is None]
    if 0 < len(without) < count:
        said.append(f"{_some(without, 'picture')} came without a caption.")
    if mirrored:
        said.append(
            f"{_some(sorted(mirrored), 'mirrored copy', 'mirrored copies')} of other pictures: "
            "left and right will be learned as one."
        )
    said += _notes(notes)
    if lone_captions:
        said.append(f"{_some(lone_captions, 'caption file')} fit no picture by name: not used.")
    return said


def _blurred(kept: Sequence[Kept]) -> list[str]:
    blurred = [picture.source for picture in kept if picture.blurred]
    if blurred and len(blurred) * 2 >= len(kept):
        return [
            f"Mostly blurred: {len(blurred)} of {_number(len(kept), 'picture')}. "
            "What is learned will be blurred, too."
        ]
    if blurred:
        return [f"{_some(blurred, 'picture')} {_be(len(blurred))} blurred."]
    return []


def _sizes(kept: Sequence[Kept], resolution: int | None) -> list[str]:
    said = []
    if resolution is not None:
        least = (resolution * _SMALL) ** 2
        small = [picture.source for picture in kept if picture.width * picture.height < least]
        if small:
            said.append(
                f"{_some(small, 'picture')} {_be(len(small))} smaller than training at "
                f"{resolution} x {resolution} pixels could use."
            )
    stretched = [
        picture.source
        for picture in kept
        if max(picture.width, picture.height) > _STRETCHED * min(picture.width, picture.height)
    ]
    if stretched:
        said.append(
            f"{_some(stretched, 'picture')} {_be(len(stretched))} very long: "
            "only the middle will be seen."
        )
    return said


def _notes(notes: Sequence[tuple[str, str]]) -> list[str]:
    """What was done to files, told once for all to which the same was done."""
    by_note: dict[str, list[str]] = {}
    for source, note in notes:
        by_note.setdefault(note, []).append(source)
    said = []
    for note, sources in by_note.items():
        if len(sources) == 1:
            said.append(f"{sources[0]} {note}.")
        elif note in _TOGETHER:
            said.append(f"{_some(sources, 'file')} {_TOGETHER[note]}.")
        elif len(sources) > _NAMES:
            said.append(f"{_some(sources, 'file')}: each {note}.")
        else:
            said += [f"{source} {note}." for source in sources]
    return said


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _some(names: Sequence[str], one: str, many: str | None = None) -> str:
    """ "2 pictures (a.png, b.png)", with the first few names."""
    shown = ", ".join(names[:_NAMES]) + (", …" if len(names) > _NAMES else "")
    return f"{_number(len(names), one, many)} ({shown})"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"
