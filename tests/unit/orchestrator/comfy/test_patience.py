"""When a server that answers counts as dead (trap 5)."""

from __future__ import annotations

import pytest
from kizy.orchestrator.backends.comfyui.protocol.stall_detector import Patience
from kizy.orchestrator.backends.comfyui.protocol.timeouts import Timing

TIMING = Timing(stuck_idle=10, stuck_running=100, stuck_node=1000, stuck_behind=5000)


@pytest.fixture
def patience() -> Patience:
    return Patience(TIMING, 0)


def test_a_job_that_waits_while_nothing_runs(patience: Patience) -> None:
    patience.waits((), 1)
    assert patience.stuck(10) is None
    patience.waits((), 10)
    assert patience.stuck(12) is not None


def test_waiting_behind_others_takes_as_long_as_it_takes(patience: Patience) -> None:
    for moment in range(0, 20_000, 1000):
        patience.waits((f"job {moment}",), moment)
        assert patience.stuck(moment + 999) is None


def test_waiting_behind_one_job_for_hours(patience: Patience) -> None:
    patience.waits(("other",), 0)
    assert patience.stuck(4999) is None
    assert patience.stuck(5001) is not None


def test_a_pause_between_two_jobs_is_no_death(patience: Patience) -> None:
    patience.waits(("other",), 0)
    patience.waits((), 100)
    assert patience.stuck(105) is None
    patience.waits(("another",), 109)
    assert patience.stuck(130) is None


def test_a_running_job_of_which_nothing_is_heard(patience: Patience) -> None:
    assert patience.stuck(99) is None
    assert patience.stuck(101) is not None


def test_a_node_at_work_has_more_time(patience: Patience) -> None:
    patience.executing = True
    assert patience.stuck(999) is None
    assert patience.stuck(1001) is not None


def test_every_message_is_a_sign_of_life(patience: Patience) -> None:
    patience.heard(90)
    assert patience.stuck(180) is None


def test_a_job_that_begins_to_run_begins_to_count(patience: Patience) -> None:
    patience.waits(("other",), 0)
    patience.runs(1000)
    assert patience.stuck(1099) is None
    patience.runs(1099)
    assert patience.stuck(1101) is not None
