"""`kizy generate` and `kizy replay` on a Kizy server, which looks as in this process."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from ...core import home
from ...core.errors import CancelledError, EngineError, PictureError
from ...core.job import Job, JobEvent
from ...core.picture_files import read_plan
from ...core.plan import InputPicture
from ...core.request import GenerationRequest
from ...core.version import VERSION
from ..sdk.remote.connect import configured_server
from ..sdk.remote.outcomes import accepted, require_success
from ..sdk.remote.replay import differences, request_of
from ..sdk.remote.saving import save_pictures
from ..sdk.remote.service import RemoteService
from ..service import Service, Wish
from ..settings import Settings
from ..storage.inputs import InputFolder
from ..storage.pictures import PictureFolder
from .outcome import Outcome, Show, View, close, moving, put, saved_before, tell

DRAWN_BEFORE = "The server drew the same before: these are its files; --fresh draws anew."


def generate(
    request: GenerationRequest, settings: Settings, *, raw: bool, fresh: bool, view: View
) -> None:
    """Have a request drawn. Raises KizyError."""
    with server(settings, view.debug) as service:
        _draw(service, request, settings, Wish(fresh=fresh, raw=raw), view)


def replay(picture: Path, settings: Settings, *, fresh: bool, view: View) -> None:
    """Have a picture's Plan drawn again; what would come out otherwise is said before."""
    plan = read_plan(picture)
    inputs = InputFolder(home.inputs_folder())

    def name_of(given: InputPicture) -> str:
        try:
            return inputs.find(given).path
        except PictureError:
            # The server may have it, if it was drawn there.
            return given.sha256

    with server(settings, view.debug) as service:
        request = request_of(plan, name_of)
        console = Console(stderr=True)
        for difference in differences(plan, service.plan(request)):
            put(console, f"Note: the server draws it with another {difference}.")
        _draw(service, request, settings, Wish(fresh=fresh), view)


@contextlib.contextmanager
def server(settings: Settings, debug: bool = False) -> Iterator[RemoteService]:
    """The server of the settings."""
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    url, key = configured_server(settings)
    with contextlib.closing(RemoteService(url, key)) as service:
        yield service


def followed(
    service: Service, job: Job, console: Console, take: Callable[[JobEvent], None] | None = None
) -> Job:
    """The job at its end; a line moves until then, and `take` hears all events.

    The first Ctrl-C cancels it there and waits for its end; the second one leaves at once.
    """
    stopping = cancelled = False
    with moving(console) as show:
        while True:
            try:
                if stopping and not cancelled:
                    service.cancel(job.id)
                    cancelled = True
                for numbered in service.follow(job.id):
                    show_event(numbered.event, show)
                    if take is not None:
                        take(numbered.event)
                    if numbered.event.kind == "end":
                        return service.job(job.id)
            except KeyboardInterrupt:
                if stopping:
                    raise _left(job, cancelled=cancelled) from None
                stopping = True
                put(console, "Stopping: the job is cancelled on the server.")


def _left(job: Job, *, cancelled: bool) -> CancelledError:
    if cancelled:
        message = "Left at once; the job is being cancelled on the server."
        fix = f"Look what came of it: kizy jobs show {job.id}"
    else:
        message = "Left at once; the job may go on on the server."
        fix = f"Stop it: kizy jobs cancel {job.id}"
    return CancelledError("cancelled", message, fix=fix)


def waiting(job: Job) -> str:
    """Where a job stands that waits."""
    if job.paused:
        return "paused"
    return f"waiting, place {job.place}" if job.place is not None else "waiting"


def _draw(
    service: RemoteService, request: GenerationRequest, settings: Settings, wish: Wish, view: View
) -> None:
    console = Console(stderr=True)
    folder = view.out or settings.pictures or home.pictures_folder()
    # Before anything is drawn: a folder that nothing can be written to is said at once.
    PictureFolder(folder, VERSION).check()
    started = time.monotonic()
    job = accepted(service, service.generate, request, wish)
    job = followed(service, job, console)
    outcome = Outcome()
    for notice in job.notices:
        outcome.note(notice.code, notice.text)
    for artifact in save_pictures(service, job, folder):
        outcome.artifacts.append(artifact)
    seconds = time.monotonic() - started
    if job.state != "succeeded":
        _raise(job, outcome, console)
    if job.plan is None:
        message = "The server's Plan is of a newer Kizy, and cannot be shown."
        raise EngineError("server_failed", message, fix="Update Kizy here.")
    if job.from_store:
        outcome.note("drawn_before", DRAWN_BEFORE)
    tell(outcome, job.plan, console)
    close(outcome, job.plan, seconds, view)


def _raise(job: Job, outcome: Outcome, console: Console) -> None:
    saved = saved_before(outcome.artifacts, console)
    try:
        require_success(job)
    except CancelledError:
        message = f"Stopped: the job was cancelled on the server; {saved} saved."
        raise CancelledError("cancelled", message) from None


class NewNotes:
    """What the events of one job say besides, each once; a state holds all that was said before."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def of(self, event: JobEvent) -> list[str]:
        """What is new of it."""
        found: list[tuple[str, str]] = []
        if event.kind == "state":
            found = [(notice.code, notice.text) for notice in event.job.notices]
        elif event.kind == "notice":
            found = [(event.code, event.text)]
        new = [note for note in dict.fromkeys(found) if note not in self._told]
        self._told.update(new)
        return [text for _, text in new]


def show_event(event: JobEvent, show: Show) -> None:
    """Move the line as an event says."""
    if event.kind == "progress":
        show(event.fraction, event.doing, event.left)
    elif event.kind == "state":
        job = event.job
        doing = waiting(job) if job.state == "queued" else job.doing or job.state
        show(job.progress, doing, job.left)
