"""Stands in for `kizy.orchestrator.jobs.service.QueueService`: all in memory, nothing drawn.

What is accepted ends at once with plain pictures, unless the queue is held: then a test says what
happens to each job. `raises` makes a method fail.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from kizy.core.errors import (
    EngineError,
    InputError,
    KizyError,
    PictureError,
    UnknownNameError,
)
from kizy.core.job import (
    EndEvent,
    ErrorInfo,
    Job,
    JobArtifact,
    JobArtifactEvent,
    JobEvent,
    Notice,
    NoticeEvent,
    PreviewEvent,
    ProgressEvent,
    StateEvent,
    now,
)
from kizy.core.picture_files import open_picture, png_bytes
from kizy.core.plan import Plan
from kizy.core.request import GenerationRequest, TrainingRequest
from kizy.orchestrator.service import (
    MAX_PAGE,
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
from PIL import Image

from .service_plans import (
    FAMILIES,
    LORAS,
    MODELS,
    SERVERS,
    SIDE,
    STYLES,
    TEMPLATES,
    colour,
    picture,
    picture_kind,
    planned,
)

Heard = Callable[[Numbered], None]
Thing = TypeVar("Thing")


@dataclass
class _Followed:
    """One job, all that is of use later about it, and who listens."""

    job: Job
    wish: Wish
    asked: str = ""
    events: list[Numbered] = field(default_factory=list)
    listeners: list[Heard] = field(default_factory=list)


class _Table:
    """What all views of one service share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.jobs: dict[str, _Followed] = {}
        self.files: dict[str, ArtifactFile] = {}
        self.owners_of: dict[str, set[str]] = {}
        self.gone: set[str] = set()
        self.uploads: dict[str, tuple[Upload, Path]] = {}
        self.drawn: dict[str, tuple[JobArtifact, ...]] = {}
        self.raises: dict[str, KizyError] = {}
        self.paused = self.held = self.stopping = self.closed = False
        self.not_ready: str | None = None
        self.limit = 1000
        self.number = 0
        self.ended: Counter[tuple[str, str]] = Counter()


class FakeService:
    """A Service with what `kizy serve` needs besides: `seen_by`, `watch`, `take_upload`, ...

    `folder`: where its files go. `held`: jobs stay queued until a test calls `begin`, `advance`,
    `preview`, `note` and `finish` or `fail`. `raises["plan"] = error`: that method fails from now
    on. `limit`: of waiting jobs. `files`: requests may name pictures by their paths.
    """

    def __init__(
        self,
        folder: Path,
        *,
        held: bool = False,
        limit: int = 1000,
        files: bool = False,
        owner: str | None = None,
        table: _Table | None = None,
    ) -> None:
        self._owner, self._files = owner, files
        if table is None:
            folder.mkdir(parents=True, exist_ok=True)
            table = _Table(folder)
            table.held, table.limit = held, limit
        self._table = table

    # The Service.

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        self._maybe_raise("plan")
        return planned(request, self._find_file)

    def generate(self, request: GenerationRequest, wish: Wish = Wish()) -> Job:  # noqa: B008
        self._maybe_raise("generate")
        request = self._owned(request)
        plan = planned(request, self._find_file)
        job = Job(
            request=request,
            plan=plan,
            owner=request.owner,
            priority=request.priority,
            title=request.prompt,
            deadline=wish.deadline,
        )
        return self._accept(job, wish)

    def train(self, request: TrainingRequest, wish: Wish = Wish()) -> Job:  # noqa: B008
        self._maybe_raise("train")
        request = self._owned(request)
        for name in request.files:
            self._find_file(name.partition("/")[0] if not self._files else name)
        job = Job(
            kind="training",
            request=request,
            owner=request.owner,
            title=request.name,
            training={"engine": "builtin", "steps": 10},
            deadline=wish.deadline,
        )
        return self._accept(job, wish)

    def job(self, job_id: str) -> Job:
        self._maybe_raise("job")
        with self._table.lock:
            return self._shown(self._find(job_id).job)

    def jobs(self, query: JobQuery = JobQuery()) -> JobPage:  # noqa: B008
        self._maybe_raise("jobs")
        if not 1 <= query.limit <= MAX_PAGE:
            raise InputError("request_invalid", f"limit is from 1 to {MAX_PAGE}.")
        with self._table.lock:
            mine = [x.job for x in self._table.jobs.values() if self._mine(x.job.owner)]
        begin = 0
        if query.cursor is not None:
            if not re.fullmatch("[0-9]{1,9}", query.cursor):
                raise InputError("request_invalid", "The cursor is none of a page before.")
            begin = int(query.cursor)
        found = [
            job
            for job in reversed(mine)
            if (not query.states or job.state in query.states)
            and query.kind in (None, job.kind)
            and query.owner in (None, job.owner)
        ]
        page = found[begin : begin + query.limit]
        after = begin + len(page)
        more = str(after) if after < len(found) else None
        return JobPage(jobs=tuple(self._shown(job) for job in page), next=more)

    def follow(self, job_id: str, after: int | None = None) -> Iterator[Numbered]:
        self._maybe_raise("follow")
        heard: queue.SimpleQueue[Numbered] = queue.SimpleQueue()
        leave = self.watch(job_id, heard.put, after)
        try:
            while True:
                numbered = heard.get(timeout=20.0)
                yield numbered
                if isinstance(numbered.event, EndEvent):
                    return
        finally:
            leave()

    def cancel(self, job_id: str) -> Job:
        self._maybe_raise("cancel")
        with self._table.lock:
            followed = self._find(job_id)
            if not followed.job.over:
                self._end(followed, "cancelled", _info("cancelled", "The job was cancelled."))
            return self._shown(followed.job)

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        self._maybe_raise("retry")
        with self._table.lock:
            old = self._find(job_id)
        if old.job.state not in ("failed", "cancelled"):
            raise InputError("job_not_over", "The job did not fail, nor was it cancelled.")
        again = Job(
            kind=old.job.kind,
            request=old.job.request,
            plan=old.job.plan,
            training=old.job.training,
            owner=old.job.owner,
            priority=old.job.priority,
            title=old.job.title,
            retry_of=old.job.id,
        )
        return self._accept(again, Wish(raw=old.wish.raw, idempotency_key=idempotency_key))

    def change(self, job_id: str, change: JobChange) -> Job:
        self._maybe_raise("change")
        with self._table.lock:
            followed = self._find(job_id)
            if followed.job.state != "queued":
                raise InputError("job_not_waiting", "The job does not wait any more.")
            new: dict[str, Any] = change.model_dump(exclude={"before"}, exclude_none=True)
            if change.before not in (None, "first", "last"):
                self._find(change.before)
            if change.before is not None:
                ids = [known for known in self._table.jobs if known != job_id]
                at = {"first": 0, "last": len(ids)}.get(change.before)
                ids.insert(ids.index(change.before) if at is None else at, job_id)
                self._table.jobs = {known: self._table.jobs[known] for known in ids}
            self._update(followed, **new)
            return self._shown(followed.job)

    def queue(self) -> QueueState:
        self._maybe_raise("queue")
        with self._table.lock:
            states = Counter(x.job.state for x in self._table.jobs.values())
            return QueueState(
                paused=self._table.paused,
                waiting=states["queued"],
                running=states["running"],
                limit=self._table.limit,
            )

    def pause(self, paused: bool) -> QueueState:
        self._maybe_raise("pause")
        self._table.paused = paused
        return self.queue()

    def upload(self, name: str, data: IO[bytes]) -> Upload:
        self._maybe_raise("upload")
        content = data.read()
        path = self._table.folder / f"{hashlib.sha256(content).hexdigest()}.arriving"
        path.write_bytes(content)
        return self.take_upload(path, name)

    def artifact(self, artifact_id: str) -> ArtifactFile:
        self._maybe_raise("artifact")
        with self._table.lock:
            owners = self._table.owners_of.get(artifact_id, set())
            if artifact_id not in self._table.files or not any(map(self._mine, owners)):
                raise UnknownNameError("artifact_unknown", f"There is no file {artifact_id}.")
            if artifact_id in self._table.gone:
                raise UnknownNameError("artifact_gone", "The file was removed.")
            return self._table.files[artifact_id]

    def models(self) -> tuple[ModelInfo, ...]:
        self._maybe_raise("models")
        return MODELS

    def loras(self, query: str = "", family: str | None = None) -> tuple[LoraInfo, ...]:
        self._maybe_raise("loras")
        if family not in (None, "sdxl", "starter"):
            raise UnknownNameError("family_unknown", f'No family is called "{family}".')
        found = [lora for lora in LORAS if family in (None, lora.family)]
        words = query.casefold().split()
        if words:
            found = [x for x in found if any(w in f"{x.name} {x.about}".casefold() for w in words)]
            found = [lora.model_copy(update={"score": 0.9}) for lora in found]
        return tuple(found)

    def styles(self) -> tuple[StyleInfo, ...]:
        self._maybe_raise("styles")
        return STYLES

    def families(self) -> tuple[FamilyInfo, ...]:
        self._maybe_raise("families")
        return FAMILIES

    def templates(self) -> tuple[TemplateInfo, ...]:
        self._maybe_raise("templates")
        return TEMPLATES

    def servers(self) -> tuple[ServerInfo, ...]:
        self._maybe_raise("servers")
        return SERVERS

    def close(self, patience: float = 8.0) -> None:
        self._table.stopping = self._table.closed = True

    # What `kizy serve` needs besides.

    def seen_by(self, owner: str | None, *, files: bool = False) -> FakeService:
        return FakeService(self._table.folder, owner=owner, files=files, table=self._table)

    def watch(self, job_id: str, heard: Heard, after: int | None = None) -> Callable[[], None]:
        self._maybe_raise("watch")
        with self._table.lock:
            followed = self._find(job_id)
            heard(Numbered(None, StateEvent(job=self._shown(followed.job))))
            since = [x for x in followed.events if after is not None and (x.id or 0) > after]
            if followed.job.over and not any(isinstance(x.event, EndEvent) for x in since):
                since = [*since, followed.events[-1]]
            for numbered in since:
                heard(numbered)
            followed.listeners.append(heard)

        def leave() -> None:
            with self._table.lock:
                if heard in followed.listeners:
                    followed.listeners.remove(heard)

        return leave

    def take_upload(self, path: Path, name: str) -> Upload:
        """`path` moves into the store."""
        self._maybe_raise("take_upload")
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        width = height = None
        try:
            with open_picture(path) as opened:
                width, height = opened.size
            kind = f"image/{picture_kind(content)}"
        except PictureError:
            if content[:4] != b"PK\x03\x04":
                path.unlink()
                raise
            kind = "application/zip"
        kept = path.replace(self._table.folder / f"{digest}.upload")
        upload = Upload(
            id=digest,
            name=name,
            media_type=kind,
            bytes=len(content),
            width=width,
            height=height,
        )
        self._table.uploads[digest] = (upload, kept)
        return upload

    @property
    def stopping(self) -> bool:
        return self._table.stopping

    def ready(self) -> str | None:
        return self._table.not_ready

    def figures(self) -> Figures:
        state = self.queue()
        jobs = Counter((x.job.kind, x.job.state) for x in self._table.jobs.values())
        return Figures(state.waiting, state.running, dict(jobs), {"generation": 1.5})

    # For tests.

    @property
    def raises(self) -> dict[str, KizyError]:
        """Method -> what it raises from now on."""
        return self._table.raises

    @property
    def followers(self) -> int:
        """How many listen to any job."""
        return sum(len(x.listeners) for x in self._table.jobs.values())

    @property
    def closed(self) -> bool:
        return self._table.closed

    def wish_of(self, job_id: str) -> Wish:
        return self._table.jobs[job_id].wish

    def be_not_ready(self, why: str | None) -> None:
        self._table.not_ready = why

    def lose(self, artifact_id: str) -> None:
        """The rules of how long files are kept remove it."""
        self._table.gone.add(artifact_id)

    def begin(self, job_id: str) -> None:
        with self._table.lock:
            followed = self._table.jobs[job_id]
            attempts = followed.job.attempts + 1
            self._update(followed, state="running", started=now(), attempts=attempts)

    def advance(self, job_id: str, fraction: float, doing: str = "drawing") -> None:
        with self._table.lock:
            followed = self._table.jobs[job_id]
            followed.job = followed.job.model_copy(update={"progress": fraction, "doing": doing})
            event = ProgressEvent(job_id=job_id, fraction=fraction, doing=doing, left=1.0)
            self._tell(followed, event, keep=False)

    def preview(self, job_id: str, index: int = 0, png: bytes | None = None) -> None:
        with self._table.lock:
            data = png if png is not None else picture(SIDE // 8, SIDE // 8, index)
            event = PreviewEvent(job_id=job_id, index=index, png=data)
            self._tell(self._table.jobs[job_id], event, keep=False)

    def note(self, job_id: str, code: str, text: str) -> None:
        with self._table.lock:
            followed = self._table.jobs[job_id]
            notices = (*followed.job.notices, Notice(code=code, text=text))
            followed.job = followed.job.model_copy(update={"notices": notices})
            self._tell(followed, NoticeEvent(job_id=job_id, code=code, text=text))

    def finish(self, job_id: str) -> None:
        """It succeeds with its files."""
        with self._table.lock:
            followed = self._table.jobs[job_id]
            for artifact in self._work(followed.job):
                self._give(followed, artifact)
            self._end(followed, "succeeded")

    def fail(self, job_id: str, error: KizyError | None = None) -> None:
        error = error or EngineError("drawing_failed", "The engine stopped.")
        with self._table.lock:
            info = ErrorInfo(code=error.code, message=error.message, fix=error.fix)
            self._end(self._table.jobs[job_id], "failed", info)

    # Within.

    def _maybe_raise(self, method: str) -> None:
        if method in self._table.raises:
            raise self._table.raises[method]

    def _mine(self, owner: str) -> bool:
        return self._owner in (None, owner)

    def _owned(self, request: Thing) -> Thing:
        if self._owner is None:
            return request
        asked: Any = request
        return asked.model_copy(update={"owner": self._owner})

    def _find(self, job_id: str) -> _Followed:
        followed = self._table.jobs.get(job_id)
        if followed is None or not self._mine(followed.job.owner):
            raise UnknownNameError("job_unknown", f"There is no job {job_id}.")
        return followed

    def _find_file(self, name: str) -> Path:
        """A picture or file that a request names."""
        if name in self._table.uploads:
            return self._table.uploads[name][1]
        if name in self._table.files and any(map(self._mine, self._table.owners_of[name])):
            return self._table.files[name].path
        if self._files and Path(name).is_file():
            return Path(name)
        raise UnknownNameError("upload_unknown", f"No file {name[:80]} was handed over.")

    def _accept(self, job: Job, wish: Wish) -> Job:
        table = self._table
        with table.lock:
            if table.stopping:
                raise EngineError("server_stopping", "The server is being stopped.")
            asked = f"{job.retry_of} {job.request.model_dump_json()}"
            for known in table.jobs.values():
                key = wish.idempotency_key
                if key is not None and (known.wish.idempotency_key, known.job.owner) == (
                    key,
                    job.owner,
                ):
                    if known.asked != asked:
                        message = f'The key "{key[:80]}" was used with another request.'
                        raise InputError("idempotency_conflict", message)
                    return self._shown(known.job)
            if sum(x.job.state == "queued" for x in table.jobs.values()) >= table.limit:
                raise EngineError("queue_full", f"{table.limit} jobs wait already.")
            followed = _Followed(job, wish, asked)
            table.jobs[job.id] = followed
            accepted = self._shown(job)
            old = table.drawn.get(job.plan.digest()) if job.plan is not None else None
            if old is not None and not wish.fresh:
                self._update(followed, from_store=True)
                for artifact in old:
                    self._give(followed, artifact)
                self._end(followed, "succeeded")
                return self._shown(followed.job)
            if not table.held:
                self.begin(job.id)
                self.finish(job.id)
            return accepted

    def _work(self, job: Job) -> tuple[JobArtifact, ...]:
        if job.plan is None:
            return (
                self._store(job, "lora", 0, b"\x02\0\0\0\0\0\0\0{}" + job.id.encode()),
                self._store(job, "sample", 0, picture(SIDE, SIDE, 1)),
            )
        made = []
        for index in range(job.plan.count):
            plan = job.plan.for_picture(index)
            drawn = Image.new("RGB", (plan.width, plan.height), colour(plan.seed))
            data = png_bytes(drawn, plan, "0")
            made.append(self._store(job, "picture", index, data, plan))
        self._table.drawn[job.plan.digest()] = tuple(made)
        return tuple(made)

    def _store(
        self, job: Job, kind: Any, index: int, data: bytes, plan: Plan | None = None
    ) -> JobArtifact:
        digest = hashlib.sha256(data).hexdigest()
        end, media_type = ("png", "image/png")
        if kind == "lora":
            end, media_type = ("safetensors", "application/octet-stream")
        path = self._table.folder / f"{digest}.{end}"
        path.write_bytes(data)
        name = f"{kind}-{index}.{end}"
        self._table.files[digest] = ArtifactFile(path, name, media_type, digest)
        return JobArtifact(
            id=digest,
            index=index,
            kind=kind,
            name=name,
            media_type=media_type,
            bytes=len(data),
            width=plan.width if plan is not None else None,
            height=plan.height if plan is not None else None,
            seed=plan.seed if plan is not None else None,
        )

    def _give(self, followed: _Followed, artifact: JobArtifact) -> None:
        job = followed.job
        self._table.owners_of.setdefault(artifact.id, set()).add(job.owner)
        followed.job = job.model_copy(update={"artifacts": (*job.artifacts, artifact)})
        self._tell(followed, JobArtifactEvent(job_id=job.id, artifact=artifact))

    def _end(self, followed: _Followed, state: Any, error: ErrorInfo | None = None) -> None:
        done = 1.0 if state == "succeeded" else followed.job.progress
        self._update(followed, state=state, error=error, ended=now(), progress=done)
        self._table.ended[followed.job.kind, state] += 1
        self._tell(followed, EndEvent(job_id=followed.job.id, state=state, error=error))

    def _update(self, followed: _Followed, **changes: Any) -> None:
        followed.job = followed.job.model_copy(update=changes)
        self._tell(followed, StateEvent(job=self._shown(followed.job)), keep=False)

    def _tell(self, followed: _Followed, event: JobEvent, *, keep: bool = True) -> None:
        number = None
        if keep:
            self._table.number += 1
            number = self._table.number
        numbered = Numbered(number, event)
        if keep:
            followed.events.append(numbered)
        for heard in list(followed.listeners):
            heard(numbered)

    def _shown(self, job: Job) -> Job:
        """With its place in the queue, and files that are gone marked so."""
        gone = self._table.gone
        artifacts = tuple(
            x.model_copy(update={"gone": True}) if x.id in gone else x for x in job.artifacts
        )
        place = None
        if job.state == "queued":
            waiting = [x.job for x in self._table.jobs.values() if x.job.state == "queued"]
            waiting.sort(key=lambda other: -other.priority)
            ids = [other.id for other in waiting]
            place = ids.index(job.id) + 1 if job.id in ids else len(ids) + 1
        return job.model_copy(update={"artifacts": artifacts, "place": place})


def _info(code: str, message: str) -> ErrorInfo:
    return ErrorInfo(code=code, message=message, fix="Start it again when you like.")
