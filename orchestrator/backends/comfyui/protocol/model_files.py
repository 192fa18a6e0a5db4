"""The model files of a server with size and time, as `/experiment/models/{folder}` tells them.

ComfyUI 0.3.64 and 0.33 answer alike (app/model_manager.py): a list of `name` (below the folder,
with the slashes of the server's system), `pathIndex` (which of the folder's places, the first of a
name wins), `size` in bytes, `modified` and `created` in seconds. They look through the folder for
each answer, so that a file which was replaced a moment ago is told as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .....core.errors import EngineError

ROUTE = "/experiment/models/"
FOLDERS = (
    "checkpoints",
    "diffusion_models",
    "text_encoders",
    "vae",
    "loras",
    "controlnet",
    "upscale_models",
)
"""Those that Kizy's graphs load from (templates/node_types.py, MODEL_FOLDERS)."""


@dataclass(frozen=True)
class FileStamp:
    """A file as its folder tells it. `size` in bytes; `modified` and `created` in seconds.

    Two files of one name that differ in any of them count as different.
    """

    size: int
    modified: float
    created: float


def stamps(told: Any) -> dict[str, FileStamp]:
    """Name -> stamp, from an answer that is not trusted: what is no file is passed over.

    Raises EngineError `server_failed` if it is no list.
    """
    if not isinstance(told, list):
        raise EngineError("server_failed", "The list of models is none.")
    found: dict[str, tuple[int, FileStamp]] = {}
    for one in told:
        try:
            name, place = str(one["name"]), int(one["pathIndex"])
            stamp = FileStamp(int(one["size"]), float(one["modified"]), float(one["created"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if name not in found or place < found[name][0]:
            found[name] = place, stamp
    return {name: stamp for name, (_, stamp) in found.items()}


Listed = Mapping[str, Mapping[str, FileStamp]]
"""Folder -> name -> stamp."""
