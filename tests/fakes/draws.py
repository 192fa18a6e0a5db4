"""Stands in for the App behind a queue: draws plain colours at once, waits and fails on command."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from kizy.core.errors import CancelledError, KizyError
from kizy.core.job import Event
from kizy.core.plan import ModelFile, Plan, Reason
from kizy.core.request import GenerationRequest
from kizy.orchestrator.backends.base import Handle, SavedArtifacts
from kizy.orchestrator.backends.event_log import Record, StartedJobs
from kizy.orchestrator.settings import Settings
from kizy.orchestrator.storage.pictures import Pictures
from PIL import Image

WAIT = 20.0
"""Seconds after which a test that hangs fails."""


def plan_of(request: GenerationRequest, **changes: Any) -> Plan:
    """A small Plan, as a planner could make it."""
    seed = request.seed if isinstance(request.seed, int) else abs(hash(request.prompt)) % 2**31
    values: dict[str, Any] = {
        "engine": "embedded",
        "request_prompt": request.prompt,
        "prompt": request.prompt,
        "negative": "",
        "family": "starter",
        "model": ModelFile(name="starter"),
        "width": 16,
        "height": 16,
        "output_width": 16,
        "output_height": 16,
        "count": request.count,
        "seed": seed,
        "steps": 2,
        "guidance": 4.0,
        "sampler": "euler",
        "scheduler": "simple",
    }
    return Plan(**(values | changes))


class FakeApp:
    """An App that draws by itself. `lane`: the engine that its Plans name.

    `hold()` keeps every drawing waiting until `let_go()`. `fails[prompt]`: what drawings of that
    prompt fail with, one after the other. `reasons`: of its Plans.
    `drawn`: pictures that were drawn, by job.
    """

    def __init__(
        self,
        pictures: Pictures,
        saved: SavedArtifacts | None = None,
        *,
        settings: Settings | None = None,
        lane: str = "embedded",
        servers: int = 1,
    ) -> None:
        self.pictures, self._saved = pictures, saved
        self.settings = settings or Settings()
        self.comfy = SimpleNamespace(count=servers)
        self.lane = lane
        self.drawn: Counter[str] = Counter()
        self.order: list[str] = []
        self.fails: defaultdict[str, list[KizyError]] = defaultdict(list)
        self.name: str | None = "a fake"
        self.reasons: tuple[Reason, ...] = ()
        self.closed = False
        self._started = StartedJobs[_Work](lambda work: work.record)
        self._go = threading.Event()
        self._go.set()
        self._lock = threading.Lock()

    def hold(self) -> None:
        self._go.clear()

    def let_go(self) -> None:
        self._go.set()

    def plan(self, request: GenerationRequest, *, raw: bool = False) -> Plan:
        return plan_of(request, engine=self.lane, reasons=self.reasons)

    def fingerprints(self, plan: Plan, only: str | None = None) -> dict[str, str]:
        """One place; `name` tells what draws there, None: not known."""
        return {} if self.name is None else {"": f"{plan.engine} {self.name}"}

    def start(self, plan: Plan, job_id: str | None = None, *, again: bool = False) -> Handle:
        assert job_id is not None
        self.pictures.check()
        saved = self._saved.of(job_id, plan) if again and self._saved is not None else {}
        with self._lock:
            if self._started.startable(job_id, again=again):
                work = _Work(Record(plan, job_id), saved)
                self._started.add(job_id, work)
                threading.Thread(target=self._draw, args=(work,), daemon=True).start()
        return Handle(job_id, self.lane)

    def follow(self, handle: Handle) -> Iterator[Event]:
        work = self._started.get(handle.job_id)
        assert work is not None
        return work.record.follow()

    def cancel(self, handle: Handle) -> None:
        work = self._started.get(handle.job_id)
        if work is not None:
            work.cancelled.set()

    def close(self) -> None:
        self.closed = True

    def _draw(self, work: _Work) -> None:
        record, plan = work.record, work.record.plan
        self.order.append(record.job_id)
        try:
            record.progress(0.0, "drawing", None)
            self._wait(work)
            if self.fails[plan.request_prompt]:
                raise self.fails[plan.request_prompt].pop(0)
            for index in range(plan.count):
                if index in work.saved:
                    record.artifact(work.saved[index])
                    continue
                work.check()
                own = plan.for_picture(index)
                colour = (own.seed % 256, own.seed // 256 % 256, index % 256)
                artifact = self.pictures.save(own, Image.new("RGB", (16, 16), colour))
                if self._saved is not None:
                    self._saved.add(record.job_id, index, artifact)
                self.drawn[record.job_id] += 1
                record.preview(index, b"png")
                record.artifact(artifact)
                record.progress((index + 1) / plan.count, "drawing", 0.0)
            record.end(None)
        except KizyError as error:
            record.end(error)

    def _wait(self, work: _Work) -> None:
        for _ in range(int(WAIT / 0.005)):
            work.check()
            if self._go.wait(0.005):
                return
        raise AssertionError("nobody let the drawing go")


class _Work:
    def __init__(self, record: Record, saved: dict[int, Any]) -> None:
        self.record, self.saved = record, saved
        self.cancelled = threading.Event()

    def check(self) -> None:
        if self.cancelled.is_set():
            raise CancelledError("cancelled", "The drawing was stopped.")
