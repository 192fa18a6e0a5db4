"""Kizy from Python: one interface to a server far away, and to this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

from ...core.errors import KizyError
from ...core.job import Job, JobKind, JobState
from ...core.plan import Plan
from ...core.request import GenerationRequest
from ..planning.improve_request import as_drawn, improving, told_by
from ..service import (
    MAX_PAGE,
    FamilyInfo,
    JobQuery,
    LoraInfo,
    ModelInfo,
    QueueState,
    ServerInfo,
    Service,
    StyleInfo,
    TemplateInfo,
    Upload,
    Wish,
)
from . import arguments as wishes
from .arguments import TrainingWishes, Wishes
from .files import File, Picture
from .handles import JobHandle, drawn, trained
from .remote.outcomes import accepted

if TYPE_CHECKING:
    from .arguments import PictureLike
    from .remote.timeouts import Timing

T = TypeVar("T")

Deadline = datetime | timedelta | None
"""When a job is of no use any more: a time, or how long from now."""


class Kizy:
    """A Kizy server, from Python:

        with Kizy("http://127.0.0.1:7433") as kizy:
            kizy.generate("a red fox on a blue background")[0].save("fox.png")

    `server`: its address; without one, that of the settings (KIZY_SERVER), else the server of this
    machine. `key`: what it asks for; without one, that of the settings, for their server alone.
    Nothing is sent before the first call. Raises InputError `settings_invalid`; what the methods
    raise is always a KizyError. Can be used from any thread.
    """

    def __init__(
        self, server: str | None = None, *, key: str | None = None, timing: Timing | None = None
    ) -> None:
        from .remote.connect import configured_server
        from .remote.service import RemoteService

        if server is None:
            url, known = configured_server()
            server, key = url, key or known
        self._service: Service = RemoteService(server, key, timing=timing)
        self._here = False

    @classmethod
    def local(cls, store: str | PathLike[str] | None = None) -> Kizy:
        """The same without a server: draws in this process, or on ComfyUI as the settings say.

        `store`: the folder that keeps finished files; without one they go when it is closed, so
        save them before. Jobs are forgotten with the process.
        """
        from ..jobs.service import local_service

        folder = Path(store).expanduser() if store is not None else None
        return cls.over(local_service(store=folder), here=True)

    @classmethod
    def over(cls, service: Service, *, here: bool = False) -> Kizy:
        """The same over any Service, such as a fake in your tests.

        `here`: its requests may name files of this machine by their paths.
        """
        kizy = cls.__new__(cls)
        kizy._service, kizy._here = service, here
        return kizy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections. Jobs of a server go on; those of `Kizy.local()` end."""
        self._service.close()

    @property
    def service(self) -> Service:
        """What it speaks to: see `orchestrator/service.py`."""
        return self._service

    def generate(
        self,
        prompt: str,
        *,
        fresh: bool = False,
        raw: bool = False,
        deadline: Deadline = None,
        idempotency_key: str | None = None,
        **fields: Unpack[Wishes],
    ) -> list[Picture]:
        """Draw, wait, and give the pictures. Ctrl-C cancels the job before it goes on.

        `fields`: those of GenerationRequest. `fresh`: draw, also if the same Plan was drawn before.
        `raw`: keep the size that the model draws. Raises KizyError.
        """
        wish = Wish(fresh, wishes.moment(deadline), idempotency_key, raw)
        return _result(self._submitted(self._request(prompt, fields), wish))

    def submit(
        self,
        prompt: str,
        *,
        fresh: bool = False,
        raw: bool = False,
        deadline: Deadline = None,
        idempotency_key: str | None = None,
        **fields: Unpack[Wishes],
    ) -> JobHandle[list[Picture]]:
        """Hand a drawing in, as `generate`, without waiting for it."""
        wish = Wish(fresh, wishes.moment(deadline), idempotency_key, raw)
        return self._submitted(self._request(prompt, fields), wish)

    def plan(self, prompt: str, *, raw: bool = False, **fields: Unpack[Wishes]) -> Plan:
        """What would be drawn, and why: `plan.reasons`. Nothing is drawn."""
        return self._service.plan(self._request(prompt, fields), raw=raw)

    def improve(
        self,
        picture: PictureLike,
        what: PictureLike | Sequence[PictureLike] = "faces",
        *,
        amount: Literal["subtle", "normal", "strong"] = "normal",
        prompt: str = "auto",
        faces: Sequence[str] = (),
        fresh: bool = False,
        **fields: Unpack[Wishes],
    ) -> Picture:
        """Draw the faces of a picture, or what a mask marks, again in detail.

        `picture`: a path, bytes, a Pillow image, or a Picture. `what`: "faces", a mask (white on
        black), or several. `faces`: words for each, from left to right. `prompt`, `model`, `loras`
        that are not given are those that the picture was drawn with, if Kizy drew it.
        """
        name = wishes.picture(picture, self._handed_over)
        given: dict[str, Any] = dict(fields)
        loras = wishes.loras(given.pop("loras")) if "loras" in given else None
        values = improving(
            name,
            wishes.improve(what, self._handed_over, amount, faces),
            self._as_drawn(picture) if prompt == "auto" else {},
            prompt=prompt,
            model=given.pop("model", "auto"),
            loras=loras,
        )
        request = self._request(values.pop("prompt"), values | given)
        return _result(self._submitted(request, Wish(fresh=fresh)))[0]

    def train(
        self,
        files: str | PathLike[str] | File | Sequence[str | PathLike[str] | File],
        *,
        name: str,
        deadline: Deadline = None,
        idempotency_key: str | None = None,
        **fields: Unpack[TrainingWishes],
    ) -> JobHandle[File]:
        """Hand a training in: it takes long, so this does not wait. `result()` gives the LoRA.

        `files`: pictures, folders, zips or videos, by path; one or several. `fields`: those of
        TrainingRequest.
        """
        request = wishes.training(files, name, fields, self._name_of)
        wish = Wish(False, wishes.moment(deadline), idempotency_key)
        job = accepted(self._service, self._service.train, request, wish)
        return JobHandle(self._service, job, trained)

    def job(self, job_id: str) -> JobHandle[Any]:
        """A job by its id: pictures are its `result()`, or the LoRA of a training."""
        job = self._service.job(job_id)
        return JobHandle(self._service, job, drawn if job.kind == "generation" else trained)

    def jobs(
        self,
        *states: JobState,
        kind: JobKind | None = None,
        owner: str | None = None,
        page: int = 50,
    ) -> Iterator[Job]:
        """All jobs, newest first, of some states or of all; pages are fetched as they are needed.

        `page`: jobs in each, at most 200.
        """
        query = JobQuery(tuple(states), kind, owner, min(page, MAX_PAGE))
        while True:
            found = self._service.jobs(query)
            yield from found.jobs
            if found.next is None:
                return
            query = JobQuery(query.states, kind, owner, query.limit, found.next)

    def queue(self) -> QueueState:
        """How many jobs wait and run, and whether the queue is paused."""
        return self._service.queue()

    def pause(self) -> QueueState:
        """Begin nothing new; what runs goes on."""
        return self._service.pause(True)

    def resume(self) -> QueueState:
        """Begin what waits."""
        return self._service.pause(False)

    def upload(self, file: str | PathLike[str] | IO[bytes], name: str | None = None) -> Upload:
        """Hand a file over; requests name it by the answer's `id`."""
        if not isinstance(file, str | PathLike):
            return self._service.upload(name or "file", file)
        from .remote.send_inputs import local_file

        path = local_file(str(file))
        with path.open("rb") as data:
            return self._service.upload(name or path.name, data)

    def models(self) -> tuple[ModelInfo, ...]:
        """Models that requests can name."""
        return self._service.models()

    def loras(self, words: str = "", *, family: str | None = None) -> tuple[LoraInfo, ...]:
        """All LoRAs by name, or those that fit the words best, best first."""
        return self._service.loras(words, family)

    def styles(self) -> tuple[StyleInfo, ...]:
        """Styles that requests can name."""
        return self._service.styles()

    def families(self) -> tuple[FamilyInfo, ...]:
        """Families of models."""
        return self._service.families()

    def templates(self) -> tuple[TemplateInfo, ...]:
        """Workflows that are drawn with on ComfyUI."""
        return self._service.templates()

    def servers(self) -> tuple[ServerInfo, ...]:
        """Where is drawn."""
        return self._service.servers()

    def _request(self, prompt: str, fields: Any) -> GenerationRequest:
        return wishes.generation(prompt, fields, self._handed_over)

    def _submitted(self, request: GenerationRequest, wish: Wish) -> JobHandle[list[Picture]]:
        job = accepted(self._service, self._service.generate, request, wish)
        return JobHandle(self._service, job, drawn)

    def _handed_over(self, name: str, data: IO[bytes]) -> str:
        return self._service.upload(name, data).id

    def _name_of(self, file: File) -> str:
        if self._here:
            return str(self._service.artifact(file.id).path)
        return file.id

    def _as_drawn(self, picture: Any) -> dict[str, Any]:
        if isinstance(picture, Picture):
            with contextlib.suppress(KizyError):
                return told_by(picture.plan, here=self._here)
            return {}
        if isinstance(picture, str | PathLike) and Path(picture).expanduser().is_file():
            return as_drawn(Path(picture).expanduser(), here=self._here)
        return {}


def _result(handle: JobHandle[T]) -> T:
    """Wait for it; Ctrl-C cancels it there before it goes on here."""
    try:
        return handle.result()
    except KeyboardInterrupt:
        with contextlib.suppress(KizyError):
            handle.cancel()
        raise
