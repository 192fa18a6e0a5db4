"""One call of a tool: whose it is, what it may do, and how it hears of its job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
from mcp import types

from ....core.job import Job
from ....core.request import GenerationRequest, TrainingRequest
from ....core.surrogates import whole_text
from ...service import Service, Wish
from .arguments import MAX_WAIT
from .artifact_locations import NOWHERE, Places, Scope
from .follow_job import Progress, Report, in_thread
from .inputs import GivenPictures
from .result_schemas import job_facts
from .results import drawn_answer, progress_words

Answer = types.CallToolResult
Send = Callable[[float, float, str], Awaitable[None]]
"""Tells the client how far a call is: done, of how much, in words."""


@dataclass
class Call:
    """A call. `folders`: from which pictures may be read by path.

    `owner`: whose new jobs become; None: the service's own choice. `places`: where the person finds
    files. `patience`: seconds that a call waits at most. `stopping`: whether the server is being
    stopped; then a call that breaks off leaves its job alone.
    """

    service: Service
    send_progress: Send
    owner: str | None = None
    places: Places = NOWHERE
    scope: Scope = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    patience: float = MAX_WAIT
    stopping: Callable[[], bool] = lambda: False
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        self.report = Progress(self.send_progress, _words)

    @property
    def pictures(self) -> GivenPictures:
        return GivenPictures(self.service, self.folders)

    def draw(self, request: GenerationRequest, *, fresh: bool) -> Job:
        """Accept a drawing."""
        if self.owner is not None:
            request = request.model_copy(update={"owner": self.owner})
        return self.service.generate(request, Wish(fresh=fresh))

    def train(self, request: TrainingRequest) -> Job:
        """Accept a training."""
        if self.owner is not None:
            request = request.model_copy(update={"owner": self.owner})
        return self.service.train(request)

    def link(self, artifact_id: str) -> str | None:
        """Where the person finds a file."""
        return self.places.of(artifact_id, self.scope)

    def shown(self, job: Job, *, show: bool = True, failed_is_error: bool = True) -> Answer:
        """How a job is, with its pictures once it is done. Blocks."""
        trouble = self.places.keep(self.service, job)
        answer = drawn_answer(
            job, self.service, self.link, show=show, failed_is_error=failed_is_error
        )
        if trouble is not None:
            answer.content.append(types.TextContent(text=trouble))
        return answer

    async def accepted(
        self, begin: Callable[[], Job], answer: Callable[[Job], Awaitable[Answer]]
    ) -> Answer:
        """Begin a job and answer. If the call is cancelled meanwhile, so is the job."""
        job: Job | None = None
        # Not to be broken off: the job would be accepted, and nobody would know its id.
        with anyio.CancelScope(shield=True):
            job = await in_thread(begin)
        assert job is not None
        try:
            await anyio.lowlevel.checkpoint()
            return await answer(job)
        except anyio.get_cancelled_exc_class():
            if not self.stopping():
                with anyio.CancelScope(shield=True):
                    await in_thread(self.service.cancel, job.id)
            raise


def _words(job: Job) -> str:
    return "done" if job.over else whole_text(progress_words(job_facts(job, lambda _: None)))
