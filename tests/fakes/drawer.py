"""Stands in for `kizy.drawing.drawer.Drawer`: draws plain colours, stops and fails on command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from kizy.core.plan import ModelFile, Plan
from kizy.drawing.cancel import CancelToken
from kizy.drawing.drawer import Drawer, Report
from PIL import Image

WAIT = 20.0
"""Seconds after which a test that hangs fails."""


def plan_of(**changes: Any) -> Plan:
    """A small Plan for the starter, 64 x 64 pixels in two steps, without enlarging."""
    values: dict[str, Any] = {
        "request_prompt": "a red fox",
        "prompt": "a red fox, 3d render",
        "negative": "",
        "family": "starter",
        "model": ModelFile(name="starter"),
        "width": 64,
        "height": 64,
        "output_width": 64,
        "output_height": 64,
        "count": 1,
        "seed": 1,
        "steps": 2,
        "guidance": 4.0,
        "sampler": "euler",
        "scheduler": "simple",
    }
    return Plan(**(values | changes))


class Listener:
    """A Report that keeps what it is told."""

    def __init__(self, on_progress: Callable[[float], None] = lambda fraction: None) -> None:
        self.fractions: list[float] = []
        self.previews: list[Image.Image] = []
        self.notices: list[tuple[str, str]] = []
        self._on_progress = on_progress

    def progress(self, fraction: float, doing: str, left: float | None) -> None:
        self.fractions.append(fraction)
        self._on_progress(fraction)

    def preview(self, index: int, picture: Image.Image) -> None:
        self.previews.append(picture)

    def notice(self, code: str, text: str) -> None:
        self.notices.append((code, text))


class FakeDrawer(Drawer):
    """`error` is raised before picture `fail_at`. With a `gate`, every drawing waits for it."""

    def __init__(
        self,
        *,
        error: BaseException | None = None,
        fail_at: int = 0,
        gate: threading.Event | None = None,
    ) -> None:
        super().__init__(device=torch.device("cpu"))
        self.drawn: list[Plan] = []
        self.at_the_gate = threading.Event()
        self._error, self._fail_at, self._gate = error, fail_at, gate

    def draw(
        self,
        plan: Plan,
        *,
        cancel: CancelToken,
        report: Report,
        deliver: Callable[[int, Image.Image], None],
    ) -> None:
        self.drawn.append(plan)
        report.progress(0.0, "loading the model", None)
        self.at_the_gate.set()
        if self._gate is not None:
            assert self._gate.wait(WAIT)
        for index in range(plan.count):
            cancel.check()
            if self._error is not None and index == self._fail_at:
                raise self._error
            colour = (plan.seed + index) % 256
            deliver(index, Image.new("RGB", (plan.output_width, plan.output_height), (colour,) * 3))
            report.preview(index, Image.new("RGB", (8, 8)))
            report.notice("less_memory", "as a test")
            report.progress((index + 1) / plan.count, "drawing", 0.0)
