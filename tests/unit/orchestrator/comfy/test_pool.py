"""Which server draws a job, with plain data; and the pool around it, told the time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import CancelledError, EngineError, KizyError
from kizy.orchestrator.backends.comfyui.run.pool import Needs, Pool, PoolTiming
from kizy.orchestrator.backends.comfyui.run.server_choice import (
    Candidate,
    Rest,
    Seconds,
    is_servers_fault,
    pick,
)

WAIT = 20.0
AWAY = EngineError("server_unreachable", "Nothing answers at b.")


def chosen(*candidates: Candidate) -> str | None:
    found = pick(candidates)
    return found.name if found else None


def test_a_free_server_with_the_model_loaded_is_taken() -> None:
    assert chosen(Candidate("a", job=30), Candidate("b", loaded=True, job=20)) == "b"


def test_of_equal_servers_the_one_with_the_shorter_wait_is_taken() -> None:
    assert chosen(Candidate("a", ours=1, work=15), Candidate("b", ours=1, work=5)) == "b"


def test_the_jobs_of_others_count() -> None:
    assert chosen(Candidate("a", others=3, each=10), Candidate("b", ours=1, work=20)) == "b"


def test_loading_the_model_elsewhere_beats_a_long_queue_where_it_is_loaded() -> None:
    busy = Candidate("a", loaded=True, ours=1, work=60, job=20)
    assert chosen(busy, Candidate("b", job=30)) == "b"


def test_a_short_wait_beats_loading_the_model_elsewhere() -> None:
    busy = Candidate("a", loaded=True, ours=1, work=5, job=20)
    assert chosen(busy, Candidate("b", job=30)) == "a"


def test_no_server_gets_a_third_job_of_ours() -> None:
    full = Candidate("a", loaded=True, ours=2)
    assert chosen(full, Candidate("b", others=9)) == "b"
    assert chosen(full) is None


def test_rests_double_up_to_five_minutes_and_end_with_a_success() -> None:
    rest, now, pauses = Rest(), 0.0, []
    for _ in range(8):
        rest.fail(now)
        pauses.append(rest.until - now)
        now = rest.until
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    rest.succeed()
    assert not rest.resting(now) and not rest.on_trial


def test_what_fails_during_a_rest_does_not_lengthen_it() -> None:
    rest = Rest()
    rest.fail(0.0)
    rest.fail(1.0)
    assert rest.until == 5.0


def test_seconds_are_learned_by_server_and_model() -> None:
    seconds = Seconds()
    seconds.learn("a", "m", 40.0, loaded=False)
    seconds.learn("a", "m", 10.0, loaded=True)
    seconds.learn("b", "m", 4.0, loaded=True)
    assert seconds.expect("a", "m", loaded=False) == 40.0
    assert seconds.expect("a", "m", loaded=True) == 10.0
    assert seconds.expect("b", "m", loaded=True) == 4.0


def test_newer_seconds_count_more() -> None:
    seconds = Seconds()
    for _ in range(20):
        seconds.learn("a", "m", 10.0, loaded=True)
    for _ in range(20):
        seconds.learn("a", "m", 2.0, loaded=True)
    assert seconds.expect("a", "m", loaded=True) == pytest.approx(2.0, abs=0.1)


def test_a_server_without_history_is_expected_to_be_as_the_others() -> None:
    seconds = Seconds()
    seconds.learn("a", "m", 4.0, loaded=True)
    assert seconds.expect("b", "m", loaded=True) == 4.0


@pytest.mark.parametrize(
    ("error", "servers"),
    [
        (EngineError("server_unreachable", "x"), True),
        (EngineError("server_stuck", "x"), True),
        (EngineError("server_disk_full", "x"), True),
        (EngineError("server_failed", "x"), False),
        (EngineError("out_of_memory", "x"), False),
        (CancelledError("cancelled", "x"), False),
        (ValueError("x"), False),
    ],
)
def test_only_some_errors_are_the_servers_fault(error: BaseException, servers: bool) -> None:
    assert is_servers_fault(error) is servers


# The pool


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Queue:
    running: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)


@dataclass
class Server:
    """A member that answers from its fields, and counts."""

    name: str
    models: set[str] = field(default_factory=lambda: {"m"})
    length: int = 0
    error: KizyError | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return Address(self.name, f"http://{self.name}")

    def facts(self) -> Any:
        return self._answer("facts", frozenset(self.models))

    def refresh_facts(self) -> Any:
        return self._answer("refresh", frozenset(self.models))

    def queue(self) -> Queue:
        return self._answer("queue", Queue(pending=["x"] * self.length))

    def _answer(self, what: str, answer: Any) -> Any:
        self.asked.append(what)
        if self.error is not None:
            raise self.error
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., Pool]


@pytest.fixture
def make(clock: Clock) -> Make:
    def pool(*servers: Server, **options: Any) -> Pool:
        timing = PoolTiming(poll=0.001)
        return Pool(servers, clock=clock, timing=timing, spawn=lambda work: work(), **options)

    return pool


def needs(model: str = "m", **options: Any) -> Needs:
    def suits(facts: Any) -> None:
        if model not in facts:
            raise EngineError("server_model_missing", f"It has no {model}.")

    return Needs(model, suits, **options)


def draw(pool: Pool, model: str = "m", seconds: float = 10.0, **options: Any) -> str:
    with pool.choose(needs(model), **options) as lease:
        lease.succeeded(seconds)
        return lease.member.address.name


def test_a_job_goes_back_to_the_server_that_drew_with_its_model(make: Make) -> None:
    pool = make(Server("a", {"m", "n"}), Server("b", {"m", "n"}))
    assert [draw(pool, "m"), draw(pool, "n", exclude=["a"])] == ["a", "b"]
    assert [draw(pool, "m"), draw(pool, "n"), draw(pool, "m")] == ["a", "b", "a"]


def test_a_job_goes_only_where_all_is_that_it_needs(make: Make) -> None:
    assert draw(make(Server("a", {"x"}), Server("b", {"m"}))) == "b"


def test_jobs_are_spread_over_free_servers(make: Make) -> None:
    pool = make(*(Server(name) for name in "abcd"))
    leases = [pool.choose(needs()) for _ in range(8)]
    names = [lease.member.address.name for lease in leases]
    assert sorted(names[:4]) == sorted(names[4:]) == list("abcd")


def test_a_server_with_jobs_of_others_is_left_to_them(make: Make) -> None:
    assert draw(make(Server("a", length=3), Server("b"))) == "b"


def test_our_own_jobs_on_a_server_are_not_taken_for_those_of_others(
    make: Make, clock: Clock
) -> None:
    a, b = Server("a"), Server("b", length=1)
    pool = make(a, b)
    first = pool.choose(needs())
    a.length = 1
    assert first.member is a
    clock.now += 3
    with first, pool.choose(needs()) as second:
        assert second.member is a


def test_with_one_server_its_queue_is_not_asked_for(make: Make) -> None:
    only = Server("a")
    draw(make(only))
    assert only.asked == ["facts"]


def test_a_third_job_waits_until_one_ends(clock: Clock) -> None:
    pool = Pool([Server("a")], clock=clock, spawn=lambda work: work())
    first, _second = pool.choose(needs()), pool.choose(needs())
    got: list[str] = []

    def third() -> None:
        got.append(pool.choose(needs()).member.address.name)

    thread = threading.Thread(target=third)
    thread.start()
    thread.join(0.02)
    assert got == []
    first.give_back()
    thread.join(WAIT)
    assert got == ["a"]


def test_the_time_behind_another_job_of_ours_is_not_learned(make: Make, clock: Clock) -> None:
    both = {"m", "n"}
    pool = make(Server("a", both), Server("b", both))
    draw(pool, "m", seconds=10.0, exclude=["b"])
    draw(pool, "m", seconds=25.0, exclude=["a"])
    draw(pool, "n", seconds=25.0, exclude=["a"])
    first, second = (pool.choose(needs(), exclude=["b"]) for _ in range(2))
    for lease, sent_before in ((first, 10.0), (second, 20.0)):
        clock.now += 10
        with lease:
            lease.succeeded(sent_before)
    # A job behind another on a: 20 seconds of work; on b 25, with the model to be loaded.
    assert [pool.choose(needs()).member.address.name for _ in range(2)] == ["a", "a"]


def test_who_waits_can_be_cancelled(make: Make) -> None:
    pool = make(Server("a"))
    with pool.choose(needs()), pool.choose(needs()):
        answers = iter([False, False, True])
        with pytest.raises(CancelledError):
            pool.choose(needs(cancelled=lambda: next(answers)))


def test_a_failing_server_rests_and_is_tried_again(make: Make, clock: Clock) -> None:
    pool = make(Server("a"), Server("b"))
    with pool.choose(needs()) as lease:
        assert lease.member.address.name == "a"
        lease.failed(AWAY)
    assert [draw(pool) for _ in range(3)] == ["b", "b", "b"]
    clock.now += 6
    with pool.choose(needs(), exclude=["b"]) as lease:
        assert lease.member.address.name == "a"


def test_a_server_on_trial_gets_one_job(make: Make, clock: Clock) -> None:
    pool = make(Server("a"))
    with pool.choose(needs()) as lease:
        lease.failed(AWAY)
    clock.now += 6
    with pool.choose(needs()) as lease:
        answers = iter([False, True])
        with pytest.raises(CancelledError):
            pool.choose(needs(cancelled=lambda: next(answers)))
        lease.succeeded(1.0)
        pool.choose(needs()).give_back()


def test_a_job_that_is_to_blame_lets_no_server_rest(make: Make) -> None:
    pool = make(Server("a"))
    with pool.choose(needs()) as lease:
        lease.failed(EngineError("out_of_memory", "Too large."))
    assert draw(pool) == "a"


def test_when_all_rest_their_error_is_told(make: Make) -> None:
    pool = make(Server("b", error=AWAY))
    with pytest.raises(EngineError) as caught:
        pool.choose(needs())
    assert caught.value is AWAY


def test_a_job_that_has_begun_waits_for_a_server_that_rests(make: Make, clock: Clock) -> None:
    def a_second_goes_by() -> bool:
        clock.now += 1
        return False

    pool = make(Server("a"))
    with pool.choose(needs()) as lease:
        lease.failed(AWAY)
    with pytest.raises(EngineError) as caught:
        pool.choose(needs(patience=3.0, cancelled=a_second_goes_by))
    assert caught.value is AWAY
    with pool.choose(needs(patience=3.0, cancelled=a_second_goes_by)) as lease:
        assert lease.member.address.name == "a"


def test_when_several_rest_all_are_named(make: Make) -> None:
    refused = EngineError("server_refused", "a wants a key.")
    pool = make(Server("a", error=refused), Server("b", error=AWAY))
    with pytest.raises(EngineError, match=r"a wants a key\. Nothing answers at b\.") as caught:
        pool.choose(needs())
    assert caught.value.code == "server_unreachable"


def test_when_no_server_suits_the_reason_is_told(make: Make) -> None:
    with pytest.raises(EngineError, match=r"It has no m\.") as caught:
        make(Server("a", {"x"}), Server("b", {"y"})).choose(needs())
    assert caught.value.code == "server_model_missing"


def test_a_resting_server_that_would_suit_is_told_before_others_refusals(make: Make) -> None:
    a, b = Server("a", {"x"}), Server("b")
    pool = make(a, b)
    with pool.choose(needs()) as lease:
        lease.failed(AWAY)
    with pytest.raises(EngineError) as caught:
        pool.choose(needs())
    assert caught.value is AWAY


def test_where_the_job_failed_before_it_does_not_go_again(make: Make) -> None:
    pool = make(Server("a"), Server("b"))
    assert draw(pool, exclude=["a"]) == "b"
    with pytest.raises(EngineError) as caught:
        pool.choose(needs(), exclude=["a", "b"])
    assert caught.value.code == "server_unreachable"


def test_before_a_refusal_the_server_is_asked_anew(make: Make, clock: Clock) -> None:
    server = Server("a", {"x"})
    pool = make(server)
    draw(pool, "x")
    clock.now += 1
    server.models.add("m")
    assert draw(pool, "m") == "a"
    assert server.asked == ["facts", "refresh"]


def test_facts_are_asked_for_again_after_a_while(make: Make, clock: Clock) -> None:
    server = Server("a")
    pool = make(server)
    draw(pool)
    clock.now += 31
    draw(pool)
    assert server.asked == ["facts", "facts"]


def test_a_server_that_does_not_answer_its_queue_rests(make: Make, clock: Clock) -> None:
    a, b = Server("a"), Server("b")
    pool = make(a, b)
    draw(pool)
    a.error = AWAY
    clock.now += 3
    assert draw(pool) == "b"


def test_a_slow_servers_facts_hold_nobody_up_for_long(clock: Clock) -> None:
    held: list[Callable[[], None]] = []
    waiting = Server("slow")

    def spawn(work: Callable[[], None]) -> None:
        # The first question of all goes to the slow one; each later look at the clock is later.
        if not held:
            held.append(work)
        else:
            work()

    def later() -> float:
        clock.now += 0.5
        return clock.now

    pool = Pool([waiting, Server("b")], clock=later, timing=PoolTiming(poll=0.001), spawn=spawn)
    assert draw(pool) == "b"
    assert waiting.asked == ["queue"]


def test_a_stuck_server_is_reported_to_who_can_restart_it(make: Make) -> None:
    told: list[Address] = []
    pool = make(Server("a"), on_stuck=told.append)
    with pool.choose(needs()) as lease:
        lease.failed(EngineError("server_stuck", "Nothing runs on a."))
    assert [address.name for address in told] == ["a"]


def test_whether_another_server_could_draw_is_known_without_asking(
    make: Callable[..., Pool],
) -> None:
    pool = make(Server("a"), Server("b"))
    lease = pool.choose(Needs("sdxl"))
    here = {lease.member.address.name}
    assert pool.could_draw(Needs("sdxl"), exclude=here)
    assert not pool.could_draw(Needs("sdxl"), exclude={"a", "b"})

    def suits(facts: object) -> None:
        raise EngineError("server_model_missing", "It has no such model.")

    assert not pool.could_draw(Needs("sdxl", suits=suits), exclude=here)
    lease.failed(AWAY)
    assert not pool.could_draw(Needs("sdxl"), exclude={"a", "b"} - here)


def test_a_place_is_given_back_once(make: Make) -> None:
    pool = make(Server("a"))
    lease = pool.choose(needs())
    lease.give_back()
    lease.give_back()
    assert [pool.choose(needs()).member.address.name for _ in range(2)] == ["a", "a"]


def test_many_threads_never_put_more_than_two_jobs_on_a_server() -> None:
    servers = [Server(name) for name in "abc"]
    pool = Pool(servers)
    counts: dict[str, int] = dict.fromkeys("abc", 0)
    most: list[int] = []
    guard = threading.Lock()

    def work() -> None:
        for _ in range(20):
            with pool.choose(needs()) as lease:
                name = lease.member.address.name
                with guard:
                    counts[name] += 1
                    most.append(counts[name])
                lease.succeeded(0.001)
                with guard:
                    counts[name] -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(most) == 240 and max(most) <= 2
