"""Following one job to its end, whatever happens to the socket and the server meanwhile.

The socket only says what goes on; how the job ended stands in the history. So nothing depends on
a message: a socket that is silent, broken, or was taken from us delays the answer, no more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NoReturn

from .....core.comfyui_address import Address
from .....core.errors import CancelledError, EngineError, KizyError
from . import failures
from . import messages as m
from . import queue_routes as jobs
from .client_events import ClientEvent, CompiledGraph, Done, Notice, Preview, Progress, Vanished
from .connection_errors import NothingListensError
from .listener import Listener, SocketLostError
from .node_progress import Tracker
from .outputs import ending_of, files_of
from .queue_routes import Jobs, Nowhere, Pending, Running
from .stall_detector import Patience
from .timeouts import Timing

Connect = Callable[[], Listener]

_TRIES_BEFORE_NOTICE = 3
_MOST_REST = 1000


class Follower:
    """One call of `ComfyClient.follow`.

    `listener`: the socket that was opened before the job was sent, if there is one.
    `stopping`: whether somebody asked for the job to be stopped. `own_id`: no other job's socket
    has this one's client id. `elsewhere`: whether another server could draw the job.
    """

    def __init__(
        self,
        prompt_id: str,
        compiled: CompiledGraph,
        *,
        address: Address,
        server: Jobs,
        connect: Connect,
        listener: Listener | None,
        tracker: Tracker,
        stopping: Callable[[], bool],
        own_id: bool,
        elsewhere: Callable[[], bool],
        context: failures.Context,
        timing: Timing,
    ) -> None:
        self._prompt_id = prompt_id
        self._compiled = compiled
        self._address = address
        self._server = server
        self._connect = connect
        self._listener = listener
        self._tracker = tracker
        self._stopping = stopping
        self._own_id = own_id
        self._elsewhere = elsewhere
        self._context = context
        self._timing = timing
        now = time.monotonic()
        self._patience = Patience(timing, now)
        self._running = False
        self._look_at = now + timing.silence if listener else now
        self._cancel_at = now
        self._connect_at = now
        self._tries = 0
        self._quiet_since = now
        self._quiet_limit = timing.reopen
        self._away_since: float | None = None
        self._ended: m.Ended | None = None
        self._ended_at = now
        self._heard_all = False
        """The last message of all, after which nothing more comes."""
        self._nowhere = 0
        self._blocked: str | None = None
        self._said: set[str] = set()
        self._last_progress: Progress | None = None

    def run(self) -> Iterator[ClientEvent]:
        """The events; see `ComfyClient.follow`. Closes the socket, also when it is closed."""
        try:
            while True:
                message = self._receive()
                if message is not None:
                    yield from self._hear(message)
                self._cancel_if_due()
                if self._look_is_due(message):
                    outcome = yield from self._look()
                    if outcome is not None:
                        yield self._shown(self._tracker.finish(time.monotonic()))
                        if self._listener is not None and self._own_id:
                            # Nobody opens another under this id: no need to wait.
                            self._listener.close(wait=False)
                        yield outcome
                        return
                self._reopen_if_silent()
        finally:
            if self._listener is not None:
                self._listener.close()

    # The socket

    def _receive(self) -> m.Message | None:
        now = time.monotonic()
        until = min(self._look_at, now + self._timing.slice)
        if self._stopping():
            until = min(until, self._cancel_at)
        if self._listener is None:
            self._reconnect(now)
        if self._listener is None:
            time.sleep(max(0.0, min(until, self._connect_at) - now))
            return None
        try:
            return self._listener.receive(max(0.0, until - now))
        except SocketLostError:
            self._listener.close()
            self._listener = None
            self._tries = 0
            self._connect_at = time.monotonic() + self._timing.reconnect[0]
            # The job may have ended, or the server with it.
            self._look_by(time.monotonic())
            return None

    def _rest(self) -> Iterator[ClientEvent]:
        """What the socket has still to say of a job that is over: costs are learned from it, and
        why a branch was not run."""
        for _ in range(_MOST_REST):
            if self._listener is None or self._heard_all:
                return
            try:
                message = self._listener.receive(0.0)
            except SocketLostError:
                return
            if message is None:
                return
            yield from self._hear(message)

    def _reconnect(self, now: float) -> None:
        if now < self._connect_at:
            return
        try:
            self._listener = self._connect()
        except EngineError:
            pauses = self._timing.reconnect
            self._tries += 1
            self._connect_at = time.monotonic() + pauses[min(self._tries, len(pauses) - 1)]
            return
        self._tries = 0
        self._quiet_since = time.monotonic()
        # Its place may be taken by the late clean-up of the old socket: no long silence yet.
        self._quiet_limit = self._timing.settle
        # There is no replay: what happened in between stands in queue and history.
        self._look_by(time.monotonic())

    def _reopen_if_silent(self) -> None:
        """A socket that ComfyUI forgot looks like one on which nothing happens."""
        now = time.monotonic()
        if (
            self._listener is None
            or not self._running
            or self._ended is not None
            or now - self._quiet_since < self._quiet_limit
        ):
            return
        self._listener.close()
        self._listener = None
        self._connect_at = now
        self._reconnect(now)
        self._quiet_limit = self._timing.reopen

    def _look_is_due(self, message: m.Message | None) -> bool:
        """What the socket has to say comes first, unless it has no end."""
        late = time.monotonic() - self._look_at
        return late >= (0.0 if message is None else self._timing.silence)

    def _look_by(self, moment: float) -> None:
        self._look_at = min(self._look_at, moment)

    # What the socket says

    def _hear(self, message: m.Message) -> Iterator[ClientEvent]:
        now = time.monotonic()
        if isinstance(message, m.QueueChanged):
            if not self._running:
                self._look_by(now + self._timing.queue_change)
            return
        if not self._ours(message):
            return
        self._running = True
        self._quiet_since = now
        self._quiet_limit = self._timing.reopen
        self._patience.heard(now)
        if self._ended is None:
            self._look_at = now + self._timing.silence
        match message:
            case m.PreviewImage(data=data, format=form, node=node):
                yield Preview(data, form, node)
            case m.Text(text=text):
                yield Notice("server_text", text)
            case m.Blocked(text=text):
                self._blocked = text
                yield Notice("branch_not_run", text)
            case m.Ended():
                # Not over yet: the history is written after this, the last message after that.
                self._ended, self._ended_at = message, now
                self._look_at = now + self._timing.history_pause
            case m.Executing(node=None):
                self._heard_all = True
                self._look_by(now)
            case _:
                progress = self._tracker.hear(message, now)
                self._patience.executing = self._tracker.executing is not None
                if progress is not None and progress != self._last_progress:
                    yield self._shown(progress)

    def _ours(self, message: m.Message) -> bool:
        prompt_id = getattr(message, "prompt_id", None)
        if isinstance(message, m.Executing | m.Step) and prompt_id is None:
            # Without an id only to a socket that comes back while its own job runs.
            return self._running
        return prompt_id is None or prompt_id == self._prompt_id

    def _shown(self, progress: Progress) -> Progress:
        self._last_progress = progress
        return progress

    def _notice(self, code: str, text: str) -> Iterator[Notice]:
        if code not in self._said:
            self._said.add(code)
            yield Notice(code, text)

    # What the queue and the history say

    def _look(self) -> Generator[ClientEvent, None, Done | None]:
        now = time.monotonic()
        try:
            standing = self._server.look(self._prompt_id, ended=self._ended is not None)
        except EngineError as error:
            yield from self._away(error, now)
            return None
        now = time.monotonic()
        yield from self._back()
        self._look_at = now + (self._timing.silence if self._listener else self._timing.polling)
        match standing:
            case jobs.Ended(entry=entry):
                yield from self._rest()
                return self._outcome(entry)
            case Nowhere():
                self._missed(now)
                return None
            case Pending(place=place, running=running):
                self._running = False
                self._patience.waits(running, now)
                progress = self._tracker.waiting(place)
                if progress != self._last_progress:
                    yield self._shown(progress)
            case Running():
                self._patience.runs(now)
                if not self._running:
                    self._running, self._quiet_since = True, now
                if self._ended is not None:
                    self._look_at = now + self._history_pause(now)
        self._nowhere = 0
        why = self._patience.stuck(now)
        if why is not None:
            self._give_up(why)
        return None

    def _missed(self, now: float) -> None:
        """The job is in neither queue nor history."""
        if self._stopping():
            raise CancelledError("cancelled", "Stopped.")
        if self._ended is not None and now - self._ended_at < self._timing.history_wait:
            self._look_at = now + self._history_pause(now)
            return
        if self._ended is not None and self._ended.how != "success":
            # Somebody cleared the history; what the socket said will do.
            raise self._failure(self._ended.how, self._ended.detail)
        self._nowhere += 1
        if self._nowhere > 1:
            raise Vanished(self._prompt_id)
        self._look_at = now + self._timing.vanish_confirm

    def _history_pause(self, now: float) -> float:
        """Growing, for the history of a large job takes its time."""
        return max(self._timing.history_pause, min(1.0, (now - self._ended_at) / 4))

    def _outcome(self, entry: Mapping[str, Any]) -> Done:
        ending = ending_of(entry)
        if ending.how != "success":
            detail = ending.detail or (self._ended.detail if self._ended else {})
            raise self._failure(ending.how, detail)
        files = files_of(entry, self._compiled.outputs)
        if not files and self._compiled.outputs:
            name = self._address.name
            message = f"ComfyUI on {name} ended the job without a finished file."
            if self._blocked:
                message += f" It said: {self._blocked}"
            raise EngineError("server_failed", message, raw=self._context.raw(entry.get("status")))
        return Done(files)

    def _failure(self, how: str, detail: Mapping[str, Any]) -> KizyError:
        if how != "interrupted":
            return failures.failed_job(detail, self._context)
        if self._stopping():
            return CancelledError("cancelled", "Stopped.")
        message = f"Somebody stopped the job on {self._address.name}."
        return CancelledError("cancelled", message)

    # A server that does not answer, or does nothing

    def _away(self, error: EngineError, now: float) -> Iterator[ClientEvent]:
        if error.code == "server_refused":
            raise error
        if self._away_since is None:
            self._away_since = now
        waited = time.monotonic() - self._away_since
        if self._stopping() and waited > self._timing.cancel_away:
            name = self._address.name
            message = f"Stopped; {name} does not answer, so it may still be drawing."
            raise CancelledError("cancelled", message)
        # The job went with the process that drew it; a line that is cut may be mended.
        gone = isinstance(error, NothingListensError) and waited > self._timing.gone
        if waited > self._timing.away or (gone and self._elsewhere()):
            raise error
        self._look_at = time.monotonic() + min(self._timing.polling, max(waited, 0.05))
        if waited > self._timing.settle:
            text = f"{self._address.name} does not answer; waiting for it. {error.message}"
            yield from self._notice("server_away", text)

    def _back(self) -> Iterator[ClientEvent]:
        if self._away_since is not None:
            self._away_since = None
            self._tries, self._connect_at = 0, time.monotonic()
            self._server.forget_what_it_can()
            if "server_away" in self._said:
                self._said.discard("server_away")
                yield Notice("server_back", f"{self._address.name} answers again.")
        if self._listener is None and self._tries >= _TRIES_BEFORE_NOTICE:
            text = f"{self._address.name} gives no live progress; looking now and then."
            yield from self._notice("no_live_progress", text)

    def _give_up(self, why: str) -> NoReturn:
        name = self._address.name
        if self._stopping():
            raise CancelledError("cancelled", f"Stopped; {name} hangs ({why}).")
        raise EngineError("server_stuck", f"{name} answers, but {why}.")

    def _cancel_if_due(self) -> None:
        now = time.monotonic()
        if not self._stopping() or now < self._cancel_at:
            return
        # An interrupt between the queue and the start of a job is lost: so until it is over.
        self._cancel_at = now + self._timing.cancel_repeat
        with contextlib.suppress(EngineError):
            self._server.ask_cancel(self._prompt_id)
        self._look_by(time.monotonic())
