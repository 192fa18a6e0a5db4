"""Two owners of one server, whose App plans as ever and draws plain colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kizy.core.job import Job
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
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
from starlette.testclient import TestClient

from tests.fakes.draws import FakeApp
from tests.unit.orchestrator.test_lora_choice import lora

WORD = "zebrafish"
"""What Ann's LoRA draws; Ben asks for it, too."""

FILE = "qxhidden_v1"
HIDDEN = (FILE, "marmalade", "rijksmuseum")
"""Words of Ann's LoRA, prompt and files that nobody else knows."""


class Drawing(App):
    """An App that plans by itself and has a fake draw."""

    def __init__(self, fake: FakeApp, **options: Any) -> None:
        super().__init__(**options)
        self._fake = fake
        self.start, self.follow, self.cancel = fake.start, fake.follow, fake.cancel  # type: ignore[method-assign]
        self.fingerprints = fake.fingerprints  # type: ignore[method-assign]


@dataclass
class House:
    """`path`: of the LoRA that Ann named. `job`: hers, which is done. `ben`: asks over REST."""

    service: QueueService
    path: Path
    job: Job
    ben: TestClient
    ann: TestClient

    def tells(self, text: str) -> bool:
        """Whether an answer tells of anything that is Ann's."""
        files = (one.id for one in self.job.artifacts)
        known = (*HIDDEN, str(self.path.parent), self.job.id, *files)
        return any(one.casefold() in text.casefold() for one in known)


@pytest.fixture
def house(tmp_path: Path, kizy_home: Path) -> Iterator[House]:
    """Ann has drawn with a LoRA that she named by its path; Ben has a key and nothing else."""
    database, store = Database("sqlite://"), ArtifactStore(tmp_path / "artifacts", "1")
    ledger, settings = Ledger(JobTable(database), store), Settings(engine="embedded")
    saved = SavedInLedger(ledger)
    uploads = UploadStore(tmp_path / "uploads")
    fake = FakeApp(store, saved)
    app = Drawing(fake, settings=settings, pictures=store, inputs=uploads.folder, saved=saved)
    service = QueueService(database, app, ledger, Uploads(database, uploads))
    keys = KeyStore(database)
    lora(kizy_home / "loras", "crayon", **{"modelspec.title": "Crayon"})
    path = lora(
        tmp_path / "private",
        FILE,
        **{
            "modelspec.title": f"Marmalade {WORD}",
            "modelspec.description": f"The {WORD} of the Rijksmuseum.",
            "modelspec.trigger_phrase": WORD,
        },
    )
    ann = service.seen_by("ann", files=True)
    request = GenerationRequest.model_validate(
        {"prompt": f"a {WORD} on marmalade", "loras": [{"name": str(path)}], "count": 2}
    )
    job = ann.generate(request)
    for _ in ann.follow(job.id):
        pass
    api = make_api(service, Settings(serve=ServeSettings(host="0.0.0.0")), keys)

    def client(owner: str) -> TestClient:
        headers = {"Authorization": f"Bearer {keys.add(owner)[1]}"}
        return TestClient(api, base_url="http://kizy", headers=headers)

    yield House(service, path, ann.job(job.id), client("ben"), client("ann"))
    service.close(0.5)
