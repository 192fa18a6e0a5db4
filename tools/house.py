"""Prints how the rooms of the code hang together: python -m kizy.tools.house

A room is a package or a loose module directly below `orchestrator`; a floor is a line of
`.importlinter`'s layers. Needs the extra `dev` (grimp comes with import-linter).
"""

from __future__ import annotations

import argparse
import configparser
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "kizy"
INSIDE = f"{PACKAGE}.orchestrator"
PROMPT = "a red fox on a blue background"

Pair = tuple[str, str]


@dataclass(frozen=True)
class House:
    """`arrows`: pairs of rooms of which the first imports the second. `climbs`: arrows to a higher
    floor. `circles`: groups of rooms that reach each other. `returns`: how often the planning of
    one sentence enters a room that it had left; None if it was not traced.
    """

    rooms: tuple[str, ...]
    arrows: tuple[Pair, ...]
    climbs: tuple[Pair, ...]
    circles: tuple[tuple[str, ...], ...]
    returns: int | None = None


def room_of(module: str) -> str | None:
    """The room of a module inside the orchestrator; None for other modules."""
    parts = module.split(".")
    head = INSIDE.split(".")
    if parts[: len(head)] != head or len(parts) == len(head):
        return None
    return parts[len(head)]


def arrows_of(imports: Iterable[Pair]) -> set[Pair]:
    """From imports between modules to arrows between rooms."""
    pairs = ((room_of(a), room_of(b)) for a, b in imports)
    return {(a, b) for a, b in pairs if a is not None and b is not None and a != b}


def circles_of(arrows: Iterable[Pair]) -> tuple[tuple[str, ...], ...]:
    """Groups of two rooms and more that reach each other (strongly connected components)."""
    reached: dict[str, set[str]] = {}
    for a, b in arrows:
        reached.setdefault(a, set()).add(b)
        reached.setdefault(b, set())
    changed = True
    while changed:
        changed = False
        for rooms in reached.values():
            more = {further for room in rooms for further in reached[room]} - rooms
            if more:
                rooms |= more
                changed = True
    groups = {tuple(sorted(b for b in rooms if a in reached[b])) for a, rooms in reached.items()}
    return tuple(sorted(group for group in groups if len(group) > 1))


def floors() -> dict[str, int]:
    """Room -> its floor, the highest is 0; as `.importlinter` has the orchestrator's layers."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter", encoding="utf-8")
    found: dict[str, int] = {}
    for section in config.sections():
        if config.get(section, "containers", fallback="").strip() != INSIDE:
            continue
        for floor, line in enumerate(config.get(section, "layers").strip().splitlines()):
            found |= {room.strip(): floor for room in line.split("|")}
    return found


def climbs_of(arrows: Iterable[Pair], floor: dict[str, int]) -> set[Pair]:
    """Arrows that lead to a higher floor."""
    return {(a, b) for a, b in arrows if a in floor and b in floor and floor[b] < floor[a]}


def look() -> House:
    """The rooms of this checkout, without a trace."""
    import grimp

    graph = grimp.build_graph(PACKAGE)
    imports = [
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    ]
    rooms = {room for room in map(room_of, graph.modules) if room is not None}
    arrows = arrows_of(imports)
    climbs = climbs_of(arrows, floors())
    return House(
        tuple(sorted(rooms)), tuple(sorted(arrows)), tuple(sorted(climbs)), circles_of(arrows)
    )


class RoomTrace:
    """Which rooms a call enters, by the interpreter's profile hook; `returns` counts those that
    were entered before and left since."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self._rooms: dict[CodeType, str | None] = {}

    @property
    def returns(self) -> int:
        return len(self.visits) - len(set(self.visits))

    def run(self, work: Callable[[], Any]) -> None:
        """Call `work` under the trace."""
        sys.setprofile(self._hear)
        try:
            work()
        finally:
            sys.setprofile(None)

    def _hear(self, frame: FrameType, event: str, _value: object) -> None:
        if event not in ("call", "return"):
            return
        # On a return, the caller's room is entered again.
        current, room = frame if event == "call" else frame.f_back, None
        while current is not None and room is None:
            room, current = self._room(current), current.f_back
        if room is not None and self.visits[-1:] != [room]:
            self.visits.append(room)

    def _room(self, frame: FrameType) -> str | None:
        code = frame.f_code
        if code not in self._rooms:
            module = frame.f_globals.get("__name__", "")
            self._rooms[code] = room_of(module) if isinstance(module, str) else None
        return self._rooms[code]


def traced_returns(prompt: str = PROMPT) -> int:
    """How often planning one sentence, warm, on the embedded engine, enters a room again."""
    from ..core.request import GenerationRequest
    from ..orchestrator.app import App
    from ..orchestrator.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        app = App(pictures=Path(folder), inputs=Path(folder), settings=Settings(engine="embedded"))
        request = GenerationRequest(prompt=prompt, seed=1)
        app.plan(request)
        trace = RoomTrace()
        trace.run(lambda: app.plan(request))
        app.close()
    return trace.returns


def main(arguments: list[str] | None = None) -> None:
    """Print the counts, and with `--arrows` each of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    parser.add_argument("--arrows", action="store_true", help="name each arrow")
    parser.add_argument("--trace", action="store_true", help="plan one sentence, count the returns")
    options = parser.parse_args(arguments)
    house = look()
    if options.trace:
        house = House(house.rooms, house.arrows, house.climbs, house.circles, traced_returns())
    if options.json:
        print(json.dumps(asdict(house), indent=2))
        return
    print(
        f"rooms {len(house.rooms)}, arrows {len(house.arrows)}, climbs {len(house.climbs)}, "
        f"circles {len(house.circles)}"
    )
    if house.returns is not None:
        print(f"returns {house.returns}")
    for a, b in house.arrows if options.arrows else ():
        print(f"{a} -> {b}{'  (climbs)' if (a, b) in house.climbs else ''}")
    for circle in house.circles:
        print("circle:", ", ".join(circle))


if __name__ == "__main__":
    main()
