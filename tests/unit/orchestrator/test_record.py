"""What is kept of a job for its followers, and of the jobs of a process that runs for weeks."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.core.errors import EngineError
from kizy.core.plan import ModelFile, Plan
from kizy.orchestrator.backends.event_log import Record, StartedJobs

PLAN = Plan(
    request_prompt="a fox",
    prompt="a fox",
    negative="",
    family="sd15",
    model=ModelFile(name="m"),
    width=64,
    height=64,
    output_width=64,
    output_height=64,
    count=1,
    seed=0,
    steps=1,
    guidance=7.0,
    sampler="euler",
    scheduler="normal",
)


@pytest.fixture
def record() -> Record:
    return Record(PLAN, "job")


def summary(record: Record) -> list[Any]:
    found: list[Any] = []
    for event in record.follow():
        value = {"progress": "fraction", "preview": "png", "notice": "code", "end": "state"}
        found.append(getattr(event, value[event.kind]))
    return found


def test_of_progress_and_previews_only_the_newest_are_kept(record: Record) -> None:
    for step in range(1000):
        record.progress(step / 1000, "drawing", None)
        record.preview(step % 2, f"{step}".encode())
    record.notice("moved", "It moved.")
    record.end(None)
    assert summary(record) == [b"998", 0.999, b"999", "moved", "succeeded"]


def test_who_follows_from_the_beginning_hears_each_event_once(record: Record) -> None:
    heard = record.follow()
    record.progress(0.1, "a", None)
    assert getattr(next(heard), "fraction") == 0.1  # noqa: B009
    record.progress(0.5, "b", None)
    record.preview(0, b"x")
    record.progress(0.7, "c", None)
    record.end(EngineError("drawing_failed", "It failed."))
    assert [event.kind for event in heard] == ["preview", "progress", "end"]


def test_progress_does_not_go_back_to_less(record: Record) -> None:
    record.progress(0.5, "a", None)
    record.progress(0.2, "b", None)
    record.end(None)
    assert summary(record) == [0.5, "succeeded"]


def test_jobs_that_are_over_lose_their_previews_and_are_forgotten_at_last() -> None:
    jobs = StartedJobs[Record](lambda work: work, kept=3)
    for number in range(6):
        record = Record(PLAN, str(number))
        record.preview(0, b"x")
        if number != 1:
            record.end(None)
        jobs.add(str(number), record)
    assert [str(n) in jobs for n in range(6)] == [False, True, False, False, True, True]
    over = jobs.get("4")
    assert over is not None and summary(over) == ["succeeded"]
