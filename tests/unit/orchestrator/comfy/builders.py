"""What the tests of the ComfyUI engine are made of: an engine over fakes, Plans, events."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from kizy.core.comfyui_address import Address
from kizy.core.job import EndEvent, Event
from kizy.core.plan import ModelFile, Plan
from kizy.orchestrator.backends.base import Handle
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.timeouts import Timing
from kizy.orchestrator.backends.comfyui.run.backend import ComfyEngine
from kizy.orchestrator.backends.comfyui.run.pool import Pool, PoolTiming
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.comfyui import FakeComfyUI
from tests.fakes.comfyui_faults import PATIENCE

QUICK = Timing(
    connect=2.0,
    read=PATIENCE,
    slice=0.02,
    close=0.02,
    silence=0.1,
    polling=0.02,
    queue_change=0.02,
    settle=0.05,
    reopen=0.2,
    history_pause=0.01,
    vanish_confirm=0.02,
    cancel_repeat=0.02,
    cancel_away=0.1,
    reconnect=(0.01, 0.02),
    away=0.3,
    stuck_idle=0.3,
)
CHECKPOINT = "v1-5-pruned-emaonly.safetensors"


class Studio:
    """An engine over fakes, and the folder that it saves into.

    `again`: its jobs may have been started by an earlier process.
    """

    def __init__(
        self, folder: Path, fakes: list[FakeComfyUI], *, again: bool = False, **options: Any
    ) -> None:
        self.again = again
        self.clients = [
            ComfyClient(Address(f"server {i + 1}", fake.url), timing=QUICK)
            for i, fake in enumerate(fakes)
        ]
        pool = Pool(self.clients, timing=PoolTiming(poll=0.01, queue=0.0, rest=0.02))
        save = PictureFolder(folder, "0").save_png
        self.engine = ComfyEngine(pool, self.clients, save, **{"away": PATIENCE, **options})

    def start(self, plan: Plan, job_id: str | None = None) -> str:
        job_id = job_id or str(uuid.uuid4())
        self.engine.start(plan, job_id, again=self.again)
        return job_id

    def events(self, job_id: str) -> list[Event]:
        return list(self.engine.follow(Handle(job_id)))

    def draw(self, plan: Plan) -> list[Event]:
        return self.events(self.start(plan))


def plan_of(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "request_prompt": "a red fox",
        "prompt": "a red fox",
        "negative": "",
        "family": "sd15",
        "model": ModelFile(name=CHECKPOINT),
        "width": 64,
        "height": 64,
        "output_width": 64,
        "output_height": 64,
        "count": 1,
        "seed": 7,
        "steps": 3,
        "guidance": 7.0,
        "sampler": "euler",
        "scheduler": "normal",
    }
    return Plan(**(values | changes))


def of_kind(events: list[Event], kind: str) -> list[Any]:
    return [event for event in events if event.kind == kind]


def end_of(events: list[Event]) -> EndEvent:
    assert [event.kind for event in events].count("end") == 1
    end = events[-1]
    assert isinstance(end, EndEvent)
    return end
