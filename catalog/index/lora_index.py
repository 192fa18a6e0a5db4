"""The index of a person's LoRAs: what was found, read and computed, in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.home import home
from ..card import Card
from ..formats.published_facts import Facts
from ..words.card_words import card_texts
from .content_sample import sample, sha256_unless
from .folder_mtimes import Folders
from .folders import LoraFolder, lora_folders
from .index_file import IndexFile, transaction
from .meanings import BATCH as EMBEDDED_AT_ONCE
from .meanings import Meanings, from_bytes, text_hash, to_bytes
from .scan import (
    TRY_AGAIN,
    Found,
    Health,
    Looked,
    ScanProgress,
    ScanReport,
    Tensors,
    Walk,
    finished,
    look_at,
)

INDEX_FILE = "catalog.sqlite"

BATCH = 500
"""Files after which what was read is written down."""


@dataclass(frozen=True)
class FileRecord:
    """A file as it was found last. `health`: "ok", or what is wrong; `card.problem` says it.

    `sha256` None: not computed yet. `form`: "lora", "dora", "loha", ... `alpha` None: alpha = rank.
    `text_encoder`: it changes text encoders, too. `made_for`: the model that it was made for, in
    plain words, if Kizy has no such family.
    """

    path: Path
    size: int
    mtime_ns: int
    health: Health
    card: Card
    sha256: str | None = None
    form: str | None = None
    rank: int | None = None
    alpha: float | None = None
    text_encoder: bool = False
    made_for: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """`meanings`: cards with texts that have no vector yet. `hashes`: files without a sha256."""

    meanings: int = 0
    hashes: int = 0


def _never() -> bool:
    return False


def _silent(_progress: ScanProgress) -> None:
    return None


class Index:
    """All methods may be called from several threads and processes at once.

    They raise StorageError `folder_not_writable` or `disk_full`. The file may be deleted at any
    time; one that is damaged is made anew, which `notes` tell.
    """

    def __init__(self, path: Path | None = None) -> None:
        """`path`: of the SQLite file; KIZY_HOME/catalog.sqlite if it is not given."""
        self._file = IndexFile(path if path is not None else home() / INDEX_FILE)

    @property
    def path(self) -> Path:
        return self._file.path

    def state(self) -> object:
        """Something that is another whenever anybody has written to the index."""
        return self._file.state()

    @property
    def notes(self) -> Sequence[str]:
        """What happened to the file itself, in plain words."""
        return tuple(self._file.notes)

    def scan(
        self,
        folders: Sequence[LoraFolder] | None = None,
        *,
        progress: Callable[[ScanProgress], None] = _silent,
        cancelled: Callable[[], bool] = _never,
    ) -> ScanReport:
        """Make the index agree with the folders (default: Kizy's own): all there are, no others.

        Only new and changed files are opened.
        """
        given = lora_folders() if folders is None else tuple(folders)
        report = self._file.guarded(lambda db: _Scan(db, progress, cancelled).run(given))
        return replace(report, notes=(*self.notes, *report.notes))

    def cards(self, *, family: str | None = None) -> Sequence[Card]:
        """Every file's card, by path; also of files that cannot be used (`problem`)."""
        rows = self._file.rows(
            "SELECT card FROM files WHERE ?1 IS NULL OR family = ?1 ORDER BY path", (family,)
        )
        return [Card.model_validate_json(row[0]) for row in rows]

    def files(self) -> Sequence[FileRecord]:
        """Every file, by path."""
        rows = self._file.rows(
            "SELECT path, size, mtime_ns, health, card, sha256, form, rank, alpha, text_encoder,"
            " made_for FROM files ORDER BY path"
        )
        return [
            FileRecord(
                path=Path(os.fsdecode(row[0])),
                size=row[1],
                mtime_ns=row[2],
                health=row[3],
                card=Card.model_validate_json(row[4]),
                sha256=row[5],
                form=row[6],
                rank=row[7],
                alpha=row[8],
                text_encoder=bool(row[9]),
                made_for=row[10],
            )
            for row in rows
        ]

    def put_facts(self, sha256: str, facts: Facts) -> None:
        """Keep what Civitai says of a content; the cards of its files say it from now on."""

        def put(db: sqlite3.Connection) -> None:
            with transaction(db):
                values = (sha256, facts.model_dump_json())
                db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", values)
                _renew_cards(db, sha256)

        self._file.guarded(put)

    def facts(self, sha256: str) -> Facts | None:
        """What was kept for a content."""
        rows = self._file.rows("SELECT facts FROM facts WHERE sha256 = ?", (sha256,))
        return Facts.model_validate_json(rows[0][0]) if rows else None

    def put_hash(self, path: Path, sha256: str) -> None:
        """Keep the sha256 of a file that was just computed; a file that is not listed has none."""
        rows = self._file.rows(
            "SELECT size, digest FROM files WHERE path = ?", (os.fsencode(path),)
        )
        if not rows or rows[0][1] is None:
            return
        size, digest = rows[0]
        try:
            sampled = sample(path, size)
        except OSError:
            return
        self._file.guarded(lambda db: _hashed(db, sha256, size, digest, sampled, os.fsencode(path)))

    def unfinished(self) -> Unfinished:
        """What the background still has to do."""
        known = {row[0] for row in self._file.rows("SELECT hash FROM meanings")}
        rows = self._file.rows("SELECT texts, sha256 IS NULL FROM files WHERE health = 'ok'")
        return Unfinished(
            meanings=sum(texts is None or not _parts(texts) <= known for texts, _ in rows),
            hashes=sum(missing for _, missing in rows),
        )

    def compute_hashes(
        self,
        *,
        limit: int | None = None,
        progress: Callable[[ScanProgress], None] = _silent,
        cancelled: Callable[[], bool] = _never,
    ) -> int:
        """Compute the sha256 of files that have none, the smallest first; how many it were.

        Reads whole files: meant for the background. Each result is kept at once.
        """
        rows = self._file.rows(
            "SELECT path, size, mtime_ns, digest FROM files"
            " WHERE sha256 IS NULL AND health = 'ok' ORDER BY size, path LIMIT ?",
            (-1 if limit is None else limit,),
        )
        done = 0
        for at, (path, size, mtime_ns, digest) in enumerate(rows):
            progress(ScanProgress(at, len(rows)))
            if cancelled():
                break
            file = Path(os.fsdecode(path))
            try:
                sha256 = sha256_unless(file, cancelled)
                sampled = sample(file, size)
                about = file.stat()
            except OSError:
                continue
            if sha256 is None or (about.st_size, about.st_mtime_ns) != (size, mtime_ns):
                continue
            self._file.guarded(lambda db, v=(sha256, size, digest, sampled, path): _hashed(db, *v))
            done += 1
        return done

    def meanings(self) -> Meanings:
        """The vectors that are there for the cards as they are now; see `compute_meanings`."""
        vectors = dict(self._file.rows("SELECT hash, vector FROM meanings"))
        keys: list[str] = []
        found: list[bytes] = []
        if vectors:
            query = "SELECT json_extract(card, '$.key'), texts FROM files WHERE texts IS NOT NULL"
            for key, texts in self._file.rows(query + " ORDER BY path"):
                for at in range(0, len(texts), 16):
                    vector = vectors.get(texts[at : at + 16])
                    if vector is not None:
                        keys.append(key)
                        found.append(vector)
        return Meanings(keys, from_bytes(found))

    def compute_meanings(
        self,
        *,
        limit: int | None = None,
        cancelled: Callable[[], bool] = _never,
        embed: Callable[[Sequence[str]], Any] | None = None,
    ) -> int:
        """Embed texts of cards that have no vector yet; how many it were.

        Meant for the background: each batch is kept at once. `limit`: texts at most. Needs torch,
        unless `embed` (texts -> (n, 384)) is given; `language.available()` tells.
        """
        missing = self._missing_texts()
        texts = list(missing.items())[:limit]
        if texts and embed is None:
            from ...language import embed as by_language

            embed = by_language
        done = 0
        for at in range(0, len(texts) if embed is not None else 0, EMBEDDED_AT_ONCE):
            if cancelled() or embed is None:
                break
            batch = texts[at : at + EMBEDDED_AT_ONCE]
            vectors = to_bytes(embed([text for _, text in batch]))
            pairs = [(hash_, vector) for (hash_, _), vector in zip(batch, vectors, strict=True)]
            self._file.guarded(lambda db, p=pairs: _keep_vectors(db, p))
            done += len(batch)
        return done

    def _missing_texts(self) -> dict[bytes, str]:
        """Hash -> text without a vector; notes the texts of each card, drops vectors of no card."""

        def look(db: sqlite3.Connection) -> dict[bytes, str]:
            known = {row[0] for row in db.execute("SELECT hash FROM meanings")}
            wanted: dict[bytes, str] = {}
            changed = []
            query = "SELECT path, texts, card FROM files WHERE health = 'ok' ORDER BY path"
            for path, before, card in db.execute(query):
                texts = {text_hash(t): t for t in card_texts(Card.model_validate_json(card))}
                wanted.update(texts)
                if before != b"".join(texts):
                    changed.append((b"".join(texts), path))
            with transaction(db):
                db.executemany("UPDATE files SET texts = ? WHERE path = ?", changed)
                unused = [(hash_,) for hash_ in known - wanted.keys()]
                db.executemany("DELETE FROM meanings WHERE hash = ?", unused)
            return {hash_: text for hash_, text in wanted.items() if hash_ not in known}

        return self._file.guarded(look)


@dataclass
class _Scan:
    """One scan with an open index."""

    db: sqlite3.Connection
    progress: Callable[[ScanProgress], None]
    cancelled: Callable[[], bool]

    def run(self, folders: Sequence[LoraFolder]) -> ScanReport:
        started = time.monotonic()
        known = self._known()
        walk = Walk(folders)
        there: set[bytes] = set()
        changed: list[Found] = []
        for found in walk:
            path = os.fsencode(found.path)
            there.add(path)
            if known.get(path) != _state(found):
                changed.append(found)
            if len(there) % BATCH == 0:
                self.progress(ScanProgress(len(there), None, str(found.path.parent)))
                if self.cancelled():
                    return ScanReport(len(there), cancelled=True, seconds=_since(started))
        gone = known.keys() - there
        self._remove(gone)
        read = self._read(changed)
        counts = dict(self.db.execute("SELECT health, count(*) FROM files GROUP BY health"))
        return ScanReport(
            found=len(there),
            read=read,
            removed=len(gone),
            broken=sum(counts.values()) - counts.get("ok", 0),
            growing=counts.get("growing", 0),
            cancelled=read < len(changed),
            seconds=_since(started),
            notes=tuple(walk.notes),
            folders=Folders(walk.times),
        )

    def _known(self) -> dict[bytes, tuple[Any, ...] | None]:
        """Path -> what tells whether it has changed; None: look at it again in any case."""
        rows = self.db.execute("SELECT path, root, size, mtime_ns, stamp, health FROM files")
        return {row[0]: None if row[5] in TRY_AGAIN else row[1:5] for row in rows}

    def _remove(self, paths: Iterable[bytes]) -> None:
        with transaction(self.db):
            self.db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])

    def _read(self, files: Sequence[Found]) -> int:
        """Open the files and keep what they are; how many it were."""
        batch: list[Looked] = []
        done = 0
        self.progress(ScanProgress(0, len(files)))
        for looked in look_at(files, self.cancelled):
            batch.append(looked)
            if len(batch) == BATCH:
                done += self._write(batch)
                batch = []
                self.progress(ScanProgress(done, len(files), str(looked.found.path.parent)))
        done += self._write(batch)
        self.progress(ScanProgress(done, len(files)))
        return done

    def _write(self, batch: Sequence[Looked]) -> int:
        with transaction(self.db):
            rows = [_row(looked, *self._content(looked)) for looked in batch]
            self.db.executemany(
                "INSERT OR REPLACE INTO files (path, root, size, mtime_ns, stamp, health, digest,"
                " sha256, family, form, rank, alpha, text_encoder, open, made_for, own, said, card)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        return len(batch)

    def _content(self, looked: Looked) -> tuple[str | None, Facts | None]:
        """sha256 and facts of a content that was seen before, under whatever name."""
        if looked.reading is None:
            return None, None
        seen = self.db.execute(
            "SELECT sha256, sample FROM hashes WHERE digest = ? AND size = ?",
            (looked.reading.digest, looked.reading.size),
        ).fetchall()
        if not seen:
            return None, None
        try:
            sampled = sample(looked.found.path, looked.reading.size)
        except OSError:
            return None, None
        sha256 = next((row[0] for row in seen if row[1] == sampled), None)
        return sha256, _facts(self.db, sha256)


def _state(found: Found) -> tuple[Any, ...]:
    return os.fsencode(found.root), found.size, found.mtime_ns, found.stamp


def _row(looked: Looked, sha256: str | None, told: Facts | None) -> tuple[Any, ...]:
    found, reading, said = looked.found, looked.reading, looked.said
    tensors = Tensors()
    if reading is not None:
        tensors = Tensors(reading.refuted, reading.made_for, reading.doubts)
    card, made_for = finished(looked.card, said, told, tensors)
    details: tuple[Any, ...] = (None, None, None, None)
    if reading is not None:
        details = (reading.form, reading.rank, reading.alpha, int(reading.text_encoder))
    return (
        os.fsencode(found.path),
        *_state(found),
        looked.health,
        reading.digest if reading is not None else None,
        sha256,
        card.family,
        *details,
        _open(tensors),
        made_for,
        looked.card.model_dump_json(),
        said.model_dump_json() if said is not None else None,
        card.model_dump_json(),
    )


def _parts(texts: bytes) -> set[bytes]:
    """The hashes that a row of `files` names."""
    return {texts[at : at + 16] for at in range(0, len(texts), 16)}


def _hashed(
    db: sqlite3.Connection, sha256: str, size: int, digest: bytes, sampled: bytes, path: bytes
) -> None:
    with transaction(db):
        values = (sha256, size, digest, sampled)
        db.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", values)
        db.execute("UPDATE files SET sha256 = ? WHERE path = ?", (sha256, path))
        _renew_cards(db, sha256)


def _renew_cards(db: sqlite3.Connection, sha256: str) -> None:
    """Put the cards of a content together again."""
    told = _facts(db, sha256)
    query = "SELECT path, own, said, open FROM files WHERE sha256 = ?"
    for path, own, said, left_open in db.execute(query, (sha256,)).fetchall():
        left = Facts.model_validate_json(said) if said else None
        refuted, made_for, doubts = json.loads(left_open)
        tensors = Tensors(frozenset(refuted), made_for, frozenset(doubts))
        card, made_for = finished(Card.model_validate_json(own), left, told, tensors)
        values = (card.model_dump_json(), card.family, made_for, path)
        renew = "UPDATE files SET card = ?, family = ?, made_for = ?, texts = NULL WHERE path = ?"
        db.execute(renew, values)


def _open(tensors: Tensors) -> str:
    return json.dumps([sorted(tensors.refuted), tensors.made_for, sorted(tensors.doubts)])


def _facts(db: sqlite3.Connection, sha256: str | None) -> Facts | None:
    row = db.execute("SELECT facts FROM facts WHERE sha256 = ?", (sha256,)).fetchone()
    return Facts.model_validate_json(row[0]) if row else None


def _keep_vectors(db: sqlite3.Connection, pairs: Sequence[tuple[bytes, bytes]]) -> None:
    with transaction(db):
        db.executemany("INSERT OR REPLACE INTO meanings VALUES (?, ?)", pairs)


def _since(started: float) -> float:
    return time.monotonic() - started
