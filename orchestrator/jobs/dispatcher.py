"""Begins what waits, whenever there is room: one thread, and one more for each job that runs.

Only the process that holds the deployment's lock dispatches; the others wait to take over, and
hear of jobs by looking at the table.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import RowMapping

from ...core.cores import leave_shared_core
from ...core.errors import EngineError, KizyError, StorageError
from ...core.job import ErrorInfo, Job
from ..backends.base import COMFYUI
from .event_poller import Elsewhere
from .lock import DispatcherLock
from .recorder import Ledger
from .schedule import Waiting, first_ready, in_order, starts_in
from .table import NewerRowError
from .watched_thread import WatchedThread

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""So often is looked for deadlines, rests that are over, and what other processes changed."""

MAX_CRASHES = 5
"""A job that took so many processes with it is not begun again."""

HANGS = 90.0
"""Seconds after which a round of the dispatcher hangs: a write may wait 30 for another process."""

MAX_OWNERS = 10_000
"""Of so many is remembered when they were served."""

HERE = "embedded"
"""The lane of what is drawn in this process, and goes with it."""


class Run(Protocol):
    """A claimed job."""

    job_id: str
    owner: str
    lane: str
    deadline: float | None
    expected: float | None

    waits: bool
    """Behind `run`: whether it waits again."""

    @property
    def parked(self) -> bool: ...

    def run(self) -> None: ...

    def stop(self, why: ErrorInfo | None = None) -> None: ...

    def park(self, *, here: bool) -> None: ...


class Dispatcher:
    """Hands jobs to runs. `make`: a claimed row -> what carries it out. `slots`: lane -> how many
    of its jobs run at once; may take its time, and is asked by the dispatcher's thread alone."""

    def __init__(
        self,
        ledger: Ledger,
        lock: DispatcherLock,
        make: Callable[[RowMapping], Run],
        slots: Callable[[str], int],
    ) -> None:
        self._ledger, self._lock_of_all, self._make, self._slots = ledger, lock, make, slots
        # Held by the dispatcher's thread while it begins jobs, by each job's thread when it ends,
        # and by those of requests, which add, stop, count and look. It guards all that follows.
        self._changed = threading.Condition()
        self._line: dict[str, Waiting] | None = None
        self._order: list[Waiting] | None = None
        self._running: dict[str, Run] = {}
        self._served: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._room: dict[str, int] = {}
        self._left_alone: set[str] = set()
        """Jobs that only a newer version can carry out."""
        self._unprepared: dict[str, ErrorInfo] = {}
        """Jobs that were claimed and could not be prepared, and why."""
        self._ending: set[str] = set()
        """Running jobs that this thread has asked to stop."""
        self._stale = True
        self._paused = False
        self._owns = False
        # Of the dispatcher's thread alone.
        self._elsewhere = Elsewhere(ledger)
        self._thread = WatchedThread("kizy-dispatcher", self._round, patience=HANGS)

    @property
    def problem(self) -> str | None:
        """Why jobs may not begin though they wait, in a sentence; None if all is well."""
        return self._thread.problem

    @property
    def dispatches(self) -> bool:
        """Whether this process begins jobs."""
        with self._changed:
            return self._owns

    @property
    def paused(self) -> bool:
        with self._changed:
            return self._paused

    def start(self) -> None:
        """Take up what an earlier process left, and begin."""
        with self._changed:
            self._paused = self._ledger.table.queue_paused()
            self._own()
        self._thread.start()

    def pause(self, paused: bool) -> None:
        """Begin nothing new until it is called with False. Raises StorageError."""
        self._ledger.table.pause_queue(paused)
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def wake(self, new: Waiting | None = None) -> None:
        """Something changed in the table; `new`: only this job was added."""
        with self._changed:
            if new is not None and self._line is not None and not self._stale:
                self._line[new.id] = new
            else:
                self._stale = True
            self._order = None
            self._changed.notify_all()

    def stop(self, job_id: str, why: ErrorInfo | None = None) -> bool:
        """Stop a job that runs here; whether it does."""
        with self._changed:
            run = self._running.get(job_id)
        if run is not None:
            run.stop(why)
        return run is not None

    def counts(self) -> tuple[int, int]:
        """(waiting, running)."""
        with self._changed:
            return len(self._waiting()), len(self._running)

    def running(self) -> Counter[str]:
        """Lane -> jobs that run here."""
        with self._changed:
            return Counter(run.lane for run in self._running.values())

    def seen(self, job: Job) -> Job:
        """A job with its place and the time that is left, waiting included."""
        if job.state != "queued":
            return job
        with self._changed:
            order = self._ordered()
            mine = next((one for one in order if one.id == job.id), None)
            if mine is None:
                return job
            ahead = order[: order.index(mine)]
            same = [one for one in ahead if one.lane == mine.lane and not one.paused]
            busy = [self._left(run) for run in self._running.values() if run.lane == mine.lane]
            room = self._room.get(mine.lane, 1)
        values: dict[str, object] = {"place": len(ahead) + 1}
        if mine.expected is not None:
            wait = starts_in((one.expected for one in same), room, busy)
            values["left"] = round(wait + mine.expected, 1)
        return job.model_copy(update=values)

    def close(self, patience: float) -> None:
        """Begin nothing more; what does not end in time is parked. Takes `patience` + 4 seconds
        at most. The deployment's lock is given back whatever happens."""
        try:
            with self._changed:
                self._thread.stop()
                self._changed.notify_all()
            self._wait_for_ends(time.monotonic() + patience)
            for run in self._runs():
                self._let_go(run)
            with self._changed:
                rest = time.monotonic() + 2.0
                while self._left_here() and time.monotonic() < rest:
                    self._changed.wait(0.05)
            self._thread.join(2.0)
            for run in self._runs():
                # Its thread still waits for a server; the job itself waits for the next process.
                self._park(run)
        finally:
            self._lock_of_all.release()

    def _runs(self) -> list[Run]:
        """What runs at this moment: the runs' own threads take themselves out meanwhile."""
        with self._changed:
            return list(self._running.values())

    def _wait_for_ends(self, until: float) -> None:
        with self._changed:
            while self._running and time.monotonic() < until:
                if not any(self._ends_by(run, until) for run in self._running.values()):
                    return
                self._changed.wait(0.1)

    def _let_go(self, run: Run) -> None:
        try:
            run.park(here=run.lane == HERE)
        except Exception:
            # The others are to be let go all the same.
            log.exception("job %s could not be let go", run.job_id)

    def _left_here(self) -> bool:
        return any(run.lane == HERE for run in self._running.values())

    def _park(self, run: Run) -> None:
        try:
            self._ledger.table.park(run.job_id)
        except StorageError:
            log.warning("job %s could not be parked; it is taken up as it is", run.job_id)

    def _ends_by(self, run: Run, until: float) -> bool:
        """Whether it may be worth waiting for: what is known to take longer is not."""
        left = self._left(run)
        return left is None or time.monotonic() + left <= until

    def _left(self, run: Run) -> float | None:
        if run.expected is None:
            return None
        return max(0.0, run.expected - (time.monotonic() - self._began.get(run.job_id, 0.0)))

    def _round(self) -> None:
        """Begin what can begin, wait for news, and look around: the thread does it for ever."""
        self._look_for_room()
        with self._changed:
            if self._thread.stopping:
                return
            try:
                self._own()
                begun = self._owns and self._begin_all()
            except KizyError as error:
                log.warning("the dispatcher rests: %s", error.message)
                begun = False
                self._stale = True
            except BaseException:
                # Whatever was under way: the table knows how things stand.
                self._stale = True
                raise
            if not begun:
                self._changed.wait(LOOK_SECONDS)
            if self._thread.stopping:
                return
        self._look()

    def _look_for_room(self) -> None:
        """How many jobs each lane takes: asked without the lock, which requests wait for."""
        with self._changed:
            lanes = {one.lane for one in (self._line or {}).values()} | set(self._room)
        for lane in lanes:
            try:
                room = self._slots(lane)
            except KizyError as error:
                log.warning("how many jobs %s takes is not known: %s", lane, error.message)
                room = 1
            with self._changed:
                self._room[lane] = room

    def _look(self) -> None:
        """What time brings: deadlines, and what other processes did."""
        try:
            self._end_late()
            self._hear()
        except KizyError as error:
            log.warning("the dispatcher could not look around: %s", error.message)

    def _own(self) -> None:
        """Become the one that dispatches, if nobody is, and take up what was left behind."""
        if self._owns:
            if not self._lock_of_all.still_held():
                log.warning("another process dispatches from now on")
                self._owns = False
                for run in self._running.values():
                    run.park(here=False)
            return
        if not self._lock_of_all.take():
            return
        for row in self._ledger.table.running():
            self._take_up(row)
        self._owns, self._stale = True, True

    def _take_up(self, row: RowMapping) -> None:
        """A job that ran when its process died."""
        if row["lane"] != HERE:
            self._ledger.table.park(row["id"])
            return
        if self._ledger.table.crashed(row["id"]) >= MAX_CRASHES:
            error = EngineError(
                "drawing_failed",
                f"Kizy died {MAX_CRASHES} times while this was drawn.",
                fix="Draw it smaller or with another model; free memory first.",
            )
            info = ErrorInfo(**error.as_dict())
            self._ledger.end(row["id"], "failed", info, begun=False)

    def _begin_all(self) -> bool:
        """Fill the slots; whether anything was begun, or a lane is new and its room not known."""
        begun = False
        self._end_unprepared()
        while not self._paused and not self._thread.stopping:
            one = self._next()
            if one is None:
                break
            self._waiting().pop(one.id, None)
            self._order = None
            try:
                row = self._ledger.table.claim(one.id)
            except NewerRowError:
                log.warning("job %s is of a newer version of Kizy, and left to that", one.id)
                self._left_alone.add(one.id)
                continue
            if row is None:
                # Cancelled or changed by somebody else at this moment.
                self._stale = True
                continue
            self._begin(row)
            begun = True
        return begun or any(one.lane not in self._room for one in self._ordered())

    def _next(self) -> Waiting | None:
        now = self._ledger.table.now()
        busy = Counter(run.lane for run in self._running.values())
        order = self._ordered()
        for lane in dict.fromkeys(one.lane for one in order):
            if busy[lane] < self._room.get(lane, 1):
                one = first_ready((one for one in order if one.lane == lane), now)
                if one is not None:
                    return one
        return None

    def _begin(self, row: RowMapping) -> None:
        try:
            run = self._make(row)
        except Exception as failure:
            self._fail(row, failure)
            return
        self._running[run.job_id] = run
        self._served.pop(run.owner, None)
        self._served[run.owner] = self._ledger.table.now()
        if len(self._served) > MAX_OWNERS:
            # The one who was served longest ago: whoever is unknown counts as such anyway.
            del self._served[next(iter(self._served))]
        self._began[run.job_id] = time.monotonic()
        name = f"kizy-job-{run.job_id[:8]}"
        thread = threading.Thread(target=self._carry_out, args=(run, row), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            # The system has no thread left.
            self._running.pop(run.job_id, None)
            self._began.pop(run.job_id, None)
            self._fail(row, failure)

    def _fail(self, row: RowMapping, failure: Exception) -> None:
        """A job that cannot even be prepared is over: it would run for ever."""
        if not isinstance(failure, KizyError):
            log.error("job %s could not be prepared", row["id"], exc_info=failure)
            text = f"It could not be prepared ({type(failure).__name__}: {failure})."
            failure = EngineError("drawing_failed", text, fix="Report it if it happens again.")
        self._unprepared[row["id"]] = ErrorInfo(**failure.as_dict())
        self._end_unprepared()

    def _end_unprepared(self) -> None:
        """Raises StorageError; those whose end was not written down are kept for the next round."""
        for job_id in list(self._unprepared):
            self._ledger.end(job_id, "failed", self._unprepared[job_id])
            del self._unprepared[job_id]

    def _carry_out(self, run: Run, row: RowMapping) -> None:
        try:
            if run.lane != COMFYUI:
                # It computes in this process, or starts what does.
                leave_shared_core()
            try:
                self._ledger.state(run.job_id)
                if row["cancelled"]:
                    run.stop()
            except KizyError as error:
                log.warning("job %s: %s", run.job_id, error.message)
            run.run()
        except BaseException:
            # Its end is written down by `run`; here it only must not keep its place for ever.
            log.exception("job %s", run.job_id)
        finally:
            self._ledger.forget(run.job_id)
            with self._changed:
                self._running.pop(run.job_id, None)
                self._began.pop(run.job_id, None)
                self._ending.discard(run.job_id)
                self._stale = self._stale or run.parked or run.waits
                self._changed.notify_all()

    def _waiting(self) -> dict[str, Waiting]:
        if self._line is None or self._stale:
            self._line = {one.id: one for one in self._ledger.table.waiting()}
            self._order, self._stale = None, False
        return self._line

    def _ordered(self) -> list[Waiting]:
        waiting = self._waiting()
        if self._order is None:
            running = Counter(run.owner for run in self._running.values())
            ours = [one for one in waiting.values() if one.id not in self._left_alone]
            self._order = in_order(ours, running=running, served=self._served)
        return self._order

    def _end_late(self) -> None:
        """Jobs whose deadline has passed fail, waiting or running."""
        now = self._ledger.table.now()
        with self._changed:
            if not self._owns:
                return
            waiting = [one.id for one in self._ordered() if _is_late(one.deadline, now)]
            runs = [run for run in self._running.values() if _is_late(run.deadline, now)]
        for run in runs:
            self._stop_aside(run, _LATE)
        for job_id in waiting:
            self._ledger.end(job_id, "failed", _LATE, begun=False)
        if waiting:
            self.wake()

    def _stop_aside(self, run: Run, why: ErrorInfo | None = None) -> None:
        """Stop a run once, in a thread of its own: a server that hangs may take a minute to be
        asked, and everything else waits for the dispatcher's thread."""
        with self._changed:
            if run.job_id in self._ending or run.job_id not in self._running:
                return
            self._ending.add(run.job_id)
        name = f"kizy-stop-{run.job_id[:8]}"
        threading.Thread(target=self._stop, args=(run, why), name=name, daemon=True).start()

    def _stop(self, run: Run, why: ErrorInfo | None) -> None:
        try:
            run.stop(why)
        except Exception:
            log.exception("job %s could not be stopped", run.job_id)
            with self._changed:
                # It is asked again at the next look.
                self._ending.discard(run.job_id)

    def _hear(self) -> None:
        """What other processes on the same database wrote down."""
        if not self._lock_of_all.shared:
            return
        paused = self._ledger.table.queue_paused()
        with self._changed:
            self._stale, self._paused = True, paused
            owns, running = self._owns, dict(self._running)
        if owns:
            for job_id in self._ledger.table.to_cancel():
                if job_id in running:
                    self._stop_aside(running[job_id])
            self._elsewhere.skip()
            return
        self._elsewhere.tell()


_LATE = ErrorInfo(
    **EngineError("deadline_passed", "The job was not done by its deadline.").as_dict()
)


def _is_late(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now
