"""What whoever asks a Service does with its jobs: accept, wait, and turn their ends into errors."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ....core.errors import CancelledError, EngineError, KizyError
from ....core.job import Job
from ....core.request import GenerationRequest, TrainingRequest
from ...service import Service, Wish
from .problems import error_of

_Request = TypeVar("_Request", GenerationRequest, TrainingRequest)


def accepted(
    service: Service,
    accept: Callable[[_Request, Wish], Job],
    request: _Request,
    wish: Wish,
) -> Job:
    """The job of a request; `accept`: the service's `generate` or `train`.

    Ctrl-C while the answer is on its way: the job may be accepted already, so it is asked for by
    its idempotency key once more, and cancelled.
    """
    wish = replace(wish, idempotency_key=wish.idempotency_key or str(uuid.uuid4()))
    try:
        return accept(request, wish)
    except KeyboardInterrupt:
        with contextlib.suppress(KizyError):
            service.cancel(accept(request, wish).id)
        raise


def require_success(job: Job) -> None:
    """Raises the error that a job which is over failed with, or CancelledError."""
    if job.state == "succeeded":
        return
    if job.error is not None and (job.state == "failed" or job.error.code != "cancelled"):
        raise error_of(job.error)
    if job.state == "cancelled":
        message = job.error.message if job.error is not None else "The job was cancelled."
        raise CancelledError("cancelled", message)
    raise EngineError("drawing_failed", f"The job {job.id} ended without a word ({job.state}).")
