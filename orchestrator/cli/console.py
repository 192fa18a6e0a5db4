"""What the pages about LoRAs and models share: safe texts, names of families, progress."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ...catalog.card import Card
from ...catalog.index.scan import ScanProgress
from ..planning.family_names import family_in_words
from ..shelf import Shelf

STATES = {
    "damaged": "damaged",
    "growing": "not whole yet",
    "empty": "empty",
    "pickled": "pickled",
    "no_lora": "no LoRA",
    "unreadable": "not readable",
    "dangling": "broken link",
}
"""Health -> what is wrong, in a word or two."""

JOINERS = "\u200d"

LEAST_WIDTH = 12
"""Letters that a column keeps in a narrow terminal."""


def shown(text: object) -> str:
    """A name, path or description as it may go to a terminal: what controls it becomes `?`.

    What only joins emoji stays.
    """
    return "".join(
        "?" if unicodedata.category(c)[0] == "C" and c not in JOINERS else c for c in str(text)
    )


def line(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """A paragraph as it is: no markup. One that is indented is wrapped, and all its lines are so.

    Others are left to the terminal: a path that is to be copied must stay in one piece.
    """
    words = Text(shown(text), style=style)
    if not indent:
        console.print(words, soft_wrap=True)
        return
    for part in words.wrap(console, max(console.width - indent, 20)):
        part.rstrip()
        console.print(Text(" " * indent) + part, soft_wrap=True)


VERSION_MARK = "  + "
"""Stands before what the training of the LoRA above it saved on its way."""


def columns(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[str] = (),
) -> None:
    """A table of ten thousand rows within a second, which Rich's takes ten for.

    In a terminal the widest of the first three columns are cut until it fits.
    """
    widths = [max(map(cell_len, cells)) for cells in zip(headings, *rows, strict=True)]
    if console.is_terminal:
        while sum(widths) + 2 * len(widths) > console.width and max(widths[:3]) > LEAST_WIDTH:
            widths[widths.index(max(widths[:3]))] -= 1
    lines = []
    for row in (headings, *rows):
        cells = []
        for heading, cell, width in zip(headings, row, widths, strict=True):
            missing = width - cell_len(cell)
            if missing < 0:
                cell, missing = set_cell_size(cell, width - 1).rstrip() + "…", 0
            cells.append(" " * missing + cell if heading in right else cell + " " * missing)
        lines.append("  ".join(cells).rstrip())
    console.print(Text(lines[0], style="bold"), soft_wrap=True)
    print("\n".join(lines[1:]), flush=True)


def document(value: dict[str, Any]) -> None:
    """The one JSON document on stdout; in ASCII, which no terminal takes for a command."""
    print(json.dumps(value))


def made_for_words(card: Card, made_for: str | None, unknown: str = "unknown") -> str:
    """What a LoRA is for; `made_for`: a model of no family of Kizy's, in plain words."""
    if card.family is not None:
        return family_in_words(card.family, card.variant)
    return f"{made_for}, which Kizy cannot draw with" if made_for else unknown


def plural(many: int, thing: str) -> str:
    """ "1 LoRA", "2 LoRAs"."""
    return f"{many:,} {thing}{'' if many == 1 else 's'}"


@contextmanager
def scanning(shelf: Shelf) -> Iterator[None]:
    """Look through the folders first, with progress on stderr; then do the block.

    What the scan has to say is told after it.
    """
    console = Console(stderr=True)
    with _bar(console, "Looking through your LoRA folders") as tell:

        def progress(now: ScanProgress) -> None:
            tell(now.done, now.total, "")

        report = shelf.scan(progress=progress)
    for note in report.notes:
        line(console, f"Note: {note}")
    yield


@contextmanager
def fetching(console: Console, what: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar for what is downloaded or copied: call it with done, total and what else to say."""
    with _bar(console, what) as tell:
        yield tell


@contextmanager
def _bar(console: Console, what: str) -> Iterator[Callable[[int, int | None, str], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task(shown(what), total=None, left="")

        def tell(done: int, total: int | None, left: str) -> None:
            bar.update(task, completed=done, total=total, left=left)

        yield tell
