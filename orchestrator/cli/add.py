"""`kizy loras add` and `kizy models add`: from an address or a file into the right folder."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from ...catalog.card import Card
from ...catalog.downloads.civitai import Civitai
from ...catalog.downloads.download import Progress, safe_name
from ...catalog.downloads.getting import accept, look_up
from ...catalog.downloads.hub import Caller, Hub
from ...catalog.downloads.offer import Offer, in_bytes, make_offer
from ...catalog.formats.lora_reader import Reader, Reading
from ...catalog.formats.published_facts import Facts
from ...catalog.formats.safetensors_header import PICKLE_SUFFIXES, is_file
from ...catalog.formats.sidecars import sidecar_names
from ...catalog.index.loras import SUFFIX, what_it_is
from ...core.errors import (
    CancelledError,
    InputError,
    KizyError,
    ModelFileError,
    StorageError,
    UnknownNameError,
)
from ...core.files import replacing, sha256_of
from ...core.home import loras_folder, models_folder
from ..planning.family_names import family_in_words
from ..planning.machine import this_machine
from ..settings import load_settings
from ..shelf import Shelf
from .console import document, fetching, line

Kind = Literal["lora", "model"]

PIECE = 1 << 22
"""Bytes that are copied at once."""

_THING = {"lora": "LoRA", "model": "model"}


@dataclass(frozen=True)
class Services:
    """Who is asked, if not the public services; `ask`: the person, yes or no."""

    civitai: Civitai | None = None
    hub: Hub | None = None
    ask: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class View:
    """`yes`: do not ask. `adult`: this time adult content may come."""

    yes: bool = False
    adult: bool = False
    as_json: bool = False


def add(text: str, *, kind: Kind, view: View, services: Services | None = None) -> None:
    """Get what an address, an id, a repository or a file names.

    Raises InputError `confirmation_needed`, `download_refused`, `adult_content`, ...; HubError;
    ModelFileError; UnknownNameError; StorageError; CancelledError.
    """
    path = _file(text)
    if path is not None:
        _add_file(path, kind, view)
    else:
        _download(text, view, services or Services())


def _file(text: str) -> Path | None:
    """The file that is meant; None if it is an address. Raises UnknownNameError `file_missing`."""
    with contextlib.suppress(RuntimeError):
        path = Path(text).expanduser()
        if is_file(path):
            return path
        if _is_folder(path):
            fix = f"Move the folder into {models_folder()}; a diffusers model works from there."
            raise InputError("request_invalid", f"{text} is a folder, not a file.", fix=fix)
    looks_local = text.startswith((".", "~", "/", "\\")) or text[1:3] in (":\\", ":/")
    no_address = "://" not in text and "/" not in text
    if looks_local or (no_address and text.lower().endswith((SUFFIX, *PICKLE_SUFFIXES))):
        raise UnknownNameError("file_missing", f"There is no file {text}.")
    return None


def _add_file(path: Path, kind: Kind, view: View) -> None:
    reading = _checked(path, kind)
    folder = loras_folder() if kind == "lora" else models_folder()
    console = Console(stderr=True)
    there = _present(path, folder, kind)
    if there is None:
        there = _copied(path, folder, console)
        happened = "copied"
    else:
        happened = "there already"
    if kind == "lora":
        shelf = Shelf(load_settings())
        shelf.scan()
        shelf.in_background()
    _tell(there, reading, happened, view, console)


def _checked(path: Path, kind: Kind) -> Reading:
    """What the file is. Raises ModelFileError if it is damaged, or not of that kind."""
    reading = Reader().read(path)
    if reading.what == kind:
        return reading
    if reading.what == "lora":
        fix = f"Add it as one: kizy loras add {path}"
        raise ModelFileError("model_file_damaged", f"{path.name} is a LoRA.", fix=fix)
    words = what_it_is(reading)
    fix = f"Choose a {_THING[kind]} file."
    if reading.what == "model":
        fix = f"Add it as a model: kizy models add {path}"
    message = f"{path.name} holds no {_THING[kind]}: {words}"
    raise ModelFileError("model_file_damaged", message, fix=fix)


def _present(path: Path, folder: Path, kind: Kind) -> Path | None:
    """Where this very file is already, under whatever name, if Kizy sees it."""
    size = path.stat().st_size
    if kind == "lora":
        known = [record.path for record in Shelf(load_settings()).files() if record.size == size]
    else:
        known = [p for p in folder.rglob(f"*{SUFFIX}") if is_file(p) and p.stat().st_size == size]
    if any(_same_place(path, other) for other in known):
        return path
    digest = sha256_of(path) if known else ""
    return next((other for other in known if _digest_or_none(other) == digest), None)


def _copied(path: Path, folder: Path, console: Console) -> Path:
    """Where the copy lies. Raises InputError `file_exists`, StorageError."""
    target = folder / safe_name(path.with_suffix(SUFFIX).name)
    size = path.stat().st_size
    with replacing(target) as temporary:
        _refuse_taken(target)
        free = shutil.disk_usage(temporary.parent).free
        if free < size:
            message = (
                f"{path.name} has {in_bytes(size)}, and {in_bytes(free)} are free in {folder}."
            )
            raise StorageError("disk_full", message, fix="Free some space, and try again.")
        with fetching(console, f"Copying {path.name}") as tell:
            _copy(path, temporary, size, tell)
        _refuse_taken(target)
    names = zip(sidecar_names(path.name), sidecar_names(target.name), strict=True)
    for old, new in names:
        # What other programs know of it goes with it.
        if is_file(path.with_name(old)) and not (folder / new).exists():
            with replacing(folder / new) as temporary:
                shutil.copyfile(path.with_name(old), temporary)
    return target


def _refuse_taken(target: Path) -> None:
    if target.exists():
        message = f"There is another file called {target.name} in {target.parent}."
        raise InputError("file_exists", message)


def _copy(
    source: Path, target: Path, size: int, tell: Callable[[int, int | None, str], None]
) -> None:
    done = 0
    with source.open("rb") as read, target.open("wb") as written:
        while piece := read.read(PIECE):
            written.write(piece)
            done += len(piece)
            tell(done, size, "")


def _download(text: str, view: View, services: Services) -> None:
    settings = load_settings()
    adult = view.adult or settings.loras.adult
    console = Console(stderr=True)
    caller = Caller(say=lambda said: line(console, said, "dim"))
    with _resumable():
        facts = look_up(text, adult=adult, caller=caller, civitai=services.civitai)
        offer = make_offer(facts, adult=adult, machine=this_machine())
        there = _here_already(offer)
        if there is not None:
            _finish((there,), "there already", offer, facts, view, console)
            return
        for sentence in offer.lines():
            line(console, sentence)
        if not offer.enough_space:
            free, size = in_bytes(offer.free), in_bytes(offer.size or 0)
            message = f"{offer.title} has {size}, and {free} are free in {offer.folder}."
            raise StorageError("disk_full", message, fix="Free some space, and try again.")
        _confirm(offer, view, services)
        with fetching(console, f"Downloading {offer.title}") as tell:

            def progress(now: Progress) -> None:
                tell(now.done, now.total, f"{_minutes(now.left)} left" if now.left else "")

            paths = accept(offer, caller=caller, hub=services.hub, progress=progress)
    _finish(paths, "downloaded", offer, facts, view, console)


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C keeps what has arrived."""
    try:
        yield
    except KeyboardInterrupt:
        fix = "The same command goes on where it stopped."
        raise CancelledError("cancelled", "Stopped; what has arrived is kept.", fix=fix) from None


def _confirm(offer: Offer, view: View, services: Services) -> None:
    """Ask, unless they said yes. Raises InputError `confirmation_needed`, CancelledError."""
    if view.yes:
        return
    ask = services.ask
    if ask is None and (view.as_json or not sys.stdin.isatty()):
        message = f"{offer.title} is downloaded only if you say yes, and nobody can be asked here."
        raise InputError("confirmation_needed", message)
    if not (ask or _asked)("Download it?"):
        raise CancelledError("cancelled", "Nothing was downloaded.", fix="Choose another one.")


def _asked(question: str) -> bool:
    import typer

    return typer.confirm(question, err=True)


def _here_already(offer: Offer) -> Path | None:
    """Where the very LoRA lies that is offered, under whatever name."""
    told = offer.files[0].sha256
    if offer.kind != "lora" or len(offer.files) > 1 or told is None:
        return None
    with contextlib.suppress(StorageError):
        files = Shelf(load_settings()).files()
        return next((record.path for record in files if record.sha256 == told), None)
    return None


def _finish(
    paths: tuple[Path, ...],
    happened: str,
    offer: Offer,
    facts: Facts,
    view: View,
    console: Console,
) -> None:
    reading = _reading(paths[0]) if len(paths) == 1 else None
    card = None
    if reading is not None and reading.what == "lora":
        card = _remembered(paths[0], offer, facts)
    path = paths[0] if len(paths) == 1 else offer.folder
    _tell(path, reading, happened, view, console, offer, card)


def _reading(path: Path) -> Reading | None:
    try:
        return Reader().read(path)
    except KizyError:
        return None


def _remembered(path: Path, offer: Offer, facts: Facts) -> Card | None:
    """The LoRA's card with what the service says: it is known from now on."""
    shelf = Shelf(load_settings())
    # A download is done even if the index cannot be written.
    with contextlib.suppress(StorageError, OSError):
        # What the service told was checked against the file.
        shelf.learn(path, offer.files[0].sha256 or sha256_of(path), facts)
        shelf.in_background()
        known = shelf.known(path)
        return known.card if known is not None else None
    return None


def _tell(
    path: Path,
    reading: Reading | None,
    happened: str,
    view: View,
    console: Console,
    offer: Offer | None = None,
    card: Card | None = None,
) -> None:
    triggers = card.triggers if card is not None else reading.triggers if reading else ()
    if view.as_json:
        document(_document(path, reading, happened, triggers))
        return
    words = {"there already": "It is here already", "copied": "Copied", "downloaded": "Saved"}
    line(console, f"{words[happened]}: {path}", "bold")
    if reading is None or reading.what not in ("lora", "model"):
        return
    thing = "LoRA" if reading.what == "lora" else "model"
    if reading.family is None:
        line(console, f"It is a {thing} of a family that Kizy does not know: it cannot be used.")
        return
    family = family_in_words(reading.family, reading.variant)
    rank = f", rank {reading.rank}" if reading.rank else ""
    line(console, f"It is a {thing} for {family}{rank}." if rank else f"It is a {thing}: {family}.")
    if triggers:
        line(console, f"Trigger words: {', '.join(triggers[:5])}")
    if offer is not None and offer.family not in (None, reading.family):
        said = family_in_words(offer.family)
        line(console, f"Its page says {said}; the file itself decides.", "dim")


def _document(
    path: Path, reading: Reading | None, happened: str, triggers: Sequence[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(path), "happened": happened}
    if reading is not None:
        found |= {
            "what": reading.what,
            "family": reading.family,
            "variant": reading.variant,
            "rank": reading.rank,
            "triggers": list(triggers),
        }
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _same_place(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _digest_or_none(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
