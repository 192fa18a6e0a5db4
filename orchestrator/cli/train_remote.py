"""`kizy train` on a Kizy server: pictures go there, and the LoRA is there when it is done."""

from __future__ import annotations

import time
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from ...core.errors import CancelledError, InputError
from ...core.job import Job, JobEvent
from ...trainer.plan import TrainingPlan
from ..sdk.remote.outcomes import accepted, require_success
from ..service import Wish as Terms
from ..settings import Settings
from .console import document, line
from .draw_remote import NewNotes, followed, server
from .train import Wish, checked


def train(values: dict[str, Any], wish: Wish, settings: Settings) -> None:
    """Hand it in, show how it goes. Raises KizyError."""
    for asked, option in ((wish.resume, "--resume"), (wish.dry_run, "--dry-run")):
        if asked:
            message = (
                f"{option} is about trainings of this machine, and KIZY_SERVER names a server."
            )
            fix = "Unset KIZY_SERVER; a server's training goes on with `kizy jobs retry ID`."
            raise InputError("request_invalid", message, fix=fix)
    request = checked(values)
    console = Console(stderr=True)
    started = time.monotonic()
    with server(settings, wish.debug) as service:
        with console.status("Handing the pictures over"):
            job = accepted(service, service.train, request, Terms())
        line(console, f"Accepted by {service.url} as job {job.id}", "dim")
        job = followed(service, job, console, _Teller(console).take)
    try:
        require_success(job)
    except CancelledError:
        fix = f"To go on from what was saved there: kizy jobs retry {job.id}"
        message = "Stopped: the training was cancelled on the server."
        raise CancelledError("cancelled", message, fix=fix) from None
    if wish.as_json:
        document(_document(job, time.monotonic() - started))
    _tell(job, console)


class _Teller:
    """Tells the plan once it is known, and notices, above the line that moves."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = False
        self._notes = NewNotes()

    def take(self, event: JobEvent) -> None:
        if event.kind == "state" and not self._told:
            plan = _plan(event.job)
            if plan is not None:
                self._told = True
                _show(plan, self._console)
        for text in self._notes.of(event):
            line(self._console, text)


def _show(plan: TrainingPlan, console: Console) -> None:
    line(console, plan.name, style="bold")
    line(console, f'Trigger: "{plan.trigger}"')
    for reason in plan.reasons:
        line(console, f"{reason.choice.capitalize()}: {reason.value} ({reason.why})", style="dim")


def _tell(job: Job, console: Console) -> None:
    lora = _lora(job)
    if lora is not None:
        line(console, lora, style="bold")
        line(console, "It is on the server: prompts there that mean it pick it from now on.")
    line(console, f"To get its files here: kizy jobs fetch {job.id}", style="dim")
    plan = _plan(job)
    if plan is not None and plan.sample_prompts:
        line(console, f'Draw with it: kizy generate "{plan.sample_prompts[-1]}"')


def _document(job: Job, seconds: float) -> dict[str, Any]:
    """As a training of this machine tells it; what only that knows is null or empty."""
    plan = job.training or {}
    return {
        "state": job.state,
        "lora": _lora(job),
        "trigger": plan.get("trigger"),
        "weight": plan.get("weight"),
        "best_step": None,
        "why": None,
        "steps": plan.get("steps"),
        "loss": None,
        "validation": [],
        "samples": [one.name for one in job.artifacts if one.kind == "sample"],
        "pictures": {},
        "notices": [notice.text for notice in job.notices],
        "seconds": round(seconds, 3),
        "folder": None,
        "plan": plan,
        "dataset": None,
        "job": job.id,
    }


def _lora(job: Job) -> str | None:
    return next((one.name for one in job.artifacts if one.kind == "lora"), None)


def _plan(job: Job) -> TrainingPlan | None:
    """What was decided; None as long as nothing is, or if only a newer Kizy can read it."""
    if job.training is None:
        return None
    try:
        return TrainingPlan.model_validate(job.training, extra="ignore")
    except ValidationError:
        return None
