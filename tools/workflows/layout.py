"""Where the nodes of a workflow stand on ComfyUI's canvas: every link runs to the right. Pure.

Lengths are canvas pixels. A node's place is the top left corner below its title bar, as in
ComfyUI's own files; its title bar is `TITLE` pixels high and stands above that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

TITLE = 30
"""Height of a node's title bar. source: LiteGraph.NODE_TITLE_HEIGHT."""

FRAME_TITLE = 40
"""Height of a frame's title at its font size of 24."""

PADDING = 20
"""Between a frame and the nodes in it."""

COLUMN_GAP = 50
"""Between the columns of nodes in a frame; links bend there."""

ROW_GAP = 30
"""Between a node and the title bar below it."""

FRAME_GAP = 40
"""Between frames, to the side and below."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Box:
    """A node to be placed. `sources`: ids of the nodes that it gets something from.

    `height` is without the title bar. `group`: title of the frame that it stands in; "" for none.
    """

    id: int
    group: str
    width: int
    height: int
    sources: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Frame:
    """A group's frame; `x` and `y` are its top left corner."""

    title: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    """`places`: node id -> (x, y)."""

    places: Mapping[int, tuple[int, int]]
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class _Block:
    """The nodes of a group with their places in it, as if its top left corner were (0, 0)."""

    title: str
    places: Mapping[int, tuple[int, int]]
    width: int
    height: int


def arrange(boxes: Sequence[Box]) -> Layout:
    """Groups by depth, and in each group nodes in columns by depth.

    A group stands to the right of those that it gets something from and of the nodes without a
    group, as high up as there is room. Else the order is that of `boxes`. Raises ValueError if
    nodes, or groups, wait for each other.
    """
    group_of = {box.id: box.group for box in boxes}
    sources: dict[str, set[str]] = {box.group: set() for box in boxes}
    for box in boxes:
        sources[box.group] |= {group_of[source] for source in box.sources} - {box.group}
    depths = _depths(sources)
    frames: dict[str, Frame] = {}
    places: dict[int, tuple[int, int]] = {}
    for title in sorted(depths, key=depths.__getitem__):
        block = _block(title, boxes)
        before = sources[title] | ({""} & frames.keys() if sources[title] else set())
        x = max((frames[one].x + frames[one].width + FRAME_GAP for one in before), default=0)
        frame = _highest(block, x, frames.values())
        frames[title] = frame
        for key, (left, top) in block.places.items():
            places[key] = (frame.x + left, frame.y + top)
    return Layout(places, tuple(frames[title] for title in depths if title))


def _highest(block: _Block, x: int, frames: Iterable[Frame]) -> Frame:
    """The block at `x`, as high up as no frame stands in its way."""
    beside = [
        frame
        for frame in frames
        if frame.x < x + block.width + FRAME_GAP and x < frame.x + frame.width + FRAME_GAP
    ]
    for y in sorted({0, *(frame.y + frame.height + FRAME_GAP for frame in beside)}):
        if all(
            y >= frame.y + frame.height + FRAME_GAP or frame.y >= y + block.height + FRAME_GAP
            for frame in beside
        ):
            return Frame(block.title, x, y, block.width, block.height)
    raise AssertionError("below all frames there is room")


def _block(title: str, boxes: Iterable[Box]) -> _Block:
    members = {box.id: box for box in boxes if box.group == title}
    depths = _depths({key: box.sources & members.keys() for key, box in members.items()})
    left, top = (PADDING, FRAME_TITLE + TITLE) if title else (0, TITLE)
    places: dict[int, tuple[int, int]] = {}
    x, bottom = left, top
    for depth in range(max(depths.values()) + 1):
        column = [box for key, box in members.items() if depths[key] == depth]
        y = top
        for box in column:
            places[box.id] = (x, y)
            bottom = max(bottom, y + box.height)
            y += box.height + ROW_GAP + TITLE
        x += max(box.width for box in column) + COLUMN_GAP
    return _Block(title, places, x - COLUMN_GAP + left, bottom + (PADDING if title else 0))


def _depths(sources: Mapping[Key, Iterable[Key]]) -> dict[Key, int]:
    """How many others stand at most in a row before each one."""
    found: dict[Key, int] = {}
    while len(found) < len(sources):
        ready = {
            key: 1 + max((found[source] for source in sources[key]), default=-1)
            for key in sources
            if key not in found and all(source in found for source in sources[key])
        }
        if not ready:
            waiting = ", ".join(str(key) for key in sources if key not in found)
            raise ValueError(f"these wait for each other: {waiting}")
        found |= ready
    return {key: found[key] for key in sources}
