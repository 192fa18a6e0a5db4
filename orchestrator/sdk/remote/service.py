"""A Kizy server, asked over HTTP, as a Service."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from ....core.job import Job
from ....core.once import once_property
from ....core.plan import Plan
from ....core.request import GenerationRequest, TrainingRequest
from ...service import (
    ArtifactFile,
    FamilyInfo,
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
from . import problems
from .artifact_downloads import Downloads
from .http_client import Http
from .job_events import Following
from .multipart import FilePart, Form, already_open, on_disk
from .reading import UnreadableError, read, read_all, read_job, read_page
from .send_inputs import is_id, local_file, sent_name, training_files
from .server_address import place
from .timeouts import Timing

_Model = TypeVar("_Model", bound=BaseModel)
_T = TypeVar("_T")


class RemoteService:
    """All that a Kizy server offers; see `Service`. Can be used from any thread.

    `url`: its address; `key`: what it asks for, sent to it alone. Pictures that a request names by
    a path of this machine are handed over first. Raises InputError `settings_invalid`; every method
    raises KizyError, among them EngineError `server_unreachable`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timing: Timing | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = Http(place(url, key), timing or Timing(), wait)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._http.place.url

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        body = _values(self._handed_over(request)) | ({"raw": True} if raw else {})
        return self._told("/v1/plan", lambda values: read(Plan, values), "POST", body=body)

    def generate(self, request: GenerationRequest, wish: Wish = Wish()) -> Job:  # noqa: B008
        body = _values(self._handed_over(request)) | _options(wish)
        headers = {"Idempotency-Key": wish.idempotency_key or str(uuid.uuid4())}
        return self._told("/v1/generations", read_job, "POST", body=body, headers=headers)

    def train(self, request: TrainingRequest, wish: Wish = Wish()) -> Job:  # noqa: B008
        headers = {"Idempotency-Key": wish.idempotency_key or str(uuid.uuid4())}
        fields = _fields(request, _options(Wish(deadline=wish.deadline)))
        with tempfile.TemporaryDirectory(prefix="kizy-") as scratch:
            named = [name for name in request.files if not is_id(name)]
            paths = training_files(named, Path(scratch))
            files = [on_disk("files", path, sent_name(path)) for path in paths]
            form = Form(fields, files)
            return self._told("/v1/trainings", read_job, "POST", form=form, headers=headers)

    def job(self, job_id: str) -> Job:
        return self._told(_job_path(job_id), read_job)

    def jobs(self, query: JobQuery = JobQuery()) -> JobPage:  # noqa: B008
        params = [("state", state) for state in query.states]
        params += [("limit", str(query.limit))]
        for name, value in (("kind", query.kind), ("owner", query.owner), ("cursor", query.cursor)):
            if value is not None:
                params.append((name, value))
        return self._told("/v1/jobs", read_page, params=params)

    def follow(self, job_id: str, after: int | None = None) -> Iterator[Numbered]:
        return Following(self._http, job_id, after).events()

    def cancel(self, job_id: str) -> Job:
        return self._told(_job_path(job_id), read_job, "DELETE")

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        path = f"{_job_path(job_id)}/retry"
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._told(path, read_job, "POST", headers=headers)

    def change(self, job_id: str, change: JobChange) -> Job:
        body = change.model_dump(mode="json", exclude_none=True)
        return self._told(_job_path(job_id), read_job, "PATCH", body=body)

    def queue(self) -> QueueState:
        return self._told("/v1/queue", lambda values: read(QueueState, values))

    def pause(self, paused: bool) -> QueueState:
        body = {"paused": paused}
        return self._told("/v1/queue", lambda values: read(QueueState, values), "PATCH", body=body)

    def upload(self, name: str, data: IO[bytes]) -> Upload:
        with contextlib.ExitStack() as stack:
            if not data.seekable():
                copy = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(data, copy)
                copy.seek(0)
                data = copy
            return self._upload(already_open("file", name, data))

    def artifact(self, artifact_id: str) -> ArtifactFile:
        return self._downloads.fetch(artifact_id)

    def models(self) -> tuple[ModelInfo, ...]:
        return self._listed("/v1/models", "models", ModelInfo)

    def loras(self, query: str = "", family: str | None = None) -> tuple[LoraInfo, ...]:
        params = [("query", query)] if query else []
        params += [("family", family)] if family is not None else []
        return self._listed("/v1/loras", "loras", LoraInfo, params)

    def styles(self) -> tuple[StyleInfo, ...]:
        return self._listed("/v1/styles", "styles", StyleInfo)

    def families(self) -> tuple[FamilyInfo, ...]:
        return self._listed("/v1/families", "families", FamilyInfo)

    def templates(self) -> tuple[TemplateInfo, ...]:
        return self._listed("/v1/templates", "templates", TemplateInfo)

    def servers(self) -> tuple[ServerInfo, ...]:
        return self._listed("/v1/servers", "servers", ServerInfo)

    def close(self) -> None:
        """Let go of connections, and of files that were fetched; jobs go on there."""
        self._http.close()
        if "_downloads" in self.__dict__:
            self._forget()
            del self._downloads

    @once_property
    def _downloads(self) -> Downloads:
        folder = tempfile.mkdtemp(prefix="kizy-")
        # Also when nobody closes it: at the latest when Python ends.
        self._forget = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Downloads(self._http, Path(folder))

    def _handed_over(self, request: GenerationRequest) -> GenerationRequest:
        ids: dict[str, str] = {}

        def id_of(name: str) -> str:
            if is_id(name):
                return name
            if name not in ids:
                ids[name] = self._upload(on_disk("file", local_file(name))).id
            return ids[name]

        return request.with_pictures(id_of)

    def _upload(self, file: FilePart) -> Upload:
        form = Form((), [file])
        return self._told("/v1/uploads", lambda values: read(Upload, values), "POST", form=form)

    def _told(
        self, path: str, meant: Callable[[Any], _T], method: str = "GET", **options: Any
    ) -> _T:
        """What the answer means. Raises KizyError."""
        values = self._http.ask(method, path, **options)
        try:
            return meant(values)
        except UnreadableError as error:
            raise problems.not_kizy(self._http.place, path, str(error)) from None

    def _listed(
        self, path: str, name: str, kind: type[_Model], params: list[tuple[str, str]] | None = None
    ) -> tuple[_Model, ...]:
        def meant(values: Any) -> tuple[_Model, ...]:
            return read_all(kind, values.get(name) if isinstance(values, dict) else None)

        return self._told(path, meant, params=params or ())


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _values(request: GenerationRequest) -> dict[str, Any]:
    """Only what differs from the defaults: an older server knows no newer fields."""
    return request.model_dump(mode="json", exclude_defaults=True)


def _options(wish: Wish) -> dict[str, Any]:
    options: dict[str, Any] = {"fresh": True} if wish.fresh else {}
    if wish.raw:
        options["raw"] = True
    if wish.deadline is not None:
        # A time without a zone is this machine's own.
        options["deadline"] = wish.deadline.astimezone().isoformat()
    return options


def _fields(request: TrainingRequest, options: dict[str, Any]) -> list[tuple[str, str]]:
    """As a form's fields. Files of the server itself are named by id."""
    values = request.model_dump(mode="json", exclude_defaults=True, exclude={"files"}) | options
    fields = [
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in values.items()
    ]
    return fields + [("files", name) for name in request.files if is_id(name)]
