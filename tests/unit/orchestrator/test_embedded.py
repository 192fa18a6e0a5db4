"""The embedded engine over a drawer that only pretends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kizy.core.errors import EngineError
from kizy.core.job import EndEvent, Event
from kizy.orchestrator.backends.base import Handle
from kizy.orchestrator.backends.embedded import EmbeddedEngine
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.drawer import WAIT, FakeDrawer, plan_of

LASTING = ("notice", "artifact", "end")


def engine_over(drawer: FakeDrawer, folder: Path) -> EmbeddedEngine:
    return EmbeddedEngine(PictureFolder(folder, "0").save, drawer)


def of_kind(events: list[Event], kind: str) -> list:
    return [event for event in events if event.kind == kind]


def end_of(events: list[Event]) -> EndEvent:
    assert [event.kind for event in events].count("end") == 1
    assert events[-1].kind == "end"
    return events[-1]


def test_a_drawing_ends_well(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    end = end_of(list(engine.follow(engine.start(plan_of(), "job"))))
    assert (end.state, end.error) == ("succeeded", None)


def test_every_event_names_its_job(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    events = list(engine.follow(engine.start(plan_of(), "job")))
    assert {event.job_id for event in events} == {"job"}


def test_each_picture_is_saved_with_its_own_seed(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    events = list(engine.follow(engine.start(plan_of(count=3, seed=10), "job")))
    artifacts = [event.artifact for event in of_kind(events, "artifact")]
    assert [(a.seed, a.plan.seed, a.plan.count) for a in artifacts] == [
        (10, 10, 1),
        (11, 11, 1),
        (12, 12, 1),
    ]


def test_a_second_start_with_the_same_id_draws_nothing_more(tmp_path: Path) -> None:
    drawer = FakeDrawer()
    engine = engine_over(drawer, tmp_path)
    assert engine.start(plan_of(), "job") == engine.start(plan_of(seed=9), "job")
    list(engine.follow(Handle("job")))
    list(engine.follow(engine.start(plan_of(), "next")))
    assert [plan.seed for plan in drawer.drawn] == [1, 1]


def test_who_follows_later_sees_all_but_outdated_progress_and_previews(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    handle = engine.start(plan_of(count=2), "job")
    first = list(engine.follow(handle))
    later = list(engine.follow(handle))
    assert [event for event in later if event.kind in LASTING] == [
        event for event in first if event.kind in LASTING
    ]
    assert [event.kind for event in later].count("progress") == 1
    assert set(later) <= set(first)


def test_two_can_follow_at_the_same_time(tmp_path: Path) -> None:
    gate, seen = threading.Event(), []
    engine = engine_over(FakeDrawer(gate=gate), tmp_path)
    handle = engine.start(plan_of(), "job")
    other = threading.Thread(target=lambda: seen.extend(engine.follow(handle)))
    other.start()
    gate.set()
    mine = list(engine.follow(handle))
    other.join(WAIT)
    assert seen == mine


def test_progress_never_goes_back(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    events = list(engine.follow(engine.start(plan_of(count=4), "job")))
    fractions = [event.fraction for event in of_kind(events, "progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_previews_are_pngs(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    events = list(engine.follow(engine.start(plan_of(), "job")))
    assert of_kind(events, "preview")[0].png.startswith(b"\x89PNG")


def test_a_notice_is_passed_on(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    events = list(engine.follow(engine.start(plan_of(), "job")))
    assert of_kind(events, "notice")[0].code == "less_memory"


def test_a_cancelled_drawing_ends_cancelled(tmp_path: Path) -> None:
    gate = threading.Event()
    drawer = FakeDrawer(gate=gate)
    engine = engine_over(drawer, tmp_path)
    handle = engine.start(plan_of(), "job")
    assert drawer.at_the_gate.wait(WAIT)
    engine.cancel(handle)
    gate.set()
    end = end_of(list(engine.follow(handle)))
    assert (end.state, end.error.code) == ("cancelled", "cancelled")


def test_a_waiting_job_that_is_cancelled_is_never_drawn(tmp_path: Path) -> None:
    gate = threading.Event()
    drawer = FakeDrawer(gate=gate)
    engine = engine_over(drawer, tmp_path)
    engine.start(plan_of(seed=1), "first")
    waiting = engine.start(plan_of(seed=2), "second")
    engine.cancel(waiting)
    gate.set()
    assert end_of(list(engine.follow(waiting))).state == "cancelled"
    assert [plan.seed for plan in drawer.drawn] == [1]


def test_a_second_job_waits_for_the_first(tmp_path: Path) -> None:
    gate = threading.Event()
    drawer = FakeDrawer(gate=gate)
    engine = engine_over(drawer, tmp_path)
    engine.start(plan_of(seed=1), "first")
    second = engine.start(plan_of(seed=2), "second")
    assert drawer.at_the_gate.wait(WAIT)
    assert [plan.seed for plan in drawer.drawn] == [1]
    gate.set()
    list(engine.follow(second))
    assert [plan.seed for plan in drawer.drawn] == [1, 2]


def test_a_known_error_keeps_its_code(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(error=EngineError("out_of_memory", "Too large.")), tmp_path)
    end = end_of(list(engine.follow(engine.start(plan_of(), "job"))))
    assert (end.state, end.error.code, end.error.message) == (
        "failed",
        "out_of_memory",
        "Too large.",
    )


def test_an_unknown_error_is_drawing_failed(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(error=ZeroDivisionError("half of nothing")), tmp_path)
    end = end_of(list(engine.follow(engine.start(plan_of(), "job"))))
    assert (end.state, end.error.code) == ("failed", "drawing_failed")
    assert "half of nothing" in end.error.message


def test_memory_that_runs_out_anywhere_is_told_as_such(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(error=MemoryError()), tmp_path)
    end = end_of(list(engine.follow(engine.start(plan_of(), "job"))))
    assert (end.state, end.error.code) == ("failed", "out_of_memory")


def test_the_engine_draws_on_after_a_failure(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(error=ValueError("no"), fail_at=1), tmp_path)
    list(engine.follow(engine.start(plan_of(count=2), "bad")))
    assert end_of(list(engine.follow(engine.start(plan_of(), "good")))).state == "succeeded"


def test_what_was_saved_before_a_failure_stays(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(error=ValueError("no"), fail_at=2), tmp_path)
    events = list(engine.follow(engine.start(plan_of(count=5), "job")))
    paths = [Path(event.artifact.path) for event in of_kind(events, "artifact")]
    assert len(paths) == 2
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_following_a_job_that_was_never_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        list(engine_over(FakeDrawer(), tmp_path).follow(Handle("none")))


def test_cancelling_an_unknown_job_does_nothing(tmp_path: Path) -> None:
    engine = engine_over(FakeDrawer(), tmp_path)
    engine.cancel(Handle("none"))
    assert end_of(list(engine.follow(engine.start(plan_of(), "job")))).state == "succeeded"


def test_capabilities_name_the_device_and_the_versions(tmp_path: Path) -> None:
    found = engine_over(FakeDrawer(), tmp_path).capabilities()
    assert found.device == "cpu" and "torch-" in found.fingerprint


def test_threads_that_come_at_once_get_one_drawer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kizy.drawing import drawer

    made: list[object] = []

    class Slow:
        def __init__(self, previews: bool = True) -> None:
            threading.Event().wait(0.05)
            made.append(self)

    monkeypatch.setattr(drawer, "Drawer", Slow)
    engine = EmbeddedEngine(PictureFolder(tmp_path, "0").save)
    together = threading.Barrier(6)

    def ask() -> object:
        together.wait(WAIT)
        return engine._the_drawer()

    with ThreadPoolExecutor(6) as threads:
        found = {id(one.result()) for one in [threads.submit(ask) for _ in range(6)]}
    assert len(made) == 1 and len(found) == 1


def test_what_would_end_the_thread_fails_one_job_and_the_next_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawer = FakeDrawer()
    engine = engine_over(drawer, tmp_path)
    draw, ended = drawer.draw, threading.Event()

    def once(*given: object, **named: object) -> None:
        if not ended.is_set():
            ended.set()
            raise SystemExit(1)
        draw(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(drawer, "draw", once)
    assert end_of(list(engine.follow(engine.start(plan_of(), "first")))).state == "failed"
    assert end_of(list(engine.follow(engine.start(plan_of(), "second")))).state == "succeeded"
