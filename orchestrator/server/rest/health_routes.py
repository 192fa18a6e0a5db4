"""For those who watch over the server: does it run, does it take jobs, and how is it doing."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ....core.errors import EngineError
from .auth import Asking, require_admin
from .host import Host
from .metrics import Meter
from .openapi_examples import example
from .openapi_responses import problems
from .responses import answer

router = APIRouter(tags=["health"])


class Healthy(BaseModel):
    status: Literal["ok"]


@router.get(
    "/healthz",
    operation_id="is_alive",
    summary="Does the server run?",
    response_description="It does.",
    response_model=Healthy,
    responses={200: example({"status": "ok"})},
    openapi_extra={"security": []},
)
async def is_alive() -> Response:
    """Asks nothing else, and wants no key."""
    return answer({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="is_ready",
    summary="Does the server take jobs?",
    response_description="It does.",
    response_model=Healthy,
    responses=problems("server_stopping") | {200: example({"status": "ok"})},
    openapi_extra={"security": []},
)
def is_ready(request: Request) -> Response:
    """Looks at the database and the disk. Wants no key."""
    host: Host = request.app.state.host
    if host.stopping or request.app.state.closing.begun:
        raise EngineError("server_stopping", "The server is being stopped.")
    why = host.ready()
    if why is not None:
        raise EngineError("server_stopping", why)
    return answer({"status": "ok"})


@router.get(
    "/metrics",
    operation_id="read_metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses=problems("not_allowed")
    | {
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def read_metrics(request: Request, asking: Asking) -> Response:
    """For administrators: jobs that wait, run and ended, times, requests."""
    require_admin(asking)
    meter: Meter = request.app.state.meter
    return Response(meter.text(request.app.state.host), media_type=meter.media_type)
