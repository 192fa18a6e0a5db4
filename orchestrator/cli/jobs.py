"""`kizy jobs`: the jobs of the server of the settings, else of the one that runs here."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from ...core import home
from ...core.errors import InputError, UnknownNameError
from ...core.files import require_writable
from ...core.job import Job, JobState, now
from ..sdk.remote.connect import connected
from ..sdk.remote.outcomes import require_success
from ..sdk.remote.saving import save_file, save_pictures
from ..sdk.remote.service import RemoteService
from ..service import MAX_PAGE, JobChange, JobQuery, QueueState, Service
from ..settings import load_settings
from .console import columns, document, line, shown
from .draw_remote import NewNotes, show_event, waiting
from .outcome import moving, time_left

NEWEST = 20
"""So many are listed, unless all are asked for."""

SHORT = 8
"""Letters of an id that are shown in lists; enough to name a job by."""

WHOLE = 36
"""Letters of an id."""

LOOKED_THROUGH = 2000
"""Jobs among which the begin of an id is looked for."""

TITLE = 50
COLUMNS = ("Id", "State", "How far", "Left", "What", "Handed in")


def listing(states: Sequence[str], *, every: bool, as_json: bool) -> None:
    """Print jobs, newest first. Raises InputError `request_invalid` for an unknown state."""
    known = get_args(JobState)
    for state in states:
        if state not in known:
            message = f'"{state}" is no state of a job.'
            raise InputError("request_invalid", message, fix=f"There is: {', '.join(known)}.")
    with _server() as service:
        query = JobQuery(tuple(s for s in known if s in states), limit=MAX_PAGE)
        pages = _all(service, query) if every else _all(service, replace(query, limit=NEWEST + 1))
        found = list(pages if every else itertools.islice(pages, NEWEST + 1))
        queue = service.queue()
    more = not every and len(found) > NEWEST
    found = found if every else found[:NEWEST]
    if as_json:
        jobs = [job.model_dump(mode="json") for job in found]
        document({"jobs": jobs, "more": more, "queue": queue.model_dump(mode="json")})
        return
    console = Console()
    if found:
        columns(console, COLUMNS, [_row(job) for job in found], right=("How far", "Left"))
        console.print()
    line(console, _summary(queue), "bold")
    if more:
        line(console, "Older ones are listed by `kizy jobs --all`.", "dim")


def show(given: str, *, as_json: bool) -> None:
    """Print one job. Raises UnknownNameError `job_unknown`."""
    with _server() as service:
        job = _found(service, given)
    if as_json:
        document(job.model_dump(mode="json"))
        return
    console = Console()
    line(console, job.title or job.kind, "bold")
    for name, value in _facts(job).items():
        line(console, f"{name}: {value}")
    for notice in job.notices:
        line(console, f"Note: {notice.text}")
    for artifact in job.artifacts:
        gone = ", removed since" if artifact.gone else ""
        line(console, f"File: {artifact.name} ({artifact.kind}, {artifact.id[:12]}{gone})")
    if job.error is not None:
        line(console, f"{job.error.message} {job.error.fix}", "yellow")
    elif job.artifacts:
        line(console, f"To get its files: kizy jobs fetch {job.id[:SHORT]}", "dim")
    for reason in job.plan.reasons if job.plan is not None else ():
        line(console, f"{reason.choice.capitalize()}: {reason.value} ({reason.why})", "dim")


def watch(given: str, *, as_json: bool) -> None:
    """Show how it goes until its end. Raises what it failed with, and CancelledError."""
    console = Console(stderr=True)
    notes = NewNotes()
    with _server() as service:
        job = _found(service, given)
        try:
            with moving(console) as move_line:
                for numbered in service.follow(job.id):
                    show_event(numbered.event, move_line)
                    for text in notes.of(numbered.event):
                        line(console, f"Note: {text}")
        except KeyboardInterrupt:
            line(console, "Left; the job goes on.")
            return
        job = service.job(job.id)
    require_success(job)
    if as_json:
        document(job.model_dump(mode="json"))
    many = len(job.artifacts)
    line(console, f"Done: {many} file{'s' * (many != 1)}. kizy jobs fetch {job.id[:SHORT]}")


def fetch(given: str, *, out: Path | None, as_json: bool) -> None:
    """Save its files, pictures under names as `kizy generate` gives them. Raises StorageError."""
    folder = out or load_settings().pictures or home.pictures_folder()
    require_writable(folder)
    saved: list[dict[str, Any]] = []
    with _server() as service:
        job = _found(service, given)
        pictures = {one.id: one.path for one in save_pictures(service, job, folder)}
        for artifact in job.artifacts:
            path = pictures.get(artifact.id)
            if path is None and not artifact.gone:
                path = str(save_file(service.artifact(artifact.id), artifact, folder))
            saved.append(artifact.model_dump(mode="json") | {"path": path})
    if as_json:
        document({"files": saved})
    console = Console(stderr=True)
    for one in saved:
        gone = f"{one['name']} was removed by the server's rules."
        line(console, one["path"] or gone, "bold" if one["path"] else "yellow")
    if not saved:
        line(console, f"The job has no files ({job.state}).")


def cancel(given: Sequence[str], *, as_json: bool) -> None:
    """Stop them. Raises UnknownNameError `job_unknown` before any is stopped."""
    with _server() as service:
        found = [_found(service, one) for one in given]
        jobs = [service.cancel(job.id) for job in found]
    _tell(jobs, as_json=as_json)


def retry(given: str, *, as_json: bool) -> None:
    """A new job of the same request. Raises InputError `job_not_over`."""
    with _server() as service:
        job = service.retry(_found(service, given).id)
    _tell([job], as_json=as_json)
    line(Console(stderr=True), f"Watch it: kizy jobs watch {job.id[:SHORT]}", "dim")


def pause(given: str | None, *, paused: bool, as_json: bool) -> None:
    """Pause the queue or one job, or let it go on. Raises InputError `job_not_waiting`."""
    with _server() as service:
        if given is not None:
            job = service.change(_found(service, given).id, JobChange(paused=paused))
            _tell([job], as_json=as_json)
            return
        queue = service.pause(paused)
    if as_json:
        document(queue.model_dump(mode="json"))
    else:
        line(Console(), _summary(queue), "bold")


def move(given: str, before: str, *, as_json: bool) -> None:
    """Give it another place. Raises InputError `job_not_waiting`."""
    with _server() as service:
        place = before if before in ("first", "last") else _found(service, before).id
        job = service.change(_found(service, given).id, JobChange(before=place))
    _tell([job], as_json=as_json)


def prioritize(given: str, number: int, *, as_json: bool) -> None:
    """Change its priority. Raises InputError `job_not_waiting`."""
    with _server() as service:
        job = service.change(_found(service, given).id, JobChange(priority=number))
    _tell([job], as_json=as_json)


@contextlib.contextmanager
def _server() -> Iterator[RemoteService]:
    with contextlib.closing(connected(load_settings())) as service:
        yield service


def _all(service: Service, query: JobQuery) -> Iterator[Job]:
    while True:
        page = service.jobs(query)
        yield from page.jobs
        if page.next is None:
            return
        query = replace(query, cursor=page.next)


def _found(service: Service, given: str) -> Job:
    """The job of an id, or of the begin of one among the newest."""
    given = given.strip().lower()
    if len(given) >= WHOLE:
        return service.job(given)
    newest = itertools.islice(_all(service, JobQuery(limit=MAX_PAGE)), LOOKED_THROUGH)
    same = [job for job in newest if job.id.startswith(given)]
    if len(same) == 1 and given:
        return same[0]
    if not same or not given:
        raise UnknownNameError("job_unknown", f'No recent job\'s id begins with "{given}".')
    message = f'The ids of {len(same)} jobs begin with "{given}".'
    raise InputError("request_invalid", message, fix="Give more letters of the id.")


def _tell(jobs: Sequence[Job], *, as_json: bool) -> None:
    if as_json:
        document({"jobs": [job.model_dump(mode="json") for job in jobs]})
        return
    console = Console()
    for job in jobs:
        line(console, f"{job.id[:SHORT]}  {_state(job)}  {job.title}")


def _row(job: Job) -> list[str]:
    title = " ".join(job.title.split())
    title = title if len(title) <= TITLE else title[: TITLE - 1].rstrip() + "…"
    left = time_left(job.left) if job.left is not None and not job.over else ""
    far = f"{job.progress:.0%}" if job.state == "running" else ""
    far = f"place {job.place}" if job.state == "queued" and job.place is not None else far
    return [job.id[:SHORT], _state(job), far, left, shown(title), _ago(job.created)]


def _state(job: Job) -> str:
    return "paused" if job.paused and job.state == "queued" else job.state


def _facts(job: Job) -> dict[str, str]:
    facts = {"Id": job.id, "Kind": job.kind, "Owner": job.owner, "State": _state(job)}
    if job.state == "queued":
        facts["Now"] = waiting(job)
    if job.state == "running":
        facts["Now"] = f"{job.progress:.0%} {job.doing}".strip()
    if job.left is not None and not job.over:
        facts["Left"] = f"about {time_left(job.left)}"
    if job.priority:
        facts["Priority"] = str(job.priority)
    facts["Handed in"] = f"{job.created.astimezone():%Y-%m-%d %H:%M:%S}"
    if job.started is not None and job.ended is not None:
        facts["Took"] = time_left((job.ended - job.started).total_seconds())
    if job.deadline is not None:
        facts["Deadline"] = f"{job.deadline.astimezone():%Y-%m-%d %H:%M:%S}"
    if job.attempts > 1:
        facts["Begun"] = f"{job.attempts} times"
    if job.from_store:
        facts["From"] = "the store: the same was drawn before"
    if job.retry_of is not None:
        facts["Again"] = f"of {job.retry_of}"
    return facts


def _summary(queue: QueueState) -> str:
    text = f"{queue.running} running, {queue.waiting} waiting."
    return f"{text} The queue is paused: kizy jobs resume" if queue.paused else text


def _ago(moment: datetime) -> str:
    return f"{time_left(max(0.0, (now() - moment).total_seconds()))} ago"
