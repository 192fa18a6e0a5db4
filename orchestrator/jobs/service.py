"""The Service over a table of jobs: `kizy serve`, and in memory `Kizy.local()`.

The only place that puts the queue together with what draws and what trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import queue as queues
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import RowMapping

from ...core import home
from ...core.errors import CODES, CancelledError, EngineError, InputError, UnknownNameError
from ...core.files import storage_errors
from ...core.job import EndEvent, ErrorInfo, Job, new_job_id
from ...core.plan import Plan
from ...core.request import GenerationRequest, TrainingRequest
from ...core.version import VERSION
from ..app import App
from ..backends.base import COMFYUI, EMBEDDED
from ..planning.pasted import planned
from ..planning.resolve import resolve, resolve_training
from ..service import (
    ArtifactFile,
    FamilyInfo,
    Figures,
    JobChange,
    JobPage,
    JobQuery,
    LoraInfo,
    ModelInfo,
    Numbered,
    QueueState,
    ServerInfo,
    StyleInfo,
    TemplateInfo,
    Upload,
    Wish,
)
from ..settings import Settings, load_settings
from ..storage.artifacts import ArtifactStore
from ..storage.uploads import UploadStore
from . import listings
from .database import Database
from .dispatcher import Dispatcher, Run
from .durations import Durations
from .hub import Heard
from .keys import database_of
from .lock import DispatcherLock
from .recorder import Ledger
from .retention import Retention
from .rows import TRAINING, Newness, newness
from .runs.drawing import DrawingRun, SavedInLedger, from_store, stored
from .runs.training import TrainingRun, Trains
from .schedule import Waiting
from .table import Full, JobTable, NewJob
from .upload_table import Uploads, lay_out

log = logging.getLogger(__name__)

COMFY_JOBS = 2
"""Jobs that each ComfyUI server gets at once: one is drawn, one waits behind it."""

MAX_TITLE = 300


@dataclass(frozen=True)
class Caller:
    """Who asks. `owner` None: whoever runs the server, who sees everybody's jobs.

    `files`: whether requests may name pictures and models by paths of this machine.
    """

    owner: str | None = None
    files: bool = False


class QueueService:
    """Accepts jobs, has them carried out, and tells of them. Implements Service.

    `work`: whether this process carries jobs out. Raises StorageError if the database cannot be
    used, InputError `server_runs_already` if another process works on the same file.
    """

    def __init__(
        self,
        database: Database,
        app: App,
        ledger: Ledger,
        uploads: Uploads,
        *,
        trainer: Callable[[], Trains] | None = None,
        caller: Caller = Caller(),
        work: bool = True,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._shared = _Shared(database, app, ledger, uploads, trainer, close)
        self._caller = caller
        self._shared.start(work=work)

    def seen_by(self, owner: str | None, *, files: bool = False) -> QueueService:
        """The same, as this owner may see and use it; None: as whoever runs the server may."""
        view = object.__new__(QueueService)
        view._shared, view._caller = self._shared, Caller(owner, files)
        return view

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        return self._planned(self._mine(request), raw=raw)

    def generate(self, request: GenerationRequest, wish: Wish = Wish()) -> Job:  # noqa: B008
        request = self._mine(request)
        self._shared.require_open()
        plan = self._planned(request, raw=wish.raw)
        values = {"request": request.model_dump(mode="json"), "raw": wish.raw, "fresh": wish.fresh}
        new = NewJob(
            id=new_job_id(),
            kind="generation",
            lane=plan.engine or EMBEDDED,
            owner=request.owner,
            priority=request.priority,
            title=request.prompt[:MAX_TITLE],
            request=request.model_dump_json(),
            asked=_hash(values),
            plan=plan,
            fresh=wish.fresh,
            idempotency_key=wish.idempotency_key,
            deadline=wish.deadline.timestamp() if wish.deadline else None,
            expected=self._shared.durations.expect(plan, plan.engine or EMBEDDED),
        )
        return self._shared.accept(new)

    def train(self, request: TrainingRequest, wish: Wish = Wish()) -> Job:  # noqa: B008
        if self._caller.owner is not None:
            request = request.model_copy(update={"owner": self._caller.owner})
        self._shared.require_open()
        request = resolve_training(request, files=self._caller.files)
        if not self._caller.files:
            for given in request.files:
                self._path(given)
        new = NewJob(
            id=new_job_id(),
            kind="training",
            lane=TRAINING,
            owner=request.owner,
            priority=0,
            title=request.name[:MAX_TITLE],
            request=request.model_dump_json(),
            asked=_hash({"request": request.model_dump(mode="json")}),
            idempotency_key=wish.idempotency_key,
            deadline=wish.deadline.timestamp() if wish.deadline else None,
        )
        return self._shared.accept(new)

    def job(self, job_id: str) -> Job:
        return self._shared.ledger.job(job_id, self._caller.owner)

    def jobs(self, query: JobQuery = JobQuery()) -> JobPage:  # noqa: B008
        if self._caller.owner is not None:
            owner = self._caller.owner
            query = JobQuery(query.states, query.kind, owner, query.limit, query.cursor)
        page = self._shared.ledger.table.page(query)
        seen = tuple(self._shared.ledger.seen(job) for job in page.jobs)
        return JobPage(jobs=seen, next=page.next)

    def follow(self, job_id: str, after: int | None = None) -> Iterator[Numbered]:
        heard: queues.SimpleQueue[Numbered] = queues.SimpleQueue()
        stop = self.watch(job_id, heard.put, after)
        return _heard(heard, stop)

    def watch(self, job_id: str, heard: Heard, after: int | None = None) -> Callable[[], None]:
        """As `follow`, by calls: the state at once, then what happens, from other threads.

        The answer ends it. Raises UnknownNameError `job_unknown`.
        """
        return self._shared.ledger.watch(job_id, heard, owner=self._caller.owner, after=after)

    def cancel(self, job_id: str) -> Job:
        job = self.job(job_id)
        if not job.over:
            self._shared.cancel(job_id)
        return self.job(job_id)

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        self._shared.require_open()
        job = self.job(job_id)
        if job.state not in ("failed", "cancelled"):
            message = f"Job {job_id} is {job.state}: only one that failed or was cancelled can."
            raise InputError("job_not_over", message)
        row = self._shared.ledger.table.row(job_id)
        if newness(row) is not Newness.OURS:
            message = f"This version of Kizy cannot read all that was asked for with job {job_id}."
            fix = "Update Kizy to try it again, or ask for the same anew."
            raise InputError("request_invalid", message, fix=fix)
        new = NewJob(
            id=new_job_id(),
            kind=row["kind"],
            lane=row["lane"],
            owner=job.owner,
            priority=job.priority,
            title=job.title,
            request=row["request"],
            asked=_hash({"retry_of": job_id}),
            plan=job.plan,
            fresh=row["fresh"],
            idempotency_key=idempotency_key,
            expected=row["expected"],
            retry_of=job_id,
            # A training goes on from what was saved of it.
            run=row["run"],
        )
        return self._shared.accept(new)

    def change(self, job_id: str, change: JobChange) -> Job:
        self.job(job_id)
        table, waits = self._shared.ledger.table, True
        values: dict[str, Any] = {}
        if change.priority is not None:
            values["priority"] = change.priority
        if change.paused is not None:
            values["paused"] = change.paused
        if change.before is not None:
            if change.before not in ("first", "last"):
                self.job(change.before)
            waits = table.place_before(job_id, change.before)
        if values:
            waits = table.change_waiting(job_id, **values) and waits
        if not waits:
            raise InputError("job_not_waiting", f"Job {job_id} does not wait any more.")
        self._shared.dispatcher.wake()
        self._shared.ledger.state(job_id)
        return self.job(job_id)

    def queue(self) -> QueueState:
        waiting, running = self._shared.dispatcher.counts()
        return QueueState(
            paused=self._shared.dispatcher.paused,
            waiting=waiting,
            running=running,
            limit=self._shared.settings.jobs.max_waiting,
        )

    def pause(self, paused: bool) -> QueueState:
        if self._caller.owner is not None:
            raise InputError("not_allowed", "Only whoever runs the server may pause its queue.")
        self._shared.dispatcher.pause(paused)
        return self.queue()

    def upload(self, name: str, data: IO[bytes]) -> Upload:
        limit = self._shared.settings.serve.upload_mb * 1_000_000
        folder = self._shared.uploads.store.folder
        with storage_errors(folder / "upload"):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".arriving-") as place:
                path = Path(place) / "upload"
                with path.open("wb") as file:
                    _copy(data, file, limit)
                return self.take_upload(path, name)

    def take_upload(self, path: Path, name: str) -> Upload:
        """A file that lies complete on this disk; it moves into the store.

        Raises PictureError, InputError `request_invalid`, StorageError.
        """
        return self._shared.uploads.take(path, name)

    def artifact(self, artifact_id: str) -> ArtifactFile:
        owner, ledger = self._caller.owner, self._shared.ledger
        if owner is not None and not ledger.finished.owned(artifact_id, owner):
            raise UnknownNameError("artifact_unknown", f"There is no file {artifact_id[:64]}.")
        file, path = ledger.path_of(artifact_id)
        rules = self._shared.settings.storage
        if rules.keep_days is not None or rules.keep_gb is not None:
            # What is fetched is in use; nobody asks for it where everything is kept.
            ledger.finished.used(artifact_id)
        return ArtifactFile(path, file.name, file.media_type, file.id)

    def models(self) -> tuple[ModelInfo, ...]:
        return listings.models(self._shared.app)

    def loras(self, query: str = "", family: str | None = None) -> tuple[LoraInfo, ...]:
        return listings.loras(self._shared.app, query, family)

    def styles(self) -> tuple[StyleInfo, ...]:
        return listings.styles(self._shared.app)

    def families(self) -> tuple[FamilyInfo, ...]:
        return listings.families(self._shared.app)

    def templates(self) -> tuple[TemplateInfo, ...]:
        return listings.templates(self._shared.app)

    def servers(self) -> tuple[ServerInfo, ...]:
        return listings.servers(self._shared.app)

    @property
    def stopping(self) -> bool:
        """Whether nothing new is accepted any more."""
        return self._shared.stopping

    def ready(self) -> str | None:
        """None if jobs can be accepted and carried out; else why not, in a sentence."""
        return self._shared.ready()

    def figures(self) -> Figures:
        """Numbers for whoever watches over the server."""
        waiting, running = self._shared.dispatcher.counts()
        jobs = self._shared.ledger.table.counts()
        return Figures(waiting, running, jobs, self._shared.ledger.seconds())

    def close(self, patience: float = 6.0) -> None:
        """Accept nothing more, wait `patience` seconds for what runs, park the rest."""
        self._shared.close(patience)

    def _mine(self, request: GenerationRequest) -> GenerationRequest:
        if self._caller.owner is None:
            return request
        return request.model_copy(update={"owner": self._caller.owner})

    def _planned(self, request: GenerationRequest, *, raw: bool) -> Plan:
        files = self._caller.files
        picture = self._path_or_id if files else lambda given: str(self._path(given))

        def plan(one: GenerationRequest) -> Plan:
            resolved = resolve(one, files=files, picture=picture)
            return resolved.told(self._shared.planned(resolved.request, raw=raw))

        try:
            # Before names are looked up: what a pasted block names is a hint.
            return planned(request, plan)
        except UnknownNameError as error:
            if files or error.code != "file_missing":
                raise
            # Where something should lie on this disk is told to nobody else.
            log.warning("%s", error.message)
            raise UnknownNameError("file_missing", CODES["file_missing"].meaning) from error

    def _path_or_id(self, given: str) -> str:
        with contextlib.suppress(UnknownNameError):
            return str(self._path(given))
        return given

    def _path(self, given: str) -> Path:
        return self._shared.uploads.path(given, self._artifact_path)

    def _artifact_path(self, artifact_id: str) -> Path | None:
        with contextlib.suppress(UnknownNameError):
            return self.artifact(artifact_id).path
        return None


class _Shared:
    """What all views of one service share."""

    def __init__(
        self,
        database: Database,
        app: App,
        ledger: Ledger,
        uploads: Uploads,
        trainer: Callable[[], Trains] | None,
        close: Callable[[], None],
    ) -> None:
        self.database, self.app, self.ledger, self.uploads = database, app, ledger, uploads
        self.settings = app.settings
        self.durations = Durations(database)
        self.stopping = False
        self._trainer = functools.cache(trainer) if trainer is not None else None
        self._close = close
        self._lock = DispatcherLock(database)
        self._retention = Retention(ledger, uploads.store, self.settings.storage)
        self.dispatcher = Dispatcher(ledger, self._lock, self._run, self._slots)
        ledger.view = self.dispatcher.seen

    def start(self, *, work: bool) -> None:
        if not work:
            return
        if not self._lock.shared and not self._lock.take():
            message = "Another Kizy server works on this database."
            raise InputError("server_runs_already", message)
        self._retention.start(alone=not self._lock.shared, due=lambda: self.dispatcher.dispatches)
        self.dispatcher.start()

    def require_open(self) -> None:
        if self.stopping:
            raise EngineError("server_stopping", "The server is being stopped.")

    def planned(self, request: GenerationRequest, *, raw: bool) -> Plan:
        return self.app.plan(request, raw=raw)

    def accept(self, new: NewJob) -> Job:
        """Write a job down; one whose pictures were drawn before ends at once."""
        plan = None if new.fresh else new.plan
        if plan is not None and stored(self.ledger, self.app, plan) is not None:
            new = dataclasses.replace(new, begun=True)
        try:
            job, place = self.ledger.table.accept(new, self.settings.jobs.max_waiting)
        except Full:
            raise self._full() from None
        if place is not None and new.begun and plan is not None:
            self._end_at_once(job, plan)
            return self.ledger.job(job.id)
        if place is not None:
            self.dispatcher.wake(
                Waiting(
                    id=job.id,
                    owner=job.owner,
                    lane=new.lane,
                    priority=job.priority,
                    place=place,
                    deadline=new.deadline,
                    expected=new.expected,
                )
            )
        return self.ledger.seen(job)

    def cancel(self, job_id: str) -> None:
        self.ledger.table.set(job_id, cancelled=True)
        if self.ledger.end(job_id, "cancelled", _CANCELLED, begun=False):
            self.dispatcher.wake()
            return
        self.dispatcher.stop(job_id)

    def ready(self) -> str | None:
        if self.stopping:
            return "The server is being stopped."
        try:
            self.ledger.table.last_event()
            self.ledger.store.check()
        except Exception as error:
            return str(error)
        return self.dispatcher.problem or self._retention.problem

    def close(self, patience: float) -> None:
        if self.stopping:
            return
        self.stopping = True
        with contextlib.ExitStack() as stack:
            # Each of them whatever becomes of those before it, in this order.
            for end in (self._close, self.database.close, self.app.close, self._retention.stop):
                stack.callback(end)
            self.dispatcher.close(patience)

    def _end_at_once(self, job: Job, plan: Plan) -> None:
        if from_store(self.ledger, self.app, job.id, plan):
            self.ledger.end(job.id, "succeeded")
            return
        # The files went in this very moment.
        self.ledger.table.park(job.id)
        self.dispatcher.wake()

    def _full(self) -> EngineError:
        limit = self.settings.jobs.max_waiting
        return EngineError("queue_full", f"{limit} jobs wait already, as many as may.")

    def _run(self, row: RowMapping) -> Run:
        attempts = self.settings.jobs.attempts
        if row["kind"] == "generation":
            return DrawingRun(row, self.ledger, self.app, self.durations, attempts)
        if self._trainer is None:
            raise EngineError("local_missing", "Nothing here can train.")
        return TrainingRun(row, self.ledger, self._trainer(), self._lay, attempts)

    def _lay(self, request: TrainingRequest, folder: Path) -> TrainingRequest:
        """Each id becomes its file; what is none stays a path, allowed when it came."""

        def find(given: str) -> Path:
            return self.uploads.path(given, self._file)

        return lay_out(request, folder, find, self.uploads.name_of)

    def _file(self, artifact_id: str) -> Path | None:
        with contextlib.suppress(UnknownNameError):
            return self.ledger.path_of(artifact_id)[1]
        return None

    def _slots(self, lane: str) -> int:
        if lane != COMFYUI:
            return 1
        return max(1, COMFY_JOBS * self.app.comfy.count)


_CANCELLED = ErrorInfo(
    **CancelledError("cancelled", "The job was cancelled before it began.").as_dict()
)


def open_service(settings: Settings, *, work: bool = True) -> QueueService:
    """What `kizy serve` serves: jobs in the database of the settings.

    Raises StorageError, EngineError `library_missing`, InputError `server_runs_already`.
    """
    database = database_of(settings)
    store = ArtifactStore(settings.storage.folder or home.home() / "artifacts", VERSION)
    uploads = UploadStore(settings.storage.uploads or home.home() / "uploads")
    return _composed(database, store, uploads, settings, work=work)


def local_service(settings: Settings | None = None, store: Path | None = None) -> QueueService:
    """The same in this process alone: jobs are forgotten with it, requests may name files.

    `store`: the folder for finished files, else one that goes with the service.
    """
    folder = Path(tempfile.mkdtemp(prefix="kizy-")) if store is None else store
    close = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    artifacts = ArtifactStore(folder / "artifacts" if store is None else folder, VERSION)
    return _composed(
        Database("sqlite://"),
        artifacts,
        UploadStore(folder / "uploads" if store is None else home.inputs_folder()),
        settings or load_settings(),
        caller=Caller(None, files=True),
        close=close if store is None else lambda: None,
    )


def _composed(
    database: Database,
    store: ArtifactStore,
    uploads: UploadStore,
    settings: Settings,
    *,
    caller: Caller = Caller(),
    work: bool = True,
    close: Callable[[], None] = lambda: None,
) -> QueueService:
    ledger = Ledger(JobTable(database), store)
    app = App(settings=settings, pictures=store, inputs=uploads.folder, saved=SavedInLedger(ledger))

    def trainer() -> Trains:
        from ..training.trainer import make_trainer

        return make_trainer(settings)

    return QueueService(
        database,
        app,
        ledger,
        Uploads(database, uploads),
        trainer=trainer,
        caller=caller,
        work=work,
        close=close,
    )


def _heard(heard: queues.SimpleQueue[Numbered], stop: Callable[[], None]) -> Iterator[Numbered]:
    try:
        while True:
            try:
                # With a limit, so that Ctrl-C is heard on every system.
                event = heard.get(timeout=0.5)
            except queues.Empty:
                continue
            yield event
            if isinstance(event.event, EndEvent):
                return
    finally:
        stop()


def _copy(data: IO[bytes], file: IO[bytes], limit: int) -> None:
    size = 0
    while block := data.read(1 << 20):
        size += len(block)
        if size > limit:
            message = f"The file has more than {limit // 1_000_000} MB."
            raise InputError("upload_too_large", message)
        file.write(block)


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
