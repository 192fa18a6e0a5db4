"""Where a person finds the files that an assistant had drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ....core.errors import KizyError
from ....core.job import Job
from ...sdk.remote.saving import save_pictures
from ...service import Service

Scope = dict[str, Any]
"""ASGI's, of the HTTP request that a message came with; empty on stdio."""


class Places(Protocol):
    """Where files are told to be. Called from any thread."""

    def keep(self, service: Service, job: Job) -> str | None:
        """A drawing is about to be shown. What went wrong with keeping it, if anything did."""
        ...

    def of(self, artifact_id: str, scope: Scope) -> str | None:
        """An address or path of a file; None: only the protocol's own."""
        ...


class Nowhere:
    """Files are told by their ids alone."""

    def keep(self, service: Service, job: Job) -> str | None:
        return None

    def of(self, artifact_id: str, scope: Scope) -> str | None:
        return None


NOWHERE = Nowhere()


class Addresses:
    """Files of a server. `base`: its address, as whoever asks reaches it. `path`: of a file."""

    def __init__(
        self,
        base: Callable[[Scope], str],
        path: Callable[[str], str] = lambda artifact_id: f"/v1/artifacts/{artifact_id}",
    ) -> None:
        self._base, self._path = base, path

    def keep(self, service: Service, job: Job) -> str | None:
        return None

    def of(self, artifact_id: str, scope: Scope) -> str | None:
        return self._base(scope).rstrip("/") + self._path(artifact_id)


class PicturesHere:
    """Pictures are saved into the person's own folder, each once, and told by their paths.

    `others`: where files are that are not saved.
    """

    def __init__(self, folder: Path, others: Places | None = None) -> None:
        self._folder, self._others = folder, others or NOWHERE
        self._saved: dict[str, str] = {}
        self._saving = threading.Lock()

    def keep(self, service: Service, job: Job) -> str | None:
        if job.state != "succeeded" or job.kind != "generation":
            return None
        # One at a time: two calls that wait for the same job save it once.
        with self._saving:
            new = tuple(one for one in job.artifacts if one.id not in self._saved)
            try:
                for one in save_pictures(
                    service, job.model_copy(update={"artifacts": new}), self._folder
                ):
                    self._saved[one.id] = one.path
            except KizyError as error:
                return f"Not saved in {self._folder}: {error.message}"
        return None

    def of(self, artifact_id: str, scope: Scope) -> str | None:
        return self._saved.get(artifact_id) or self._others.of(artifact_id, scope)
