"""Whoever speaks to a Service may change it for another: near or far, all behave alike."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from kizy.core.errors import EngineError, KizyError
from kizy.core.job import EndEvent, Job, StateEvent, now
from kizy.core.picture_files import read_plan
from kizy.core.request import GenerationRequest, TrainingRequest
from kizy.orchestrator.jobs.database import Database
from kizy.orchestrator.jobs.recorder import Ledger
from kizy.orchestrator.jobs.runs.drawing import SavedInLedger
from kizy.orchestrator.jobs.service import Caller, QueueService
from kizy.orchestrator.jobs.table import JobTable
from kizy.orchestrator.jobs.upload_table import Uploads
from kizy.orchestrator.sdk.remote.service import RemoteService
from kizy.orchestrator.sdk.remote.timeouts import Timing
from kizy.orchestrator.service import JobChange, JobQuery, Service, Wish
from kizy.orchestrator.storage.artifacts import ArtifactStore
from kizy.orchestrator.storage.uploads import UploadStore
from PIL import Image

from tests.fakes.draws import FakeApp
from tests.fakes.kizy_server import KizyServer
from tests.fakes.service import FakeService

UNKNOWN = "5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11"


class Bench(Protocol):
    """A service whose queue is held, until a test lets it go."""

    service: Service

    def go(self) -> None:
        """Carry out what waits."""
        ...

    def fail(self, job: Job, error: KizyError) -> None:
        """Carry a job out, and let it fail."""
        ...

    def close(self) -> None: ...


class FakeBench:
    def __init__(self, folder: Path) -> None:
        self.service: Service = FakeService(folder / "fake", held=True, files=True)
        self._fake = self.service

    def go(self) -> None:
        for job in reversed(self._fake.jobs(JobQuery(("queued",))).jobs):
            self._fake.begin(job.id)  # type: ignore[attr-defined]
            self._fake.finish(job.id)  # type: ignore[attr-defined]

    def fail(self, job: Job, error: KizyError) -> None:
        self._fake.begin(job.id)  # type: ignore[attr-defined]
        self._fake.fail(job.id, error)  # type: ignore[attr-defined]

    def close(self) -> None:
        self._fake.close()


class QueueBench:
    def __init__(self, folder: Path) -> None:
        database = Database("sqlite://")
        store = ArtifactStore(folder / "artifacts", "1")
        ledger = Ledger(JobTable(database), store)
        self._app = FakeApp(store, SavedInLedger(ledger))
        uploads = Uploads(database, UploadStore(folder / "uploads"))
        caller = Caller(None, files=True)
        app: Any = self._app
        self.service: Service = QueueService(database, app, ledger, uploads, caller=caller)
        self._queue = self.service
        self._queue.pause(True)

    def go(self) -> None:
        self._queue.pause(False)

    def fail(self, job: Job, error: KizyError) -> None:
        self._app.fails[job.title].append(error)
        self.go()

    def close(self) -> None:
        self._app.let_go()
        self._queue.close()


class FarBench:
    """Another one, over HTTP."""

    def __init__(self, near: FakeBench | QueueBench) -> None:
        self._near = near
        self._server = KizyServer(near.service.seen_by(None))  # type: ignore[attr-defined]
        self._server.start()
        self.service: Service = RemoteService(self._server.url, timing=Timing(pause=0.01))
        self.go, self.fail = near.go, near.fail

    def close(self) -> None:
        self.service.close()
        self._server.stop()
        self._near.close()


BENCHES: dict[str, Callable[[Path], Bench]] = {
    "fake": FakeBench,
    "queue": QueueBench,
    "fake far away": lambda folder: FarBench(FakeBench(folder)),
    "queue far away": lambda folder: FarBench(QueueBench(folder)),
}


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = BENCHES[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def service(bench: Bench) -> Service:
    return bench.service


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "start.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def wish(prompt: str = "a red fox", **values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": prompt, "seed": 1, **values})


def ended(service: Service, job: Job) -> Job:
    """The job at its end, waited for by following it."""
    last = None
    for numbered in service.follow(job.id):
        last = numbered.event
    assert isinstance(last, EndEvent)
    return service.job(job.id)


def assert_refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(KizyError) as refused:
        call()
    assert refused.value.code == code
    assert refused.value.message and refused.value.fix


class TestDrawings:
    def test_a_plan_is_told_and_nothing_is_drawn(self, service: Service) -> None:
        plan = service.plan(wish(count=2))
        assert (plan.request_prompt, plan.count, plan.seed) == ("a red fox", 2, 1)
        assert service.jobs().jobs == ()

    def test_a_drawing_waits_and_then_ends_with_its_pictures(
        self, bench: Bench, service: Service
    ) -> None:
        job = service.generate(wish(count=3))
        assert (job.state, job.kind, job.title, job.place) == (
            "queued",
            "generation",
            "a red fox",
            1,
        )
        bench.go()
        job = ended(service, job)
        assert (job.state, job.progress, job.error) == ("succeeded", 1.0, None)
        assert [(one.index, one.seed) for one in job.artifacts] == [(0, 1), (1, 2), (2, 3)]
        assert job.started is not None and job.ended is not None

    def test_a_picture_is_what_its_id_says_and_holds_its_plan(
        self, bench: Bench, service: Service
    ) -> None:
        job = service.generate(wish())
        bench.go()
        (artifact,) = ended(service, job).artifacts
        file = service.artifact(artifact.id)
        content = file.path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.id == file.etag
        assert len(content) == artifact.bytes
        assert file.media_type == artifact.media_type == "image/png"
        assert read_plan(file.path).seed == artifact.seed == 1

    def test_the_same_plan_again_is_taken_from_the_store(
        self, bench: Bench, service: Service
    ) -> None:
        first = service.generate(wish())
        bench.go()
        first = ended(service, first)
        again = ended(service, service.generate(wish()))
        assert again.from_store and not first.from_store
        assert again.id != first.id
        assert [one.id for one in again.artifacts] == [one.id for one in first.artifacts]

    def test_fresh_draws_anew(self, bench: Bench, service: Service) -> None:
        first = service.generate(wish())
        bench.go()
        ended(service, first)
        again = service.generate(wish(), Wish(fresh=True))
        bench.go()
        assert not ended(service, again).from_store

    def test_a_failure_is_told_as_it_happened(self, bench: Bench, service: Service) -> None:
        job = service.generate(wish())
        bench.fail(job, EngineError("out_of_memory", "There is too little memory."))
        last = [numbered.event for numbered in service.follow(job.id)][-1]
        assert isinstance(last, EndEvent) and last.state == "failed"
        failed = service.job(job.id)
        assert failed.error == last.error
        assert failed.error is not None
        assert (failed.error.code, failed.state) == ("out_of_memory", "failed")
        assert failed.error.message == "There is too little memory."


class TestKeysOfIdempotency:
    def test_the_same_key_gives_the_same_job(self, service: Service) -> None:
        first = service.generate(wish(), Wish(idempotency_key="a"))
        assert service.generate(wish(), Wish(idempotency_key="a")).id == first.id
        assert len(service.jobs().jobs) == 1

    def test_the_same_key_with_another_request_is_refused(self, service: Service) -> None:
        service.generate(wish(), Wish(idempotency_key="a"))
        other = wish("a blue cat")
        call = lambda: service.generate(other, Wish(idempotency_key="a"))  # noqa: E731
        assert_refused("idempotency_conflict", call)

    def test_without_a_key_the_same_request_is_another_job(self, service: Service) -> None:
        assert service.generate(wish()).id != service.generate(wish()).id


class TestFollowing:
    def test_the_state_comes_first_and_the_end_last(self, bench: Bench, service: Service) -> None:
        job = service.generate(wish(count=2))
        following = service.follow(job.id)
        first = next(following).event
        assert isinstance(first, StateEvent) and first.job.state == "queued"
        bench.go()
        rest = [numbered.event for numbered in following]
        assert isinstance(rest[-1], EndEvent)
        files = [event.artifact.index for event in rest if event.kind == "artifact"]
        assert files == [0, 1]

    def test_one_that_is_over_tells_its_state_and_end(self, bench: Bench, service: Service) -> None:
        job = service.generate(wish())
        bench.go()
        ended(service, job)
        found = [numbered.event for numbered in service.follow(job.id)]
        assert [event.kind for event in found] == ["state", "end"]
        assert isinstance(found[0], StateEvent) and found[0].job.artifacts

    def test_what_came_since_can_be_asked_for(self, bench: Bench, service: Service) -> None:
        job = service.generate(wish(count=2))
        bench.go()
        ended(service, job)
        told = list(service.follow(job.id, after=0))
        files = [numbered for numbered in told if numbered.event.kind == "artifact"]
        numbers = [numbered.id for numbered in told if numbered.id is not None]
        assert len(files) == 2
        assert numbers == sorted(numbers)
        rest = [one.event.kind for one in service.follow(job.id, after=files[0].id)]
        assert rest.count("artifact") == 1 and rest[-1] == "end"


class TestJobs:
    def test_they_are_listed_newest_first_page_by_page(self, service: Service) -> None:
        ids = [service.generate(wish(f"fox {number}")).id for number in range(5)]
        query, found = JobQuery(limit=2), []
        while True:
            page = service.jobs(query)
            assert len(page.jobs) <= 2
            found += [job.id for job in page.jobs]
            if page.next is None:
                break
            query = JobQuery(limit=2, cursor=page.next)
        assert found == ids[::-1]

    def test_they_are_listed_by_state_and_kind(self, service: Service) -> None:
        waits, stopped = service.generate(wish()), service.generate(wish("a cat"))
        service.cancel(stopped.id)

        def ids(*states: Any, kind: Any = None) -> list[str]:
            return [job.id for job in service.jobs(JobQuery(states, kind)).jobs]

        assert ids("queued", "running") == [waits.id]
        assert ids("cancelled") == [stopped.id]
        assert ids() == ids(kind="generation") == [stopped.id, waits.id]
        assert ids(kind="training") == []

    def test_one_that_waits_is_cancelled_at_once(self, service: Service) -> None:
        job = service.cancel(service.generate(wish()).id)
        assert job.state == "cancelled"
        assert ended(service, job).error is not None

    def test_one_that_is_over_stays_as_it_is(self, bench: Bench, service: Service) -> None:
        job = service.generate(wish())
        bench.go()
        ended(service, job)
        assert service.cancel(job.id).state == "succeeded"

    def test_one_that_was_cancelled_can_be_tried_again(
        self, bench: Bench, service: Service
    ) -> None:
        job = service.cancel(service.generate(wish()).id)
        again = service.retry(job.id)
        assert (again.state, again.retry_of, again.plan) == ("queued", job.id, job.plan)
        bench.go()
        assert ended(service, again).state == "succeeded"

    def test_the_same_key_tries_it_again_once(self, bench: Bench, service: Service) -> None:
        job = service.cancel(service.generate(wish()).id)
        first = service.retry(job.id, "once more")
        assert service.retry(job.id, "once more").id == first.id
        assert service.retry(job.id, "and once more").id != first.id

    def test_a_key_that_tried_another_job_again_is_refused(
        self, bench: Bench, service: Service
    ) -> None:
        one, other = (service.cancel(service.generate(wish(seed=seed)).id) for seed in (1, 2))
        service.retry(one.id, "mine")
        assert_refused("idempotency_conflict", lambda: service.retry(other.id, "mine"))

    def test_one_that_waits_cannot_be_tried_again(self, service: Service) -> None:
        job = service.generate(wish())
        assert_refused("job_not_over", lambda: service.retry(job.id))

    def test_one_that_is_not_known_is_said(self, service: Service) -> None:
        calls: list[Callable[[], object]] = [
            lambda: service.job(UNKNOWN),
            lambda: service.cancel(UNKNOWN),
            lambda: service.retry(UNKNOWN),
            lambda: service.change(UNKNOWN, JobChange(priority=1)),
            lambda: list(service.follow(UNKNOWN)),
        ]
        for call in calls:
            assert_refused("job_unknown", call)

    def test_a_file_that_is_not_known_is_said(self, service: Service) -> None:
        assert_refused("artifact_unknown", lambda: service.artifact("f" * 64))


class TestQueue:
    def test_priority_and_pause_of_a_job_that_waits_are_changed(self, service: Service) -> None:
        job = service.generate(wish())
        assert service.change(job.id, JobChange(priority=7)).priority == 7
        assert service.change(job.id, JobChange(paused=True)).paused
        changed = service.change(job.id, JobChange(paused=False))
        assert (changed.paused, changed.priority) == (False, 7)

    def test_a_job_that_began_cannot_be_changed(self, bench: Bench, service: Service) -> None:
        job = service.generate(wish())
        bench.go()
        ended(service, job)
        change = JobChange(priority=7)
        assert_refused("job_not_waiting", lambda: service.change(job.id, change))

    def test_a_job_can_be_the_next(self, service: Service) -> None:
        service.generate(wish("fox 1"))
        last = service.generate(wish("fox 2"))
        assert last.place == 2
        assert service.change(last.id, JobChange(before="first")).place == 1

    def test_who_waits_is_counted(self, service: Service) -> None:
        service.generate(wish("fox 1"))
        service.generate(wish("fox 2"))
        queue = service.queue()
        assert (queue.waiting, queue.running) == (2, 0)
        assert queue.limit >= 2

    def test_it_can_be_paused(self, service: Service) -> None:
        assert service.pause(True).paused and service.queue().paused
        assert not service.pause(False).paused


class TestFiles:
    def test_a_picture_is_handed_over_and_named_by_its_content(
        self, service: Service, picture: Path
    ) -> None:
        content = picture.read_bytes()
        upload = service.upload("start.png", io.BytesIO(content))
        assert upload.id == hashlib.sha256(content).hexdigest()
        assert (upload.width, upload.height, upload.bytes) == (40, 30, len(content))
        assert upload.media_type == "image/png"

    def test_a_request_names_it_by_its_id(self, service: Service, picture: Path) -> None:
        with picture.open("rb") as data:
            upload = service.upload("start.png", data)
        assert service.generate(wish(start={"picture": upload.id})).state == "queued"

    def test_a_request_names_it_by_a_path_of_this_machine(
        self, service: Service, picture: Path
    ) -> None:
        job = service.generate(wish(start={"picture": str(picture)}))
        assert job.state == "queued"

    def test_an_id_that_was_not_handed_over_is_said(self, service: Service) -> None:
        far = wish(start={"picture": "f" * 64})
        if isinstance(service, QueueService):
            pytest.skip("in this process what is no upload may be a file's name")
        assert_refused("upload_unknown", lambda: service.generate(far))

    def test_what_is_no_picture_is_refused(self, service: Service) -> None:
        data = io.BytesIO(b"these are words")
        assert_refused("picture_unreadable", lambda: service.upload("start.png", data))

    def test_a_training_is_accepted_with_files_of_this_machine(
        self, service: Service, picture: Path
    ) -> None:
        request = TrainingRequest(files=(str(picture),), name="Mimi", about="a cat")
        job = service.train(request, Wish(deadline=now() + timedelta(hours=1)))
        assert (job.kind, job.state, job.title) == ("training", "queued", "Mimi")
        assert isinstance(job.request, TrainingRequest)
        assert (job.request.about, len(job.request.files)) == ("a cat", 1)
        assert job.deadline is not None


@pytest.mark.parametrize("name", ["fake", "fake far away"])
def test_what_there_is_is_told(name: str, tmp_path: Path) -> None:
    bench = BENCHES[name](tmp_path)
    service = bench.service
    assert [model.name for model in service.models()] == ["starter", "painter-xl"]
    assert [lora.name for lora in service.loras()] == ["ink", "mimi"]
    assert [(lora.name, lora.score) for lora in service.loras("cat")] == [("mimi", 0.9)]
    assert [lora.name for lora in service.loras(family="sdxl")] == ["ink"]
    assert_refused("family_unknown", lambda: service.loras(family="nothing"))
    assert [style.id for style in service.styles()] == ["cartoon"]
    assert [family.id for family in service.families()] == ["starter", "sdxl"]
    assert [template.id for template in service.templates()] == ["sdxl-text"]
    assert [(server.name, server.kind) for server in service.servers()] == [
        ("here", "embedded"),
        ("gpu1", "comfyui"),
    ]
    bench.close()
