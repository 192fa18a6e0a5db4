"""What every engine can do, whether it draws in this process or on another machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ...core.job import Event
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
    """A started job, as the engine knows it. Plain data: it can be stored."""

    job_id: str


class Engine(Protocol):
    """Draws Plans."""

    def capabilities(self) -> Capabilities:
        """What can be drawn here now."""
        ...

    def start(self, plan: Plan, job_id: str, *, again: bool = False) -> Handle:
        """Begin; a second call with the same `job_id` starts nothing.

        `again`: an earlier process may have started the job; what there is of it is taken up.
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
