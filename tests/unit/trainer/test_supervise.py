"""A training's process: followed, stopped, killed, and gone on with."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from kizy.core.errors import InputError, UnknownNameError
from kizy.trainer import supervise
from kizy.trainer.events import EndEvent, StepEvent, TrainingEvent
from kizy.trainer.run_folder import RunFolder, find_run, list_runs
from kizy.trainer.supervise import Waits

from tests.fakes.training import FakeEngine, request, run_folder

QUICK = Waits(poll=0.01)
SLOW = {"steps": 100_000, "pause": 0.01}


def trained(run: RunFolder) -> list[TrainingEvent]:
    return list(supervise.follow(supervise.start(run, FakeEngine()), QUICK))


def end_of(events: list[TrainingEvent]) -> EndEvent:
    assert isinstance(events[-1], EndEvent)
    return events[-1]


def steps_of(events: list[TrainingEvent]) -> list[int]:
    return [event.step for event in events if isinstance(event, StepEvent)]


def test_a_training_is_followed_to_its_end() -> None:
    run = run_folder()
    events = trained(run)
    assert steps_of(events) == list(range(1, 21))
    assert end_of(events).state == "succeeded"
    assert (run.state(), run.step()) == ("succeeded", 20)


def test_a_crash_is_told_by_its_cause() -> None:
    run = run_folder(end="exit")
    error = end_of(trained(run)).error
    assert error is not None and error.code == "training_failed"
    assert "ValueError: the rank is odd" in error.message
    assert run.state() == "failed"


def test_a_lack_of_memory_is_told_as_such() -> None:
    error = end_of(trained(run_folder(end="memory"))).error
    assert error is not None and error.code == "out_of_memory"


def test_a_kill_is_told_as_such() -> None:
    error = end_of(trained(run_folder(end="kill"))).error
    assert error is not None and error.code == "training_killed"
    assert "--resume" in error.fix


def test_after_a_kill_it_goes_on_from_what_was_saved() -> None:
    run = run_folder(end="kill", at=8)
    first, second = trained(run), trained(run)
    assert steps_of(first) == list(range(1, 8))
    assert steps_of(second) == list(range(6, 21))
    assert end_of(second).state == "succeeded"


def test_an_old_cause_is_not_told_again() -> None:
    run = run_folder(end="silent")
    with run.log.open("a") as log:
        log.write("CUDA out of memory\n")
    error = end_of(trained(run)).error
    assert error is not None and error.code == "training_failed"


def test_stop_lets_it_save_and_publish() -> None:
    run = run_folder(**SLOW)
    handle = supervise.start(run, FakeEngine())
    events = []
    for event in supervise.follow(handle, QUICK):
        events.append(event)
        if len(events) == 5:
            supervise.stop(handle)
    assert end_of(events).state == "stopped" and end_of(events).result is not None


def test_a_stop_of_yesterday_does_not_stop_it_today() -> None:
    run = run_folder()
    run.stop_file.touch()
    assert end_of(trained(run)).state == "succeeded"


def test_a_run_is_not_trained_twice_at_once() -> None:
    run = run_folder(**SLOW)
    handle = supervise.start(run, FakeEngine())
    assert run.state() == "running"
    with pytest.raises(InputError) as caught:
        supervise.start(run, FakeEngine())
    assert caught.value.code == "training_running"
    supervise.kill(handle)
    assert not run.is_running()


def test_who_comes_later_follows_what_runs() -> None:
    run = run_folder(**SLOW)
    handle = supervise.start(run, FakeEngine())
    followed = supervise.follow(supervise.attach(run), QUICK)
    assert isinstance(next(followed), StepEvent)
    supervise.kill(handle)
    assert end_of(list(followed)).state == "failed"


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_who_comes_later_can_end_it_at_once() -> None:
    run = run_folder(**SLOW)
    handle = supervise.start(run, FakeEngine())
    other = supervise.attach(run)
    followed = supervise.follow(other, QUICK)
    next(followed)
    supervise.kill(other)
    assert end_of(list(followed)).state == "failed"
    assert handle.process is not None and handle.process.wait(5) != 0


def test_who_comes_later_reads_over_the_end_before_a_resume() -> None:
    run = run_folder(end="kill", at=8)
    trained(run)
    trained(run)
    events = list(supervise.follow(supervise.attach(run), QUICK))
    assert end_of(events).state == "succeeded"
    assert sum(isinstance(event, EndEvent) for event in events) == 2


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_what_a_killed_process_started_is_ended() -> None:
    run = run_folder(child=True, **SLOW)
    handle = supervise.start(run, FakeEngine())
    events = supervise.follow(handle, QUICK)
    next(events)
    child = int((run.path / "child.json").read_text().split(":")[1].split(",")[0])
    assert handle.process is not None
    os.kill(handle.process.pid, signal.SIGKILL)
    assert end_of(list(events)).state == "failed"
    deadline = time.monotonic() + 5
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(child)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_what_a_killed_process_left_half_written_goes() -> None:
    run = run_folder()
    left = run.path / "state" / ".state.safetensors.a1b2.part"
    left.parent.mkdir()
    left.touch()
    trained(run)
    assert run.state() == "succeeded" and not left.exists()


def test_runs_are_listed_the_newest_first() -> None:
    old, new = run_folder(), run_folder()
    os.utime(old.path / "request.json", (1, 1))
    assert list_runs() == [new, old]


def test_the_newest_that_is_not_done_is_gone_on_with() -> None:
    waiting, done = run_folder(), run_folder()
    os.utime(waiting.path / "request.json", (1, 1))
    trained(done)
    assert find_run(None) == waiting
    assert find_run("Mimi") == waiting
    assert find_run(done.path.name) == done
    assert find_run(str(done.path)) == done


def test_nothing_to_go_on_with_is_told() -> None:
    trained(run_folder())
    with pytest.raises(UnknownNameError, match="all are done"):
        find_run(None)
    with pytest.raises(UnknownNameError, match="Nobody"):
        find_run("Nobody")


def test_a_run_without_a_plan_cannot_go_on() -> None:
    run = RunFolder.create(request())
    with pytest.raises(UnknownNameError, match=r"plan\.json is missing"):
        run.plan()


def test_a_preparation_that_was_killed_is_not_gone_on_with_and_goes_in_the_end() -> None:
    killed = RunFolder.create(request())
    assert list_runs() == []
    RunFolder.create(request())
    assert killed.path.exists()
    os.utime(killed.path / "request.json", (1, 1))
    RunFolder.create(request())
    assert not killed.path.exists()
