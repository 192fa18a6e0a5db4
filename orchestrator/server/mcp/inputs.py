"""Pictures that an assistant names or hands over become ids of the service.

An assistant is not the person: what it read may have told it to ask for any file. So a path counts
only in folders that the person allowed, only whole pictures are handed on, and nothing is fetched.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import url2pathname

from ....core.errors import InputError, PictureError, UnknownNameError
from ....core.files import storage_errors
from ....core.picture_files import open_picture, read_plan
from ....core.picture_reader import ENDINGS, MAX_BYTES
from ....core.plan import Plan
from ...service import Service

MAX_INLINE = 16_000_000
"""Bytes of a picture inside a message."""

MAX_TEXT = MAX_INLINE // 3 * 4 + 1000
"""Letters of a picture's argument: one in base64 is the longest."""

MAX_FILES = 500
"""Pictures that a folder may hold."""

_ID = re.compile("[0-9a-f]{64}")
_ADDRESS = re.compile(
    "(?:kizy://(?:artifacts|uploads)/|https?://[^/?#]{1,300}(?:/[^?#]{0,300})?/v1/artifacts/)"
    "([0-9a-f]{64})(?:[?#].{0,300})?"
)
_SCHEME = re.compile("[a-z][a-z0-9+.-]{1,20}:", re.IGNORECASE)
_BASE64 = re.compile("iVBORw0KGgo|/9j/|UklGR|R0lGOD|SUkqA|TU0AK|AAAA.GZ0eX")
"""How base64 of a picture begins: PNG, JPEG, WebP, GIF, TIFF, and AVIF or HEIC."""

_DECODING = threading.BoundedSemaphore(2)
"""Pictures that are decoded at the same time: a large one takes some 200 MB."""


@dataclass(frozen=True)
class Given:
    """A picture's id. `plan`: what it was drawn from, of a picture of Kizy's."""

    id: str
    plan: Plan | None = None


class GivenPictures:
    """What `text` arguments mean. `folders`: where paths may lead; empty: no path counts."""

    def __init__(self, service: Service, folders: tuple[Path, ...] = ()) -> None:
        self._service, self._folders = service, folders
        self._real = tuple(folder.resolve() for folder in folders)

    def id_of(self, text: str) -> str:
        """The id of a picture; what is no id yet is handed over to the service.

        Raises PictureError, InputError `path_refused`, UnknownNameError `file_missing`.
        """
        known = _known_id(text)
        if known is not None:
            return known
        with self._file(text) as path:
            return self._hand_over(path)

    def with_plan(self, text: str) -> Given:
        """As `id_of`, and the Plan inside a picture that Kizy drew."""
        known = _known_id(text)
        if known is not None:
            return Given(known, self._plan_of(known))
        with self._file(text) as path:
            return Given(self._hand_over(path), _plan_in(path))

    def ids_of(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """As `id_of`, of many; where paths count, one may be a folder: then all pictures in it.

        Raises InputError `pictures_none` or `pictures_too_many` for such a folder, too.
        """
        ids: list[str] = []
        for text in texts:
            folder = None if _known_id(text) or _inline(text) else self._allowed_path(text)
            if folder is not None and folder.is_dir():
                ids += [self.id_of(str(path)) for path in _pictures_in(folder)]
            else:
                ids.append(self.id_of(text))
        return tuple(dict.fromkeys(ids))

    def _plan_of(self, id_: str) -> Plan | None:
        try:
            file = self._service.artifact(id_)
        except UnknownNameError:
            # An upload: only its picture is known.
            return None
        return _plan_in(file.path)

    def _hand_over(self, path: Path) -> str:
        with path.open("rb") as file:
            return self._service.upload(path.name, file).id

    @contextmanager
    def _file(self, text: str) -> Iterator[Path]:
        """A copy that nobody else writes to, checked to be a whole picture."""
        content = _inline(text)
        name = "picture"
        if content is None:
            path = self._allowed_path(text)
            name, content = path.name, _content(path)
        with tempfile.TemporaryDirectory(prefix="kizy-mcp-") as folder:
            copy = Path(folder) / name
            with storage_errors(copy):
                copy.write_bytes(content)
            with _DECODING:
                open_picture(copy).close()
            yield copy

    def _allowed_path(self, text: str) -> Path:
        """Where a path leads. Raises InputError `path_refused`, the same whatever is there."""
        if text.lower().startswith("file:///"):
            text = url2pathname(text[len("file://") :])
        elif _SCHEME.match(text):
            message = "A picture was named by an address, and Kizy fetches nothing from the web."
            raise InputError("path_refused", message, fix="Give its content as a data: URL.")
        if not self._folders:
            message = "A picture was named by a path, and no files are read for this client."
            raise InputError("path_refused", message)
        # First by its letters alone: outside of the folders not even a look is taken.
        plain = _absolute(text)
        if plain is not None and _below(plain, (*self._folders, *self._real)):
            path = plain.resolve()
            if _below(path, self._real):
                return path
        shown = ", ".join(str(folder) for folder in self._folders)
        message = "A picture was named by a path outside of the folders that may be read."
        fix = f"Pictures may be read below {shown}; `kizy mcp --allow FOLDER` adds a folder."
        raise InputError("path_refused", message, fix=fix)


def _below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _known_id(text: str) -> str | None:
    """The id, if the text is one or an address of one."""
    text = text.strip()
    if _ID.fullmatch(text.lower()):
        return text.lower()
    found = _ADDRESS.fullmatch(text)
    return found[1] if found is not None else None


def _inline(text: str) -> bytes | None:
    """The content of a data: URL, or of base64 alone; None for any other text."""
    if text[:5].lower() == "data:":
        head, comma, body = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            message = "The data: URL of a picture holds no base64."
            raise PictureError("picture_unreadable", message)
    elif _BASE64.match(text) and not _SCHEME.match(text) and "." not in text[:200]:
        body = text
    else:
        return None
    if len(body) > MAX_TEXT:
        megabytes = MAX_INLINE // 10**6
        message = f"The picture is over {megabytes} MB, and so too large for a message."
        fix = "Make it smaller, or upload it to the server and give its id."
        raise PictureError("picture_too_large", message, fix=fix)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise PictureError("picture_unreadable", "The picture's base64 is damaged.") from None


def _absolute(text: str) -> Path | None:
    """The path without `..`, by its letters alone; None for one that leads nowhere here."""
    if len(text) > 4096 or "\0" in text or text.startswith(("\\\\", "//")):
        return None
    try:
        path = Path(os.path.normpath(Path(text).expanduser()))
    except RuntimeError:
        # "~somebody", whom this machine does not know.
        return None
    return path if path.is_absolute() else None


def _content(path: Path) -> bytes:
    """The file's bytes: no link, device or pipe is followed or waited for.

    Raises UnknownNameError `file_missing`, PictureError `picture_too_large`.
    """
    missing = UnknownNameError("file_missing", f"There is no picture {path.name} there.")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError:
        raise missing from None
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise missing
    with os.fdopen(handle, "rb") as file:
        if facts.st_size > MAX_BYTES:
            message = f"{path.name} is over {MAX_BYTES // 10**6} MB."
            raise PictureError("picture_too_large", message)
        return file.read(MAX_BYTES)


def _pictures_in(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    except OSError:
        found = []
    if not found:
        message = f"The folder {folder.name} holds no pictures."
        raise InputError("pictures_none", message)
    if len(found) > MAX_FILES:
        message = f"The folder {folder.name} holds {len(found)} pictures; {MAX_FILES} are allowed."
        raise InputError("pictures_too_many", message)
    return found


def _plan_in(path: Path) -> Plan | None:
    try:
        return read_plan(path)
    except PictureError as error:
        if error.code in ("plan_missing", "plan_invalid"):
            return None
        raise
