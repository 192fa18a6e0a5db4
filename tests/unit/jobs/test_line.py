"""Who is next."""

from __future__ import annotations

from typing import Any

from kizy.orchestrator.jobs.schedule import Waiting, first_ready, in_order, starts_in


def one(job_id: str, **values: Any) -> Waiting:
    given = {"owner": "ann", "lane": "embedded", "priority": 0, "place": float(ord(job_id[-1]))}
    return Waiting(id=job_id, **(given | values))


def ids(found: list[Waiting]) -> list[str]:
    return [waiting.id for waiting in found]


def test_an_owners_jobs_go_in_their_own_order() -> None:
    assert ids(in_order([one("c"), one("a"), one("b", place=0.5)])) == ["b", "a", "c"]


def test_owners_take_turns_however_many_jobs_one_has() -> None:
    many = [one(f"{i}", place=i) for i in range(4)]
    found = in_order([*many, one("x", owner="ben", place=9), one("y", owner="ben", place=10)])
    assert ids(found) == ["0", "x", "1", "y", "2", "3"]


def test_who_runs_less_comes_first_then_who_waited_longest() -> None:
    both = [one("a"), one("b", owner="ben")]
    assert ids(in_order(both, running={"ann": 1})) == ["b", "a"]
    assert ids(in_order(both, served={"ann": 2.0, "ben": 1.0})) == ["b", "a"]
    assert ids(in_order(both, running={"ben": 1}, served={"ann": 2.0})) == ["a", "b"]


def test_a_higher_priority_goes_before_all_turns() -> None:
    found = in_order([one("a"), one("b", owner="ben", priority=1), one("c", priority=1)])
    assert set(ids(found)[:2]) == {"b", "c"} and found[2].id == "a"


def test_paused_and_resting_jobs_are_passed_over() -> None:
    order = [one("a", paused=True), one("b", not_before=10.0), one("c")]
    assert first_ready(order, now=5.0) == order[2]
    assert first_ready(order, now=10.0) == order[1]
    assert first_ready(order[:1], now=99.0) is None


def test_the_wait_is_what_is_ahead_shared_by_the_slots() -> None:
    assert starts_in([], slots=1, busy=[]) == 0.0
    assert starts_in([3.0, 4.0], slots=1, busy=[2.0]) == 9.0
    assert starts_in([3.0, 4.0], slots=2, busy=[2.0]) == 3.0
    assert starts_in([None], slots=1, busy=[None, 1.0]) == 0.0
