"""Which pictures of which job were saved: a job that is taken up saves none of them again.

One line for each picture in KIZY_HOME/saved.jsonl, which many processes write to; old lines go.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from .....core.errors import StorageError
from .....core.files import replacing, sha256_of
from .....core.job import Artifact
from .....core.plan import Plan

MAX_BYTES = 2_000_000
"""About ten thousand pictures; the older half goes when it is reached."""

_log = logging.getLogger(__name__)


class SavedPictures:
    """The list in `file`; without one nothing is remembered."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def add(self, job_id: str, index: int, artifact: Artifact) -> None:
        """Picture `index` of a job was saved. Never raises: the picture itself is safe."""
        if self._file is None:
            return
        about = artifact.model_dump(exclude={"plan"})
        line = json.dumps({"job": job_id, "index": index, **about}) + "\n"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                # One write: lines of several processes do not mix.
                file.write(line.encode())
                size = file.tell()
            if size > MAX_BYTES:
                self._shorten()
        except (OSError, StorageError) as error:
            _log.debug("%s was not written: %s", self._file, error)

    def of(self, job_id: str, plan: Plan) -> dict[int, Artifact]:
        """The pictures of a job that were saved, by their index, and lie there unchanged."""
        found: dict[int, Artifact] = {}
        for entry in self._entries(job_id):
            with contextlib.suppress(KeyError, TypeError, ValueError, OSError):
                index = int(entry["index"])
                about = {key: entry[key] for key in Artifact.model_fields if key != "plan"}
                artifact = Artifact(**about, plan=plan.for_picture(index))
                if 0 <= index < plan.count and sha256_of(Path(artifact.path)) == artifact.id:
                    found[index] = artifact
        return found

    def _entries(self, job_id: str) -> list[dict[str, Any]]:
        if self._file is None:
            return []
        entries: list[dict[str, Any]] = []
        with contextlib.suppress(OSError):
            for line in self._file.read_bytes().splitlines():
                # A line that was cut short by a power failure is none.
                with contextlib.suppress(ValueError):
                    entry = json.loads(line) if job_id.encode() in line else None
                    if isinstance(entry, dict) and entry.get("job") == job_id:
                        entries.append(entry)
        return entries

    def _shorten(self) -> None:
        if self._file is None:
            return
        with self._file.open("rb") as file:
            file.seek(-MAX_BYTES // 2, os.SEEK_END)
            newest = file.read().partition(b"\n")[2]
        with replacing(self._file) as temporary:
            temporary.write_bytes(newest)
