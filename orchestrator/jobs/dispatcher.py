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
from ..engines.base import COMFYUI
from .elsewhere import Elsewhere
from .ledger import Ledger
from .line import Waiting, first_ready, in_order, starts_in
from .lock import DispatcherLock

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""So often is looked for deadlines, rests that are over, and what other processes changed."""

MAX_CRASHES = 5
"""A job that took so many processes with it is not begun again."""

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
    of its jobs run at once."""

    def __init__(
        self,
        ledger: Ledger,
        lock: DispatcherLock,
        make: Callable[[RowMapping], Run],
        slots: Callable[[str], int],
        *,
        each_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger, self._lock_of_all, self._make, self._slots = ledger, lock, make, slots
        self._each_look = each_look
        self._changed = threading.Condition()
        self._line: dict[str, Waiting] | None = None
        self._order: list[Waiting] | None = None
        self._running: dict[str, Run] = {}
        self._served: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._stale = True
        self._paused = False
        self._closing = False
        self._owns = False
        self._elsewhere = Elsewhere(ledger)
        self._thread = threading.Thread(target=self._work, name="kizy-dispatcher", daemon=True)

    @property
    def dispatches(self) -> bool:
        """Whether this process begins jobs."""
        return self._owns

    @property
    def paused(self) -> bool:
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
        values: dict[str, object] = {"place": len(ahead) + 1}
        if mine.expected is not None:
            wait = starts_in((one.expected for one in same), self._slots(mine.lane), busy)
            values["left"] = round(wait + mine.expected, 1)
        return job.model_copy(update=values)

    def close(self, patience: float) -> None:
        """Begin nothing more; what does not end in time is parked. Takes `patience` + 2 seconds
        at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = time.monotonic() + patience
        with self._changed:
            while self._running and time.monotonic() < until:
                if not any(self._ends_by(run, until) for run in self._running.values()):
                    break
                self._changed.wait(0.1)
            runs = list(self._running.values())
        for run in runs:
            run.park(here=run.lane == HERE)
        with self._changed:
            rest = time.monotonic() + 2.0
            while self._left_here() and time.monotonic() < rest:
                self._changed.wait(0.05)
        if self._thread.is_alive():
            self._thread.join(2.0)
        for run in self._running.values():
            # Its thread still waits for a server; the job itself waits for the next process.
            self._park(run)
        self._lock_of_all.release()

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

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                try:
                    self._own()
                    begun = self._owns and self._begin_all()
                except KizyError as error:
                    log.warning("the dispatcher rests: %s", error.message)
                    begun = False
                    self._stale = True
                if not begun:
                    self._changed.wait(LOOK_SECONDS)
                if self._closing:
                    return
            self._look()

    def _look(self) -> None:
        """What time brings: deadlines, and what other processes did."""
        try:
            self._end_late()
            self._hear()
            self._each_look()
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
        """Fill the slots; whether anything was begun."""
        begun = False
        while not self._paused and not self._closing:
            one = self._next()
            if one is None:
                return begun
            self._waiting().pop(one.id, None)
            self._order = None
            row = self._ledger.table.claim(one.id)
            if row is None:
                # Cancelled or changed by somebody else at this moment.
                self._stale = True
                continue
            self._begin(row)
            begun = True
        return begun

    def _next(self) -> Waiting | None:
        now = self._ledger.table.now()
        busy = Counter(run.lane for run in self._running.values())
        order = self._ordered()
        for lane in dict.fromkeys(one.lane for one in order):
            if busy[lane] < self._slots(lane):
                one = first_ready((one for one in order if one.lane == lane), now)
                if one is not None:
                    return one
        return None

    def _begin(self, row: RowMapping) -> None:
        run = self._make(row)
        self._running[run.job_id] = run
        self._served.pop(run.owner, None)
        self._served[run.owner] = self._ledger.table.now()
        if len(self._served) > MAX_OWNERS:
            # The one who was served longest ago: whoever is unknown counts as such anyway.
            del self._served[next(iter(self._served))]
        self._began[run.job_id] = time.monotonic()
        name = f"kizy-job-{run.job_id[:8]}"
        threading.Thread(target=self._carry_out, args=(run, row), name=name, daemon=True).start()

    def _carry_out(self, run: Run, row: RowMapping) -> None:
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
        with self._changed:
            self._running.pop(run.job_id, None)
            self._began.pop(run.job_id, None)
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
            self._order = in_order(waiting.values(), running=running, served=self._served)
        return self._order

    def _end_late(self) -> None:
        """Jobs whose deadline has passed fail, waiting or running."""
        now = self._ledger.table.now()
        with self._changed:
            if not self._owns:
                return
            waiting = [one.id for one in self._waiting().values() if _is_late(one.deadline, now)]
            runs = [run for run in self._running.values() if _is_late(run.deadline, now)]
        for run in runs:
            run.stop(_LATE)
        for job_id in waiting:
            self._ledger.end(job_id, "failed", _LATE, begun=False)
        if waiting:
            self.wake()

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
                    running[job_id].stop()
            self._elsewhere.skip()
            return
        self._elsewhere.tell()


_LATE = ErrorInfo(
    **EngineError("deadline_passed", "The job was not done by its deadline.").as_dict()
)


def _is_late(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now
