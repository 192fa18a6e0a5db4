"""Downloads a file: goes on after breaks and in later processes, checks it, renames it at the end.

Nothing is taken on trust: the name is cleaned, the file's first bytes and header must be those of
a safetensors file, size and sha256 those announced. A key goes to its own service alone (hub.py).
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import HubError, InputError, ModelFileError, StorageError
from ...core.files import replacing, sha256_of, storage_errors
from ..formats.published_facts import RemoteFile
from ..formats.safetensors_header import PICKLE_SUFFIXES, Header, is_file, read_header
from .hub import PAGE, Caller, Http, Hub, Persistence, TroubleError, blocks
from .partial import Partial, partial

if TYPE_CHECKING:
    import requests

MAX_FILE = 100_000_000_000
"""Bytes; the largest single files of models have some 50 GB."""

MAX_TEXT = 64_000_000
"""Bytes of a settings or tokenizer file of a diffusers model."""

SPARE = 200_000_000
"""Bytes that stay free on the disk."""

_MAX_NAME_BYTES = 150
_SLACK = 1.01
"""Civitai rounds sizes to some digits of a kilobyte."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)\Z")


@dataclass(frozen=True)
class Progress:
    """`done` and `total` in bytes; `left` in seconds. None: not known."""

    done: int
    total: int | None
    left: float | None


def safe_name(name: str, suffix: str = ".safetensors") -> str:
    """A file name from a service, fit for every system: no folders, no dots at its ends.

    Raises InputError `download_refused` if it is no name of a `suffix` file.
    """
    refuse_name(name, suffix)
    stem = re.split(r"[/\\]", name)[-1][: -len(suffix)]
    kept = "".join("_" if _is_unsafe(letter) else letter for letter in stem).strip(" .")
    while len(kept.encode()) > _MAX_NAME_BYTES:
        kept = kept[:-1]
    kept = kept.strip(" .") or "model"
    return f"{'_' if _RESERVED.match(kept) else ''}{kept}{suffix}"


def refuse_name(name: str, suffix: str = ".safetensors") -> None:
    """Raise InputError `download_refused` for pickles and whatever else is no safetensors file."""
    lower = name.lower()
    if lower.endswith(suffix):
        return
    shown = re.split(r"[/\\]", name)[-1][:100]
    if lower.endswith(PICKLE_SUFFIXES):
        message = f"{shown} is a pickled file, which can run code."
        fix = "Choose its .safetensors form: Kizy downloads nothing else."
        raise InputError("download_refused", message, fix=fix)
    raise InputError("download_refused", f"{shown} is no {suffix} file.")


def download(
    file: RemoteFile,
    target: Path,
    *,
    hub: Hub,
    progress: Callable[[Progress], None] = lambda _progress: None,
    caller: Caller | None = None,
    settle: Callable[[Header, Path], Path] = lambda _header, target: target,
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> Path:
    """Download `file` to `target`, and return where it lies in the end.

    What arrived of it before, in this process or another, is used. A file that is there already is
    left alone if it has the announced sha256. `settle`: decides from the header of the whole file
    where it goes. `free`: bytes free in a folder.

    Raises InputError `download_refused`; HubError `download_damaged`, `hub_unreachable`,
    `hub_wants_key` or `hub_failed`; UnknownNameError `hub_unknown`; StorageError; CancelledError.
    What has arrived stays after `hub_unreachable`, `cancelled` and `disk_full`.
    """
    text = file.format == "text"
    refuse_name(file.name, Path(file.name).suffix if text else ".safetensors")
    if text and Path(file.name).suffix.lower() not in (".json", ".txt"):
        raise InputError("download_refused", f"{target.name} is no settings file.")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_file(target):
            return _already_there(file, target)
        with partial(target, file) as part:
            caller = caller or Caller()
            _Download(file, target, part, hub, caller, progress, free).run()
            final = target
            if not text:
                final = settle(_checked_header(part, file), target)
            # Closed first: Windows renames no open file.
            part.flush()
            part.close()
            _move(part.path, final)
            part.delete()
            return final


class _Download:
    def __init__(
        self,
        file: RemoteFile,
        target: Path,
        part: Partial,
        hub: Hub,
        caller: Caller,
        progress: Callable[[Progress], None],
        free: Callable[[Path], int],
    ) -> None:
        self._file = file
        self._target = target
        self._part = part
        self._hub = hub
        self._caller = caller
        self._tell = progress
        self._free = free
        self._http = Http(hub, caller.patience)
        self._patience = Persistence(hub, caller)
        self._most = part.size
        self._limit = _limit(file)
        self._rate = _Rate(caller.clock)

    def run(self) -> None:
        """Until all bytes are there and are the right ones."""
        try:
            self._part.hash_what_is_there(self._caller.check)
            self._patience.until_done(self._attempt)
            if not self._is_right() and self._part.resumed:
                self._caller.say(f"{self._file.name} changed in between; it comes anew.")
                self._part.restart()
                self._most = 0
                self._patience.until_done(self._attempt)
            if not self._is_right():
                self._part.delete()
                message = f"{self._file.name} has another sha256 than {self._hub.name} announced."
                raise HubError("download_damaged", message)
        finally:
            self._http.close()

    def _is_right(self) -> bool:
        return self._file.sha256 is None or self._part.sha256() == self._file.sha256

    def _attempt(self) -> None:
        """One request, for what is still missing. Raises TroubleError."""
        part = self._part
        if part.size and not self._may_resume():
            part.restart()
        part.resumed = part.size > 0
        with self._http.open("GET", self._file.url, self._headers(), accept=(416,)) as response:
            if response.status_code == 416:
                if _range(response)[2] == part.size > 0:
                    return
                part.restart()
                raise TroubleError("has no such part of the file any more")
            self._refuse_page(response)
            total = self._begin(response)
            self._rate.begin()
            for block in blocks(response):
                self._caller.check()
                self._take(block, total)
            if total is not None and part.size < total:
                raise TroubleError("broke off")
            part.flush()
        self._tell(Progress(part.size, part.size, 0.0))

    def _may_resume(self) -> bool:
        """Whether a mix of two files would be noticed."""
        origin = self._part.origin
        return bool(_strong(origin.etag) or origin.modified or self._file.sha256)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self._part.size:
            headers["Range"] = f"bytes={self._part.size}-"
            origin = self._part.origin
            validator = _strong(origin.etag) or (None if self._file.sha256 else origin.modified)
            if validator:
                headers["If-Range"] = validator
        return headers

    def _refuse_page(self, response: requests.Response) -> None:
        kind = response.headers.get("Content-Type", "")
        if "text/html" in kind or (self._file.format != "text" and "application/json" in kind):
            raise TroubleError("answered with a web page in place of the file", most=PAGE)

    def _begin(self, response: requests.Response) -> int | None:
        """Bring the partial file to where the answer begins; the whole length, if it is known."""
        part, headers = self._part, response.headers
        etag, modified = headers.get("ETag"), headers.get("Last-Modified")
        if response.status_code == 206:
            first, _, total = _range(response)
            same = etag is None or part.origin.etag in (None, etag)
            if first != part.size or not same:
                part.restart()
                raise TroubleError("sent another part of the file than was asked for")
        else:
            if part.size:
                changed = etag is not None and etag != part.origin.etag
                why = "changed there" if changed else "cannot be continued there"
                self._caller.say(f"{self._file.name} {why}; it comes anew.")
                part.restart()
            length = headers.get("Content-Length", "")
            plain = "Content-Encoding" not in headers
            total = int(length) if length.isdecimal() and plain else None
        self._check_size(total)
        part.belongs_to(etag, modified)
        return total

    def _check_size(self, total: int | None) -> None:
        announced = total if total is not None else self._file.size
        if announced is None:
            return
        if total is not None and total > self._limit:
            self._part.delete()
            raise _too_long(self._file, self._hub)
        missing = announced - self._part.size
        if missing > 0 and missing + SPARE > self._free(self._target.parent):
            gigabytes = f"{(missing + SPARE) / 1e9:.1f} GB"
            message = f"{self._file.name} needs {gigabytes} of free space in {self._target.parent}."
            raise StorageError("disk_full", message, fix="Free some space there.")

    def _take(self, block: bytes, total: int | None) -> None:
        part = self._part
        begins = part.size == 0
        if begins and self._file.format != "text":
            _refuse_foreign(block, self._file, self._hub)
        part.write(block)
        if part.size > self._limit:
            part.delete()
            raise _too_long(self._file, self._hub)
        if part.size > self._most:
            # Only what was never there before: a server that always breaks must not go on forever.
            self._most = part.size
            self._patience.progressed()
        if self._rate.add(len(block)):
            left = self._rate.left(total - part.size) if total is not None else None
            self._tell(Progress(part.size, total, left))


class _Rate:
    """Bytes a second, smoothed; says when it is time to tell."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rate: float | None = None
        self.begin()

    def begin(self) -> None:
        self._since, self._bytes = self._clock(), 0

    def add(self, count: int) -> bool:
        self._bytes += count
        passed = self._clock() - self._since
        if passed < 0.25:
            return False
        now = self._bytes / passed
        self._rate = now if self._rate is None else 0.7 * self._rate + 0.3 * now
        self.begin()
        return True

    def left(self, missing: int) -> float | None:
        return missing / self._rate if self._rate else None


def _limit(file: RemoteFile) -> int:
    if file.format == "text":
        return MAX_TEXT
    return MAX_FILE if file.size is None else min(int(file.size * _SLACK) + 65_536, MAX_FILE)


def _refuse_foreign(start: bytes, file: RemoteFile, hub: Hub) -> None:
    """Refuse by the first bytes what is no safetensors file, before the rest comes.

    A header's length can look like anything: nothing counts where a header follows.
    """
    if start[8:9] == b"{" or len(start) < 9:
        return
    if start[:2] == b"PK" or (start[0] == 0x80 and start[1] in range(2, 6)):
        message = f"{file.name} is a pickled file under another name, which can run code."
        raise InputError("download_refused", message)
    if start.lstrip()[:1] == b"<":
        raise TroubleError("answered with a web page in place of the file", most=PAGE)
    message = f"{file.name} as {hub.name} sends it is no safetensors file."
    raise HubError("download_damaged", message)


def _checked_header(part: Partial, file: RemoteFile) -> Header:
    part.flush()
    try:
        return read_header(part.path)
    except ModelFileError as error:
        reason = error.message.removeprefix(part.path.name).strip()
        part.delete()
        if error.code == "model_file_pickled":
            message = f"{file.name} is a pickled file, which can run code."
            raise InputError("download_refused", message) from error
        raise HubError("download_damaged", f"{file.name} {reason}") from error


def _already_there(file: RemoteFile, target: Path) -> Path:
    if file.sha256 is not None and sha256_of(target) == file.sha256:
        return target
    message = f"There is another file {target.name} in {target.parent} already."
    raise InputError("download_refused", message, fix="Rename or remove that one.")


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.chmod(0o644)
    if source.stat().st_dev == target.parent.stat().st_dev:
        source.replace(target)
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _range(response: requests.Response) -> tuple[int | None, int | None, int | None]:
    """(first, last, whole length) of a Content-Range."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None, None
    first, last, total = (int(t) if t and t.isdecimal() else None for t in match.groups())
    return first, last, total


def _strong(etag: str | None) -> str | None:
    """The ETag if it may stand in If-Range (RFC 9110, 13.1.5)."""
    return etag if etag and not etag.startswith("W/") else None


def _too_long(file: RemoteFile, hub: Hub) -> HubError:
    message = f"{file.name} is longer than {hub.name} announced."
    return HubError("download_damaged", message)


def _is_unsafe(letter: str) -> bool:
    return letter in '<>:"/\\|?*' or unicodedata.category(letter)[0] == "C"
