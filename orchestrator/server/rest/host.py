"""What the server needs of the queue behind it, beside a Service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ...service import Figures, Numbered, Service, Upload


class Host(Service, Protocol):
    """A Service that is seen by several owners. `QueueService` is one."""

    def seen_by(self, owner: str | None, *, files: bool = False) -> Host:
        """What this owner may see and do; None: everybody's."""
        ...

    def watch(
        self, job_id: str, heard: Callable[[Numbered], None], after: int | None = None
    ) -> Callable[[], None]:
        """As `follow`, but calls back, from other threads; what it returns ends it."""
        ...

    def take_upload(self, path: Path, name: str) -> Upload:
        """Keep a file that lies complete on this disk; it is moved."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether nothing new is accepted any more."""
        ...

    def ready(self) -> str | None:
        """None: ready; else why not, in a sentence."""
        ...

    def figures(self) -> Figures:
        """Numbers for whoever watches over the server."""
        ...
