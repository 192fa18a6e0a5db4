"""What the dispatcher does when something goes wrong that no job is to blame for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from kizy.core.errors import EngineError
from kizy.core.job import ProgressEvent
from kizy.core.request import TrainingRequest
from kizy.orchestrator.jobs import watched_thread as watched
from kizy.orchestrator.jobs.dispatcher import Dispatcher

from tests.waiting import wait_for

Wished = Callable[..., Any]


def ended(service: Any, job: Any) -> Any:
    """The job when it is over."""
    for _ in service.follow(job.id):
        pass
    return service.job(job.id)


def training(service: Any) -> Any:
    return service.train(TrainingRequest(files=("a" * 64,), name="zed"))


def raising(failure: Exception) -> Callable[[], Any]:
    def make() -> Any:
        raise failure

    return make


# Jobs that cannot be prepared.


@pytest.mark.parametrize(
    ("trainer", "code"),
    [
        (None, "local_missing"),
        (raising(EngineError("launch_failed", "There is no interpreter.")), "launch_failed"),
        (raising(RuntimeError("a mistake")), "drawing_failed"),
    ],
    ids=["no-trainer", "told", "unexpected"],
)
def test_a_training_that_cannot_be_prepared_fails_with_its_error(
    made_in_file: Any, wish: Wished, trainer: Any, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = made_in_file(trainer=trainer)
    monkeypatch.setattr(service, "_path", lambda given: None)
    job = ended(service, training(service))
    assert (job.state, job.error.code) == ("failed", code)
    assert ended(service, service.generate(wish())).state == "succeeded"
    assert service.ready() is None


@pytest.mark.parametrize("plan", [None, "{half of a Pl"], ids=["none", "damaged"])
def test_a_job_without_a_plan_to_read_fails_at_once(
    made_in_file: Any, wish: Wished, plan: str | None
) -> None:
    service = made_in_file()
    service.pause(True)
    job = service.generate(wish())
    service._shared.ledger.table.set(job.id, plan=plan)
    service.pause(False)
    over = ended(service, job)
    assert (over.state, over.error.code, over.attempts) == ("failed", "drawing_failed", 1)


def test_the_end_of_what_could_not_be_prepared_is_written_down_once_the_disk_is_well(
    made_in_file: Any, wish: Wished, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kizy.core.errors import StorageError

    service = made_in_file(trainer=raising(RuntimeError("a mistake")))
    monkeypatch.setattr(service, "_path", lambda given: None)
    ledger = service._shared.ledger
    end, full = ledger.end, threading.Event()

    def failing(*given: Any, **named: Any) -> Any:
        if not full.is_set():
            full.set()
            raise StorageError("disk_full", "The disk is full.")
        return end(*given, **named)

    monkeypatch.setattr(ledger, "end", failing)
    job = ended(service, training(service))
    assert full.is_set() and job.state == "failed"


# A thread that fails or hangs.


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched.WatchedThread.__init__, "__kwdefaults__", {
        **(watched.WatchedThread.__init__.__kwdefaults__ or {}), "first_rest": 0.01,
    })  # fmt: skip


@pytest.mark.usefixtures("short_rests")
def test_an_unexpected_error_is_told_and_the_dispatcher_goes_on(
    made_in_file: Any, wish: Wished, monkeypatch: pytest.MonkeyPatch
) -> None:
    mend = threading.Event()
    order = Dispatcher._ordered

    def ordered(self: Dispatcher) -> Any:
        if threading.current_thread().name == "kizy-dispatcher" and not mend.is_set():
            raise KeyError("a mistake")
        return order(self)

    service = made_in_file()
    monkeypatch.setattr(Dispatcher, "_ordered", ordered)
    job = service.generate(wish())
    wait_for(lambda: service.ready() is not None)
    assert "kizy-dispatcher" in service.ready() and "KeyError" in service.ready()
    mend.set()
    assert ended(service, job).state == "succeeded"
    wait_for(lambda: service.ready() is None)


def test_a_look_at_servers_that_hangs_holds_up_neither_requests_nor_readiness(
    made_in_file: Any, wish: Wished
) -> None:
    service = made_in_file(lane="comfyui")
    asked, let_go = threading.Event(), threading.Event()

    class Hanging:
        @property
        def count(self) -> int:
            asked.set()
            let_go.wait(20.0)
            return 1

    made_in_file.app.comfy = Hanging()
    job = service.generate(wish())
    assert asked.wait(20.0)
    service.generate(wish("another"))
    assert service.queue().waiting + service.queue().running == 2
    thread = service._shared.dispatcher._thread
    thread._patience = 0.0
    wait_for(lambda: "hung" in (service.ready() or ""))
    let_go.set()
    thread._patience = 90.0
    assert ended(service, job).state == "succeeded"


def test_a_stop_that_hangs_holds_up_no_other_job(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file(lane="comfyui")
    app = made_in_file.app
    app.hold()
    asked, let_go = threading.Event(), threading.Event()

    def cancel(handle: Any) -> None:
        asked.set()
        let_go.wait(20.0)

    app.cancel = cancel
    late = service.generate(wish("late"))
    wait_for(lambda: app.order == [late.id])
    service._shared.dispatcher._running[late.id].deadline = 0.0
    assert asked.wait(20.0)
    app.let_go()
    assert ended(service, service.generate(wish("on time"))).state == "succeeded"
    let_go.set()
    assert ended(service, late).state in ("succeeded", "failed")


def test_a_run_that_breaks_gives_its_place_back(
    made_in_file: Any, wish: Wished, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kizy.orchestrator.jobs.runs.drawing import DrawingRun

    service = made_in_file()
    run, broken = DrawingRun.run, threading.Event()

    def once(self: DrawingRun) -> None:
        if not broken.is_set():
            broken.set()
            raise SystemExit(1)
        run(self)

    monkeypatch.setattr(DrawingRun, "run", once)
    service.generate(wish("broken"))
    assert broken.wait(20.0)
    assert ended(service, service.generate(wish("whole"))).state == "succeeded"


def test_a_listener_that_fails_does_the_job_no_harm(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file()
    made_in_file.app.hold()
    job = service.generate(wish())

    here = threading.current_thread()

    def heard(event: Any) -> None:
        # What came before is told in this thread: whoever watches hears of its own failure.
        if threading.current_thread() is not here:
            raise ValueError("the loop is closed")

    leave = service.watch(job.id, heard)
    made_in_file.app.let_go()
    assert ended(service, job).state == "succeeded"
    leave()


def test_who_fails_at_what_was_kept_for_it_hears_so_and_nothing_more(
    made_in_file: Any, wish: Wished
) -> None:
    service = made_in_file()
    job = ended(service, service.generate(wish()))

    def heard(event: Any) -> None:
        raise ValueError("the loop is closed")

    with pytest.raises(ValueError, match="the loop is closed"):
        service.watch(job.id, heard)
    assert not service._shared.ledger.hub.has(job.id)


# The end of the process.


def test_closing_while_many_jobs_end_gives_the_lock_back(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file(lane="comfyui")
    made_in_file.app.hold()
    jobs = [service.generate(wish(f"fox {number}")) for number in range(12)]
    wait_for(lambda: service.queue().running == 4)
    dispatcher = service._shared.dispatcher
    over = threading.Event()

    def change() -> None:
        # What runs changes all the time, as when jobs end at this moment.
        number = 0
        while not over.is_set():
            with dispatcher._changed:
                dispatcher._running.pop(f"more {number - 3}", None)
                one = next(iter(dispatcher._running.values()), None)
                if one is not None:
                    dispatcher._running[f"more {number}"] = one
            number += 1

    changing = threading.Thread(target=change, daemon=True)
    changing.start()
    service.close(0.1)
    over.set()
    changing.join(20.0)
    assert not dispatcher._lock_of_all._held
    second = made_in_file()
    assert [ended(second, job).state for job in jobs] == ["succeeded"] * 12


def test_a_run_that_cannot_be_let_go_keeps_nobody_from_the_lock(
    made_in_file: Any, wish: Wished
) -> None:
    service = made_in_file()
    app = made_in_file.app
    app.hold()
    jobs = [service.generate(wish("one")), service.generate(wish("two"))]
    wait_for(lambda: app.order == [jobs[0].id])

    def cancel(handle: Any) -> None:
        raise RuntimeError("a mistake")

    app.cancel = cancel
    service.close(0.1)
    second = made_in_file()
    assert [ended(second, job).state for job in jobs] == ["succeeded"] * 2


def test_what_comes_after_the_queue_is_closed_even_if_the_queue_cannot_be(
    made_in_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = made_in_file()

    def fail(patience: float) -> None:
        raise RuntimeError("a mistake")

    close = service._shared.dispatcher.close
    monkeypatch.setattr(service._shared.dispatcher, "close", fail)
    with pytest.raises(RuntimeError):
        service.close(0.1)
    assert made_in_file.app.closed
    close(0.1)


# Progress.


def test_an_end_that_does_not_happen_forgets_no_progress(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file()
    made_in_file.app.hold()
    job = service.generate(wish())
    wait_for(lambda: service.job(job.id).doing == "drawing")
    ledger = service._shared.ledger
    ledger.progress(ProgressEvent(job_id=job.id, fraction=0.6, doing="step 6 of 10", left=4.0))
    assert not ledger.end(job.id, "cancelled", begun=False)
    seen = service.job(job.id)
    assert (seen.progress, seen.doing, seen.left) == (0.6, "step 6 of 10", 4.0)


def test_progress_goes_with_the_job(made_in_file: Any, wish: Wished) -> None:
    service = made_in_file()
    ended(service, service.generate(wish()))
    ledger = service._shared.ledger
    wait_for(lambda: not ledger._progress and not ledger._written)
