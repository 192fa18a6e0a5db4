"""Who uses the ComfyUIs that Kizy started: they end some time after the last of them did.

One file for each process in KIZY_HOME/comfyui/users; that of a process which was killed counts for
nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pydantic import ValidationError

from .....core.files import replacing
from . import pids
from .server_records import ProcessRecord, comfyui_home

FOLDER = "users"


class User:
    """This process, from now until `leave`."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises StorageError if it cannot be written down."""
        folder = (folder or comfyui_home()) / FOLDER
        self._file = folder / f"{os.getpid()}-{id(self):x}"
        record = ProcessRecord.of(pids.identify(os.getpid()))
        with replacing(self._file) as temporary:
            temporary.write_text(record.model_dump_json(), encoding="utf-8")

    def leave(self) -> None:
        """May be called again."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def anybody(folder: Path | None = None) -> bool:
    """Whether a process that lives uses them; files of those that do not are removed."""
    living = False
    for file in ((folder or comfyui_home()) / FOLDER).glob("[0-9]*"):
        with contextlib.suppress(OSError, UnicodeDecodeError, ValidationError):
            record = ProcessRecord.model_validate_json(file.read_text(encoding="utf-8"))
            # Where the system cannot tell, it counts as living.
            if pids.is_running(record.id) is False:
                file.unlink(missing_ok=True)
            else:
                living = True
    return living
