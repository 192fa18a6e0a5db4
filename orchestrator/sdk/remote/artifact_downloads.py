"""Finished files from a Kizy server: under a temporary name first, and checked by their id."""

from __future__ import annotations

import re
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ....core.errors import EngineError, InputError, UnknownNameError
from ....core.files import replacing, sha256_of, storage_errors
from ...service import ArtifactFile
from .http_client import Http
from .send_inputs import is_id

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 18
_ANY_LETTERS = re.compile(r"filename\*=utf-8'[^']*'([^;]+)", re.IGNORECASE)


class _NoSuchRangeError(Exception):
    """What lies here is longer than the file, or as long, and still not it."""


class Downloads:
    """Files of one server, each fetched once. `folder`: where they go."""

    def __init__(self, http: Http, folder: Path) -> None:
        self._http, self._folder = http, folder
        self._known: dict[str, ArtifactFile] = {}

    def fetch(self, artifact_id: str) -> ArtifactFile:
        """A file whose content is what its id says.

        Raises UnknownNameError `artifact_unknown`, `artifact_gone`; EngineError `server_failed` for
        content that arrives damaged twice; StorageError.
        """
        if not is_id(artifact_id):
            message = (
                f"There is no file {artifact_id[:80]}: ids of files have 64 digits and letters."
            )
            raise UnknownNameError("artifact_unknown", message)
        known = self._known.get(artifact_id)
        if known is not None and known.path.is_file():
            return known
        path = self._folder / artifact_id
        with replacing(path) as temporary:
            name, media_type = self._whole(artifact_id, temporary)
        file = ArtifactFile(path, name, media_type, artifact_id)
        self._known[artifact_id] = file
        return file

    def _whole(self, artifact_id: str, temporary: Path) -> tuple[str, str]:
        """(name, media type) of the file, which lies whole at `temporary` then."""
        for _ in range(2):
            with temporary.open("wb"):
                pass
            try:
                told = self._http.tried(lambda: self._rest(artifact_id, temporary))
            except _NoSuchRangeError:
                continue
            if sha256_of(temporary) == artifact_id:
                return told
        message = f"The file {artifact_id} arrives damaged from {self._http.place.url}."
        fix = "Look whether a proxy changes it; the server's own disk may be damaged, too."
        raise EngineError("server_failed", message, fix=fix)

    def _rest(self, artifact_id: str, temporary: Path) -> tuple[str, str]:
        """Fetch what is missing: a line that breaks costs no second beginning."""
        have = temporary.stat().st_size
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": f'"{artifact_id}"'}
        path = f"/v1/artifacts/{artifact_id}"
        try:
            return self._taken(artifact_id, path, headers, temporary, have)
        except InputError as error:
            if have and error.code == "request_invalid":
                raise _NoSuchRangeError from error
            raise

    def _taken(
        self, artifact_id: str, path: str, headers: dict[str, str], temporary: Path, have: int
    ) -> tuple[str, str]:
        with self._http.answer("GET", path, headers=headers) as response:
            mode = "ab" if _goes_on(response, have) else "wb"
            with storage_errors(temporary), temporary.open(mode) as file:
                for block in response.iter_content(_BLOCK):
                    file.write(block)
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
            return _name(response, artifact_id), kind or "application/octet-stream"


def _goes_on(response: requests.Response, have: int) -> bool:
    given = response.headers.get("Content-Range", "")
    return response.status_code == 206 and given.startswith(f"bytes {have}-")


def _name(response: requests.Response, artifact_id: str) -> str:
    """The file's name, as the server calls it (RFC 6266); nothing of a path."""
    given = response.headers.get("Content-Disposition", "")
    header = Message()
    header["Content-Disposition"] = given
    any_letters = _ANY_LETTERS.search(given)
    name = unquote(any_letters[1]) if any_letters is not None else header.get_filename() or ""
    last = re.split(r"[\\/]", name)[-1]
    plain = "".join(letter for letter in last if letter.isprintable()).strip(" .")
    return plain[:200] or artifact_id
