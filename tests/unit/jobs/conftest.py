"""Queues over a database of their own, with an App that draws plain colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kizy.core.request import GenerationRequest
from kizy.orchestrator.jobs.database import Database, sqlite_url
from kizy.orchestrator.jobs.recorder import Ledger
from kizy.orchestrator.jobs.runs.drawing import SavedInLedger
from kizy.orchestrator.jobs.service import Caller, QueueService
from kizy.orchestrator.jobs.table import JobTable
from kizy.orchestrator.jobs.upload_table import Uploads
from kizy.orchestrator.settings import Settings
from kizy.orchestrator.storage.artifacts import ArtifactStore
from kizy.orchestrator.storage.uploads import UploadStore

from tests.fakes.draws import FakeApp
from tests.postgres import postgres_database


@dataclass
class Made:
    """Services over one folder and one database; the second is what comes after the first."""

    folder: Path
    url: str
    services: list[QueueService] = field(default_factory=list)
    apps: list[FakeApp] = field(default_factory=list)

    def __call__(
        self,
        *,
        trainer: Any = None,
        lane: str = "embedded",
        files: bool = False,
        **settings: Any,
    ) -> Any:
        """`files`: who asks may name files by their paths."""
        database = Database(self.url)
        store = ArtifactStore(self.folder / "artifacts", "1")
        ledger = Ledger(JobTable(database), store)
        app = FakeApp(
            store,
            SavedInLedger(ledger),
            settings=Settings(**settings),
            lane=lane,
            servers=2,
        )
        uploads = Uploads(database, UploadStore(self.folder / "uploads"))
        caller = Caller(None, files=files)
        service = QueueService(  # type: ignore
            database, app, ledger, uploads, trainer=trainer, caller=caller
        )
        self.services.append(service)
        self.apps.append(app)
        return service

    @property
    def app(self) -> FakeApp:
        """The newest one."""
        return self.apps[-1]

    def files(self) -> set[str]:
        """Names of all finished files on the disk."""
        return {path.name for path in (self.folder / "artifacts").rglob("*") if path.is_file()}


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "memory":
        yield "sqlite://"
        return
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "jobs.sqlite")
        return
    with postgres_database() as address:
        yield address


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """An empty database in a file."""
    return sqlite_url(tmp_path / "jobs.sqlite")


@pytest.fixture
def made(tmp_path: Path, database_url: str) -> Iterator[Made]:
    """made(...): a service over an empty database of each kind."""
    yield from _made(tmp_path, database_url)


@pytest.fixture
def made_in_file(tmp_path: Path, file_url: str) -> Iterator[Made]:
    """made(...): a service over an empty database in a file."""
    yield from _made(tmp_path, file_url)


@pytest.fixture
def wish() -> Callable[..., GenerationRequest]:
    """wish("a fox", seed=1): a request."""

    def build(prompt: str = "a red fox", **values: Any) -> GenerationRequest:
        return GenerationRequest.model_validate({"prompt": prompt, **values})

    return build


def _made(folder: Path, url: str) -> Iterator[Made]:
    made = Made(folder, url)
    yield made
    for app in made.apps:
        app.let_go()
    for service in made.services:
        service.close(0.5)
