"""What every engine can do, whether it draws in this process or on another machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ...core.job import Artifact, Event
from ...core.plan import Plan

EMBEDDED = "embedded"
COMFYUI = "comfyui"


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do.

    `fingerprint`: kind, versions, device and threads. The same Plan on engines of the same
    fingerprint gives the same pixels.
    """

    kind: str
    device: str
    families: frozenset[str]
    fingerprint: str


@dataclass(frozen=True)
class Handle:
    """A started job. `engine`: the kind of the engine that has it, where there are several."""

    job_id: str
    engine: str | None = None


class SavedArtifacts(Protocol):
    """Which pictures of which job were saved: none is drawn or saved again."""

    def add(self, job_id: str, index: int, artifact: Artifact) -> None:
        """Picture `index` of a job was saved. Raises StorageError if that must not be lost."""
        ...

    def of(self, job_id: str, plan: Plan) -> dict[int, Artifact]:
        """The pictures of a job that were saved, by their index, and are still there."""
        ...


class Engine(Protocol):
    """Draws Plans."""

    def capabilities(self) -> Capabilities:
        """What can be drawn here now."""
        ...

    def start(self, plan: Plan, job_id: str, *, again: bool = False) -> Handle:
        """Begin; a second call with the same `job_id` starts nothing.

        `again`: the job was begun before, by another process or with a failure; what there is of
        it is taken up.
        """
        ...

    def follow(self, handle: Handle) -> Iterator[Event]:
        """All events of a job from its beginning, ending with its EndEvent.

        Can be called again, also while another caller follows.
        """
        ...

    def cancel(self, handle: Handle) -> None:
        """Ask the job to stop; its EndEvent says how it ended. Unknown jobs are ignored."""
        ...
