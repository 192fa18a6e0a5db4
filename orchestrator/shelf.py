"""This person's LoRAs: the index over the folders of the settings, and the choice from it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog.card import Card
from ..catalog.formats.lora_reader import Reader
from ..catalog.formats.published_facts import Facts
from ..catalog.index.folders import LoraFolder, lora_folders
from ..catalog.index.records import key_of
from ..catalog.index.scan import Found, ScanProgress, ScanReport, look
from ..catalog.words.card_words import card_texts
from ..core import launch
from ..core.cores import all_cores
from ..core.errors import KizyError
from ..core.home import cache_folder, home
from ..core.once import once_property
from .backends.comfyui.launcher.server_records import OwnerLock
from .settings import Settings

if TYPE_CHECKING:
    from ..catalog.index.lora_index import FileRecord, Index, Unfinished
    from ..catalog.search.rerank import Reranker
    from ..catalog.search.search_index import Library
    from ..catalog.search.select import Choice, Named, Scope

FEW_TEXTS = 64
"""Texts whose meaning is worked out while somebody waits: one to three seconds on two cores."""

OUT_OF_REACH = (
    "The program that draws does not have this file; put it into one of its LoRA folders."
)

WORKER = "orchestrator.shelf_worker"
_LOG = "log"
MARK = "started"
STARTING = 60.0
"""Seconds that a process may take from its start to its lock."""

LOOK_SECONDS = 1.0
"""So often is looked whether folders have changed, while somebody asks."""

GROWING_SECONDS = 5.0
"""So often while a file is being copied into a folder."""

SCAN_SECONDS = 60.0
"""So often are the folders looked through in any case: files may have been written to in place."""

SHARE = 0.02
"""... but looking through them, or reading the index anew, takes no more of the time than this."""


def shelf_folders(settings: Settings) -> tuple[LoraFolder, ...]:
    """Kizy's own folder, those of ComfyUI and A1111, and those that the settings add."""
    return lora_folders(
        comfyui=settings.comfyui.folder,
        comfyui_arguments=settings.comfyui.arguments,
        a1111=settings.loras.a1111,
        more=settings.loras.folders,
    )


def worker_folder() -> Path:
    """Where the background work keeps its lock and what it said last."""
    return cache_folder() / "shelf"


class Shelf:
    """Everything is read on first use and kept until folders or index change. From any thread.

    Every method raises StorageError `folder_not_writable` or `disk_full` if the index cannot be
    written.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        index: Index | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._given = index
        self._clock = clock
        # Guards all below that is kept: threads that plan, list, find and download come at once.
        # Reentrant, for what is kept is made of other things that are. Who comes while the folders
        # are looked through waits for that, and does not look through them as well.
        self._lock = threading.RLock()
        self._scanned: ScanReport | None = None
        self._scanned_at = self._looked_at = self._loaded_at = float("-inf")
        self._loading = 0.0
        self._state: object = None
        self._left: tuple[object, Unfinished] | None = None
        self._library: Library | None = None
        self._joined: tuple[tuple[Card, ...], Library] | None = None
        self._reachable: tuple[tuple[Card, ...], frozenset[str], Library] | None = None
        self.folders = shelf_folders(settings)

    @once_property
    def _index(self) -> Index:
        if self._given is not None:
            return self._given
        from ..catalog.index.lora_index import Index

        return Index()

    @all_cores()
    def scan(
        self,
        *,
        progress: Callable[[ScanProgress], None] = lambda _progress: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> ScanReport:
        """Make the index agree with the folders."""
        with self._lock:
            before = self._index.state()
            report = self._index.scan(self.folders, progress=progress, cancelled=cancelled)
            self._scanned = report
            self._scanned_at = self._looked_at = self._clock()
            # Broken files are read again each time.
            if report.removed or report.read > report.broken or before != self._state:
                self._forget()
            else:
                self._state = self._index.state()
            return report

    def library(self, *, fresh: bool = False, also: Sequence[Card] = ()) -> Library:
        """All cards, with the meanings that are there. `also`: cards of servers beside them.

        Scans on first use, when the folders have changed, or if it is `fresh`.
        """
        with self._lock:
            own = self._own_library(fresh=fresh)
            if not also:
                return own
            also = tuple(also)
            if self._joined is None or self._joined[0] != also:
                from ..catalog.search.search_index import Library

                self._joined = also, Library.of([*own.cards, *also], self._index.meanings())
            return self._joined[1]

    def _own_library(self, *, fresh: bool) -> Library:
        from ..catalog.search.search_index import Library

        if fresh:
            self.scan()
        else:
            self._look_again()
        if self._library is None:
            begun = self._clock()
            # Before it is read: what is written meanwhile counts as new.
            self._state = self._index.state()
            self._library = Library.of(self._index.cards(), self._index.meanings())
            self._loaded_at = self._clock()
            self._loading = self._loaded_at - begun
        return self._library

    def files(self) -> Sequence[FileRecord]:
        """Every file, by path; broken ones too. Scans as `library` does."""
        self._look_again()
        return self._index.files()

    def known(self, path: Path) -> FileRecord | None:
        """What the index says of a file, if it is as it was; without looking through folders."""
        try:
            about = path.stat()
        except OSError:
            return None
        for record in self._index.files():
            if record.path == path and record.health == "ok":
                same = (record.size, record.mtime_ns) == (about.st_size, about.st_mtime_ns)
                return record if same else None
        return None

    def scope(self, folders: Sequence[str] = (), tags: Sequence[str] = ()) -> Scope:
        """These folders and tags, or those of the settings; adult cards as the settings say."""
        from ..catalog.search.search_index import Scope

        loras = self._settings.loras
        return Scope(
            folders=tuple(folders) or loras.scope_folders,
            tags=tuple(tags) or loras.scope_tags,
            mature=loras.adult,
        )

    def select(
        self,
        prompt: str,
        family: str,
        *,
        variant: str | None = None,
        scope: Scope | None = None,
        max_loras: int | None = None,
        named: Sequence[Named] = (),
        only: Collection[str] | None = None,
        also: Sequence[Card] = (),
        guests: Sequence[Card] = (),
    ) -> Choice:
        """The choice for a wish, as `search.select`; what is left out is as the settings say.

        `only`: keys of the cards that the engine can reach; None: all. `also`: cards of servers.
        `guests`: cards that belong to this wish alone, for `named`. What the choice lacked is told
        in its `notices`. Raises InputError `name_ambiguous`.
        """
        from ..catalog.search.select import select

        notices = self.learn_a_few()
        choice = select(
            prompt,
            family,
            self._within(only, also).with_guests(guests),
            variant=variant,
            scope=scope or self.scope(),
            max_loras=self._settings.loras.max if max_loras is None else max_loras,
            named=named,
            rerank=self._reranker(),
        )
        return replace(choice, notices=(*notices, *choice.notices))

    def compute_meanings(
        self, *, limit: int | None = None, cancelled: Callable[[], bool] = lambda: False
    ) -> int:
        """Work out what cards mean that is not known yet; how many texts it were.

        0 where the language weights' runtime is not installed.
        """
        if not _language_is_there():
            return 0
        done = self._index.compute_meanings(limit=limit, cancelled=cancelled)
        self._forget()
        return done

    def compute_hashes(self, *, limit: int | None = None) -> int:
        """Compute sha256 of files that have none, the smallest first; how many it were."""
        return self._index.compute_hashes(limit=limit)

    def learn(self, path: Path, sha256: str, facts: Facts) -> None:
        """Keep what a service says of a file that was just downloaded."""
        self.scan()
        self._index.put_facts(sha256, facts)
        self._index.put_hash(path, sha256)
        self._forget()

    def only(self, found: Sequence[Path], name: str) -> Path:
        """The one of the files that a name means. Raises InputError `name_ambiguous`."""
        library = self.library()
        at = library.only([library.find(key_of(path))[0] for path in found], name)
        return next(path for path in found if key_of(path) == library.cards[at].key)

    def find(self, name: str) -> Sequence[Path]:
        """The files of the card of that key, or that the name means; copies are several."""
        library = self.library()
        keys = {library.cards[at].key for at in library.find(name)}
        return [record.path for record in self._index.files() if record.card.key in keys]

    def in_background(self) -> None:
        """Start a process of its own that learns what is not known yet, unless one runs already.

        It scans, works out meanings, then hashes, and ends. Never raises.
        """
        if not self._settings.loras.background:
            return
        with contextlib.suppress(KizyError, OSError):
            left = self._unfinished()
            if not left.hashes and not (left.meanings and _language_is_there()):
                return
            lock = OwnerLock(worker_folder())
            if not lock.take():
                return
            lock.give_back()
            if not _just_started():
                _start_worker(worker_folder() / _LOG)

    def learn_a_few(self) -> tuple[str, ...]:
        """Work out few meanings at once; what to say of those that stay unknown."""
        library = self.library()
        many = self._unfinished().meanings
        if not many or not _language_is_there():
            return ()
        pairs = zip(library.cards, library.known, strict=True)
        unknown = [card for card, known in pairs if not known and card.problem is None]
        few = len(unknown) <= FEW_TEXTS
        if few and sum(len(card_texts(card)) for card in unknown) <= FEW_TEXTS:
            self.compute_meanings(limit=FEW_TEXTS)
            return ()
        which = f"{many:,} of your LoRAs are" if many > 1 else "One of your LoRAs is"
        if not self._settings.loras.background:
            return (f"{which} known by words only, as the setting loras.background is off.",)
        return (f"{which} known by words only; Kizy learns what they mean in the background.",)

    def _look_again(self) -> None:
        """Take notice of what has changed in the folders, and of what others wrote to the index."""
        with self._lock:
            self._look_now()

    def _look_now(self) -> None:
        now, last = self._clock(), self._scanned
        if last is None:
            self.scan()
            return
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        age = now - self._scanned_at
        often = GROWING_SECONDS if last.growing else SCAN_SECONDS
        if last.folders.changed() or age > max(often, last.seconds / SHARE):
            self.scan()
        elif (
            # Not at each batch of meanings that is worked out in the background.
            now - self._loaded_at > max(GROWING_SECONDS, self._loading / SHARE)
            and self._state != self._index.state()
        ):
            self._forget()

    def _unfinished(self) -> Unfinished:
        with self._lock:
            state = self._index.state()
            if self._left is None or self._left[0] != state:
                self._left = state, self._index.unfinished()
            return self._left[1]

    def _within(self, only: Collection[str] | None, also: Sequence[Card]) -> Library:
        """The library where what is out of reach cannot be used, and says so."""
        with self._lock:
            library = self.library(also=also)
            if only is None:
                return library
            keys, also = frozenset(only), tuple(also)
            if self._reachable is None or self._reachable[:2] != (also, keys):
                from ..catalog.search.search_index import Library

                cards = [
                    card
                    if card.key in keys or card.problem is not None
                    else card.model_copy(update={"problem": OUT_OF_REACH})
                    for card in library.cards
                ]
                self._reachable = also, keys, Library.of(cards, self._index.meanings())
            return self._reachable[2]

    def _reranker(self) -> Reranker | None:
        """The second opinion, if the settings name one."""
        asked = self._settings.loras.rerank
        if asked.url is None or asked.model is None:
            return None
        from ..catalog.search.rerank import Reranker

        key = asked.key.get_secret_value() if asked.key is not None else None
        return Reranker(asked.url, asked.model, key)

    def _forget(self) -> None:
        with self._lock:
            self._library = self._joined = self._reachable = None


def guest_card(path: Path) -> Card:
    """The card of a file that one request names by its path. Never raises for what is in it."""
    about = path.stat()
    return look(Found(path, path.parent, about.st_size, about.st_mtime_ns), Reader()).card


def _language_is_there() -> bool:
    from ..language import available

    return available()


def _just_started() -> bool:
    """Whether another command started the process, which has not come to its lock yet.

    If not, the next one to ask will hear so. The process removes the mark when it is done.
    """
    mark = worker_folder() / MARK
    with contextlib.suppress(OSError):
        if 0 <= time.time() - mark.stat().st_mtime < STARTING:
            return True
    mark.touch()
    return False


def _start_worker(log: Path) -> None:
    log.unlink(missing_ok=True)
    with log.open("ab") as file:
        process = launch.open_process(
            launch.command(WORKER),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=_DETACHED,
            env={**os.environ, "KIZY_HOME": str(home().absolute()), "PYTHONUNBUFFERED": "1"},
        )
    # It lives on without this process, which need not wait for its exit status.
    process.returncode = 0


_DETACHED = 0
if sys.platform == "win32":
    _DETACHED = (
        subprocess.CREATE_NEW_PROCESS_GROUP
        | subprocess.CREATE_NO_WINDOW
        | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    )
