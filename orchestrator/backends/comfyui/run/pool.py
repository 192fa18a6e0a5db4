"""Several ComfyUI servers: each job goes where it is done first, failing servers rest.

All knowledge about servers is asked for in the background: choosing waits only where nothing is
known yet, or where every server that suits has its two jobs of ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from .....core.comfyui_address import Address
from .....core.errors import CancelledError, EngineError, KizyError
from .server_choice import Candidate, Rest, Seconds, is_servers_fault, pick

if TYPE_CHECKING:
    from ..workflows.server_facts import ServerFacts

Spawn = Callable[[Callable[[], None]], None]
_T = TypeVar("_T")


class Queue(Protocol):
    """Prompt ids of everybody."""

    @property
    def running(self) -> Collection[str]: ...
    @property
    def pending(self) -> Collection[str]: ...


class Member(Protocol):
    """A server, as the pool uses it: ComfyClient is one. All methods raise EngineError."""

    @property
    def address(self) -> Address: ...
    def facts(self) -> ServerFacts: ...
    def refresh_facts(self) -> ServerFacts: ...
    def queue(self) -> Queue: ...


@dataclass(frozen=True)
class Needs:
    """What a job needs. `model`: its file's name; a server has the one loaded that it drew with.

    `suits`: raises KizyError, in words for the person, if a server with these facts cannot draw
    it. `cancelled`: asked while there is no free server. `patience`: seconds to wait for servers
    that rest, if no other suits.
    """

    model: str
    suits: Callable[[ServerFacts], object] = lambda facts: None
    cancelled: Callable[[], bool] = lambda: False
    patience: float = 0.0


@dataclass(frozen=True)
class PoolTiming:
    """All waits, in seconds.

    `first_facts`: for the others' facts, once one server is known to suit. `facts`, `queue`: after
    which a server's facts and queue are asked for again. `poll`: between two looks at `cancelled`.
    `rest`: the first pause of a server that fails.
    """

    first_facts: float = 2.0
    facts: float = 30.0
    queue: float = 2.0
    poll: float = 0.1
    rest: float = Rest.first


@dataclass(eq=False)
class _Slot:
    """A member and what is known about it. The pool's lock guards all of it."""

    member: Member
    rest: Rest
    facts: ServerFacts | None = None
    facts_at: float = float("-inf")
    asking_facts: bool = False
    others: int = 0
    queue_at: float = float("-inf")
    asking_queue: bool = False
    loaded: str | None = None
    error: KizyError | None = None
    leases: list[Lease] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.member.address.name


@dataclass(frozen=True)
class _Verdict:
    """Why a server with these facts cannot draw a job; None if it can."""

    facts: ServerFacts
    refusal: KizyError | None


class Lease:
    """One job's place on a server, given back at the end of the `with` block.

    `since`: when it had the server to itself, as far as our jobs go. `waited`: another of ours was
    there before it.
    """

    def __init__(self, pool: Pool, slot: _Slot, model: str, since: float) -> None:
        self._pool = pool
        self._slot = slot
        self.member = slot.member
        self.model = model
        self.since = since
        self.loaded = slot.loaded == model
        self.waited = bool(slot.leases)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_back()

    def succeeded(self, seconds: float) -> None:
        """The job was drawn, so many seconds after it was sent."""
        self._pool._succeeded(self._slot, self, seconds)

    def failed(self, error: BaseException) -> None:
        """The job failed; the server rests if it is to blame (`choice.SERVERS_FAULT`)."""
        self._pool._failed(self._slot, error)

    def give_back(self) -> None:
        """The job is no longer there. May be called again."""
        self._pool._give_back(self._slot, self)


class Pool:
    """Servers and our jobs on them. Any thread may call."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        clock: Callable[[], float] = time.monotonic,
        timing: PoolTiming | None = None,
        on_stuck: Callable[[Address], object] = lambda address: None,
        spawn: Spawn | None = None,
    ) -> None:
        self._clock = clock
        self._timing = timing or PoolTiming()
        self._on_stuck = on_stuck
        self._spawn = spawn or _in_a_thread
        self._slots = [_Slot(member, Rest(self._timing.rest)) for member in members]
        self._seconds = Seconds()
        # Guards the list of slots, each slot's jobs and rest, and the learned seconds. Threads of
        # jobs take a place, give it back and wait for one; whoever plans changes the servers. Told
        # of each change. No server is asked while it is held.
        self._changed = threading.Condition()

    @property
    def members(self) -> list[Member]:
        return [slot.member for slot in self._slots]

    def use(self, members: Sequence[Member]) -> None:
        """From now on these. Jobs on others go on there, but no more go to them."""
        with self._changed:
            known = {id(slot.member): slot for slot in self._slots}
            self._slots = [
                known.get(id(member)) or _Slot(member, Rest(self._timing.rest))
                for member in members
            ]
            self._changed.notify_all()

    def choose(self, needs: Needs, *, exclude: Collection[str] = ()) -> Lease:
        """A place for one job; `exclude`: names of servers where it failed already.

        Waits while all servers that suit are full. Raises the KizyError of `needs.suits` if no
        server suits, EngineError of the servers (`server_unreachable`, ...) if all that could are
        resting, CancelledError.
        """
        begin = self._clock()
        verdicts: dict[str, _Verdict] = {}
        while True:
            if needs.cancelled():
                raise CancelledError("cancelled", "Stopped while it waited for a server.")
            with self._changed:
                slots = [slot for slot in self._slots if slot.name not in exclude]
                self._ask_what_is_old(slots)
                known = [(slot, slot.facts) for slot in slots if slot.facts is not None]
            for slot, facts in known:
                if slot.name not in verdicts or verdicts[slot.name].facts is not facts:
                    verdicts[slot.name] = _Verdict(facts, _refusal(needs, facts))
            with self._changed:
                lease = self._grant(slots, needs, verdicts, begin)
                if lease is not None:
                    return lease
                self._changed.wait(self._timing.poll)

    def could_draw(self, needs: Needs, *, exclude: Collection[str] = ()) -> bool:
        """Whether another server is known to suit and does not rest; asks nobody."""
        with self._changed:
            now = self._clock()
            known = [
                slot.facts
                for slot in self._slots
                if slot.name not in exclude and not slot.rest.resting(now)
            ]
        return any(facts is not None and _refusal(needs, facts) is None for facts in known)

    # All below is called with the lock, but for the callbacks of leases and of `spawn`.

    def _grant(
        self,
        slots: list[_Slot],
        needs: Needs,
        verdicts: dict[str, _Verdict],
        begin: float,
    ) -> Lease | None:
        """A lease, or None if it is worth waiting. Raises what `choose` raises."""
        now = self._clock()
        awake = [slot for slot in slots if not slot.rest.resting(now)]
        judged = {
            slot.name: verdicts[slot.name].refusal
            for slot in slots
            if slot.name in verdicts and verdicts[slot.name].facts is slot.facts
        }
        suitable = [slot for slot in awake if judged.get(slot.name, slot) is None]
        pending = [slot for slot in awake if slot.asking_facts and slot.name not in judged]
        if suitable and (not pending or now - begin >= self._timing.first_facts):
            chosen = pick(self._candidate(slot, needs.model, now) for slot in suitable)
            slot = next((x for x in suitable if chosen and x.name == chosen.name), None)
            return None if slot is None else self._lease(slot, needs.model, now)
        if suitable or pending or any(slot.name not in judged for slot in awake):
            return None
        if self._ask_those_that_refuse(awake, begin):
            return None
        resting = [slot for slot in slots if slot.rest.resting(now)]
        if now - begin < needs.patience and any(not judged.get(x.name) for x in resting):
            return None
        raise _why_not(slots, judged)

    def _candidate(self, slot: _Slot, model: str, now: float) -> Candidate:
        loaded = slot.loaded == model
        work = 0.0
        for index, lease in enumerate(slot.leases):
            expected = self._seconds.expect(slot.name, lease.model, loaded=lease.loaded)
            # The first has been at it since it was sent; the second has not begun.
            work += max(0.0, expected - (now - lease.since)) if index == 0 else expected
        return Candidate(
            name=slot.name,
            loaded=loaded,
            ours=len(slot.leases),
            work=work,
            others=slot.others,
            each=self._seconds.usual(slot.name),
            job=self._seconds.expect(slot.name, model, loaded=loaded),
            room=1 if slot.rest.on_trial else 2,
        )

    def _lease(self, slot: _Slot, model: str, now: float) -> Lease:
        lease = Lease(self, slot, model, now)
        slot.leases.append(lease)
        slot.loaded = model
        return lease

    def _ask_what_is_old(self, slots: list[_Slot]) -> None:
        now = self._clock()
        for slot in slots:
            if slot.rest.resting(now):
                continue
            if now - slot.facts_at >= self._timing.facts:
                self._ask_facts(slot, slot.member.facts)
            # With one server there is nothing to choose.
            if len(self._slots) > 1 and now - slot.queue_at >= self._timing.queue:
                self._ask_queue(slot)

    def _ask_those_that_refuse(self, slots: list[_Slot], begin: float) -> bool:
        """Before a refusal is final: a file may have been put there a moment ago."""
        old = [slot for slot in slots if slot.facts_at < begin]
        for slot in old:
            self._ask_facts(slot, slot.member.refresh_facts)
        return bool(old)

    def _ask_facts(self, slot: _Slot, ask: Callable[[], ServerFacts]) -> None:
        if slot.asking_facts:
            return
        slot.asking_facts = True

        def work() -> None:
            facts, error = _tried(ask)
            with self._changed:
                slot.asking_facts = False
                slot.facts_at = self._clock()
                if facts is not None:
                    slot.facts = facts
                if error is not None:
                    slot.facts_at = float("-inf")
                    self._rest(slot, error)
                self._changed.notify_all()

        self._spawn(work)

    def _ask_queue(self, slot: _Slot) -> None:
        if slot.asking_queue:
            return
        slot.asking_queue = True
        before = len(slot.leases)

        def work() -> None:
            queue, error = _tried(slot.member.queue)
            with self._changed:
                slot.asking_queue = False
                slot.queue_at = self._clock()
                if queue is not None:
                    length = len(queue.running) + len(queue.pending)
                    # A job of ours that ended while the answer came is none of others.
                    slot.others = max(0, length - max(before, len(slot.leases)))
                if error is not None:
                    self._rest(slot, error)
                self._changed.notify_all()

        self._spawn(work)

    def _rest(self, slot: _Slot, error: KizyError) -> None:
        slot.rest.fail(self._clock())
        slot.error = error
        slot.loaded = None

    def _succeeded(self, slot: _Slot, lease: Lease, seconds: float) -> None:
        with self._changed:
            if lease.waited:
                seconds = min(seconds, self._clock() - lease.since)
            self._seconds.learn(slot.name, lease.model, seconds, loaded=lease.loaded)
            slot.rest.succeed()
            slot.error = None
            self._changed.notify_all()

    def _failed(self, slot: _Slot, error: BaseException) -> None:
        if not isinstance(error, KizyError) or not is_servers_fault(error):
            return
        with self._changed:
            self._rest(slot, error)
            # It may come back as another: with other packs and models.
            slot.facts_at = float("-inf")
            self._changed.notify_all()
        if error.code == "server_stuck":
            self._on_stuck(slot.member.address)

    def _give_back(self, slot: _Slot, lease: Lease) -> None:
        with self._changed:
            if lease in slot.leases:
                slot.leases.remove(lease)
                # The one behind it begins now.
                for behind in slot.leases[:1]:
                    behind.since = self._clock()
                self._changed.notify_all()


def _refusal(needs: Needs, facts: ServerFacts) -> KizyError | None:
    try:
        needs.suits(facts)
    except KizyError as error:
        return error
    return None


def _why_not(slots: list[_Slot], judged: dict[str, KizyError | None]) -> KizyError:
    """Why no server takes a job: those that would, if they did not rest, say it first."""
    refusals = [error for error in judged.values() if error is not None]
    rests = [slot.error for slot in slots if slot.error is not None and slot.name not in judged]
    rests += [x.error for x in slots if x.error is not None and judged.get(x.name, x) is None]
    if refusals and not any(judged.get(slot.name, slot) is None for slot in slots):
        return refusals[-1]
    if len(rests) == 1:
        return rests[0]
    if not rests:
        return EngineError("server_unreachable", "No other server is left for this job.")
    reasons = " ".join(error.message for error in rests)
    return EngineError("server_unreachable", f"No server can be used now. {reasons}")


def _tried(ask: Callable[[], _T]) -> tuple[_T | None, KizyError | None]:
    try:
        return ask(), None
    except KizyError as error:
        return None, error
    except Exception as error:
        # Nobody waits for this thread: what it does not report is never known.
        text = f"A server's answer could not be used ({type(error).__name__}: {error})."
        return None, EngineError("server_failed", text)


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()
