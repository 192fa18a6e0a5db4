"""When a ComfyUI is restarted: told the time."""

from __future__ import annotations

from kizy.orchestrator.backends.comfyui.launcher.restart_rule import Rules, Watch

# When it is restarted: told the time


RULES = Rules(hangs=100, silent_looks=2, ready=300, limit=3, steady=600)


def test_a_server_that_answers_is_left_alone() -> None:
    watch = Watch(RULES, 0)
    assert [watch.look(now, runs=True, answers=True) for now in range(0, 5000, 50)] == (
        ["leave"] * 100
    )


def test_silence_is_borne_for_a_while() -> None:
    watch = Watch(RULES, 0)
    looks = [watch.look(now, runs=True, answers=False) for now in (40, 80, 120)]
    assert looks == ["leave", "leave", "end"]


def test_one_silent_look_after_a_long_sleep_restarts_nothing() -> None:
    watch = Watch(RULES, 0)
    assert watch.look(5000, runs=True, answers=False) == "leave"
    assert watch.look(5001, runs=True, answers=True) == "leave"


def test_the_pauses_before_restarts_grow_and_their_number_is_limited() -> None:
    watch, now, pauses = Watch(RULES, 0), 0.0, []
    while watch.look(now, runs=False, answers=False) == "end":
        ended = now
        while watch.look(now, runs=False, answers=False) != "start":
            now += 0.5
        pauses.append(now - ended)
    assert pauses == [1, 2, 4]
    assert watch.given_up
    assert watch.look(now + 9999, runs=False, answers=False) == "leave"


def test_a_steady_run_ends_the_row_of_restarts() -> None:
    watch = Watch(RULES, 0)
    watch.look(0, runs=False, answers=False)
    watch.look(1, runs=False, answers=False)
    watch.look(300, runs=True, answers=True)
    assert watch.restarts == 1
    watch.look(602, runs=True, answers=True)
    assert watch.restarts == 0


def test_a_new_start_may_take_its_time() -> None:
    watch = Watch(RULES, 0)
    watch.look(0, runs=False, answers=False)
    assert watch.look(1, runs=False, answers=False) == "start"
    looks = [watch.look(now, runs=True, answers=False) for now in (101, 201, 299)]
    assert looks == ["leave"] * 3 and not watch.ready
    assert watch.look(302, runs=True, answers=False) == "end"
