"""The API over a service in memory, and over the queue itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.orchestrator.jobs.database import Database
from kizy.orchestrator.jobs.keys import KeyStore
from kizy.orchestrator.jobs.recorder import Ledger
from kizy.orchestrator.jobs.runs.drawing import SavedInLedger
from kizy.orchestrator.jobs.service import QueueService
from kizy.orchestrator.jobs.table import JobTable
from kizy.orchestrator.jobs.upload_table import Uploads
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.settings import ServeSettings, Settings
from kizy.orchestrator.storage.artifacts import ArtifactStore
from kizy.orchestrator.storage.uploads import UploadStore
from PIL import Image
from starlette.testclient import TestClient

from tests.fakes.draws import FakeApp
from tests.fakes.service import FakeService

HERE = "http://127.0.0.1:7433"

Call = Callable[..., TestClient]
Png = Callable[..., bytes]


def client_of(service: Any, *, client: str = "127.0.0.1", **options: Any) -> TestClient:
    """A client of the API over a service, that sends from an address of this machine."""
    app = make_api(service, **options)
    return TestClient(
        app, base_url=HERE, client=(client, 50000), raise_server_exceptions=False
    )  # fmt: skip


@pytest.fixture
def fake(tmp_path: Path) -> FakeService:
    return FakeService(tmp_path / "fake")


@pytest.fixture
def held(tmp_path: Path) -> FakeService:
    """A service whose jobs wait until the test lets something happen."""
    return FakeService(tmp_path / "held", held=True)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueService]:
    """The queue itself, over an App that draws plain colours."""
    database = Database("sqlite://")
    store = ArtifactStore(tmp_path / "artifacts", "1")
    ledger = Ledger(JobTable(database), store)
    app: Any = FakeApp(store, SavedInLedger(ledger))
    uploads = Uploads(database, UploadStore(tmp_path / "uploads"))
    service = QueueService(database, app, ledger, uploads)
    yield service
    app.let_go()
    service.close(0.5)


@pytest.fixture(params=["fake", "queue"])
def either(request: pytest.FixtureRequest) -> Any:
    """The fake and the queue itself: what holds for one holds for the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def api(fake: FakeService) -> TestClient:
    """A client over the fake."""
    return client_of(fake)


@pytest.fixture
def both(either: Any) -> TestClient:
    """A client over each of them."""
    return client_of(either)


@pytest.fixture
def client() -> Call:
    """client(service, host=..., keys=...): a client over it."""

    def build(service: Any, *, host: str = "127.0.0.1", **options: Any) -> TestClient:
        settings = Settings(serve=ServeSettings(host=host, **options.pop("serve", {})))
        return client_of(service, settings=settings, **options)

    return build


@pytest.fixture
def keys() -> KeyStore:
    return KeyStore(Database("sqlite://"))


@pytest.fixture
def png() -> Png:
    """png(colour, size=(64, 64), mode="RGB"): a file's content."""

    def build(
        colour: Any = "red", size: tuple[int, int] = (64, 64), mode: str = "RGB", kind: str = "PNG"
    ) -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size, colour).save(buffer, kind)
        return buffer.getvalue()

    return build
