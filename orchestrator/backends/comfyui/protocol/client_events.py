"""What the client tells: events of a job, files it made, facts of a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

JobStanding = Literal["pending", "running", "done", "failed", "unknown"]


class CompiledGraph(Protocol):
    """What the client needs of a compiled template (templates/compile.py)."""

    @property
    def graph(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def samplers(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class OutputFile:
    """Something that a node made. `kind`: "images", "gifs", "audio", "video", "text", ...

    `filename`, `subfolder` and `type` come from the server and are untrusted: they go back to it,
    and never name a file here. `text`: what a node said in place of a file.
    """

    node: str
    kind: str
    filename: str
    subfolder: str
    type: str
    text: str | None = None

    @property
    def suffix(self) -> str:
        """A file ending that is safe to use (".png"); ".bin" if the server's is strange."""
        if self.text is not None:
            return ".txt"
        suffix = PurePosixPath(self.filename).suffix.lower()
        return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ".bin"


@dataclass(frozen=True)
class Progress:
    """`fraction`: 0 to 1, never smaller than before. `left`: seconds, None while unknown."""

    fraction: float
    doing: str
    left: float | None = None


@dataclass(frozen=True)
class Preview:
    """The picture so far: `data` of `format` "jpeg" or "png". `node`: the sampler, if known."""

    data: bytes
    format: str
    node: str | None = None


@dataclass(frozen=True)
class Notice:
    """Something worth knowing while it goes on."""

    code: str
    text: str


@dataclass(frozen=True)
class Done:
    """The job ended well, with these files."""

    outputs: tuple[OutputFile, ...]


ClientEvent = Progress | Preview | Notice | Done


class Vanished(Exception):  # noqa: N818 - no failure yet: whoever hears it submits once more
    """The job is neither in the queue nor in the history: the server was restarted, or somebody
    cleared its queue or history."""

    def __init__(self, prompt_id: str) -> None:
        super().__init__(f"job {prompt_id} is nowhere on the server")
        self.prompt_id = prompt_id


@dataclass(frozen=True)
class Device:
    """A device that a server draws on. Bytes of its memory."""

    name: str
    total: int
    free: int


@dataclass(frozen=True)
class ServerStats:
    """What a server says about itself. `os`: "posix" or "nt"; memory in bytes."""

    version: str
    os: str
    devices: tuple[Device, ...]
    memory_total: int
    memory_free: int


@dataclass(frozen=True)
class QueueState:
    """Prompt ids on the server, everybody's; `pending` in the order in which they will run."""

    running: tuple[str, ...]
    pending: tuple[str, ...]
