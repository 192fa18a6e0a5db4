"""`kizy jobs ...`: parses, and hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

jobs = typer.Typer(
    help="List, watch, fetch, cancel, retry, pause and order the jobs of a Kizy server.",
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Job = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or the begin of it.")]
Jobs = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or the begins of them.")]
Maybe = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A job; without one, the whole queue.")
]
State = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STATE", help="queued, running, succeeded, failed, cancelled; again for more."
    ),
]
All = Annotated[bool, typer.Option("--all", help="All of them, not the newest alone.")]


@jobs.callback(invoke_without_command=True)
def root(
    context: typer.Context, state: State = None, all_: All = False, json_: Json = False
) -> None:
    if context.invoked_subcommand is None:
        list_jobs(state, all_, json_)


@jobs.command("list")
def list_jobs(state: State = None, all_: All = False, json_: Json = False) -> None:
    """List jobs, newest first; as `kizy jobs` alone does."""
    from . import jobs as page

    page.listing(state or [], every=all_, as_json=json_)


@jobs.command("show")
def show_job(job: Job, json_: Json = False) -> None:
    """Show one job: how far it is, what came out, or why it failed."""
    from . import jobs as page

    page.show(job, as_json=json_)


@jobs.command("watch")
def watch_job(job: Job, json_: Json = False) -> None:
    """Watch a job to its end. Ctrl-C leaves; the job goes on."""
    from . import jobs as page

    page.watch(job, as_json=json_)


@jobs.command("fetch")
def fetch_job(
    job: Job,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files.")] = None,
    json_: Json = False,
) -> None:
    """Save a job's files on this machine."""
    from . import jobs as page

    page.fetch(job, out=out, as_json=json_)


@jobs.command("cancel")
def cancel_jobs(jobs: Jobs, json_: Json = False) -> None:
    """Stop jobs, whether they wait or run."""
    from . import jobs as page

    page.cancel(jobs, as_json=json_)


@jobs.command("retry")
def retry_job(job: Job, json_: Json = False) -> None:
    """Try a job again that failed or was cancelled."""
    from . import jobs as page

    page.retry(job, as_json=json_)


@jobs.command("pause")
def pause(job: Maybe = None, json_: Json = False) -> None:
    """Begin nothing new, or let one job wait; what runs goes on."""
    from . import jobs as page

    page.pause(job, paused=True, as_json=json_)


@jobs.command("resume")
def resume(job: Maybe = None, json_: Json = False) -> None:
    """Let the queue go on, or one job that was paused."""
    from . import jobs as page

    page.pause(job, paused=False, as_json=json_)


@jobs.command("move")
def move(
    job: Job,
    before: Annotated[
        str, typer.Argument(metavar="first|last|ID", help="Where to: before which job.")
    ],
    json_: Json = False,
) -> None:
    """Give a job that waits another place."""
    from . import jobs as page

    page.move(job, before, as_json=json_)


@jobs.command("priority", context_settings={"ignore_unknown_options": True})
def priority(
    job: Job,
    number: Annotated[
        int,
        typer.Argument(metavar="N", min=-100, max=100, help="The highest is begun first."),
    ],
    json_: Json = False,
) -> None:
    """Let a job that waits begin sooner or later than others."""
    from . import jobs as page

    page.prioritize(job, number, as_json=json_)
