"""Where a job stands on a server, and how to stop it alone: the queue and history routes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .....core.comfyui_address import Address
from .....core.errors import EngineError
from . import connection_errors as reach
from .client_events import QueueState
from .http import Http

_NOT_THERE = (400, 404, 405, 501)


@dataclass(frozen=True)
class Pending:
    """In the queue; `place` jobs come before it, of which `running` are being drawn."""

    place: int
    running: tuple[str, ...]


@dataclass(frozen=True)
class Running:
    pass


@dataclass(frozen=True)
class Ended:
    """`entry`: its history."""

    entry: Mapping[str, Any]


@dataclass(frozen=True)
class Nowhere:
    pass


Standing = Pending | Running | Ended | Nowhere


class Jobs:
    """The queue and the history of one server."""

    def __init__(self, address: Address, http: Http) -> None:
        self._address = address
        self._http = http
        self._atomic_cancel: bool | None = None

    def queue(self) -> QueueState:
        """Everybody's jobs. Raises EngineError."""
        answer = self._http.get("/queue")
        try:
            running = [str(item[1]) for item in answer["queue_running"]]
            waiting = [(float(item[0]), str(item[1])) for item in answer["queue_pending"]]
        except (KeyError, TypeError, IndexError, ValueError):
            raise reach.malformed(self._address, "/queue", str(answer)) from None
        # The list is a heap; its first numbers say the order.
        return QueueState(tuple(running), tuple(name for _, name in sorted(waiting)))

    def history(self, prompt_id: str) -> Mapping[str, Any] | None:
        """The history entry of a job; None if there is none (yet)."""
        answer = self._http.get(f"/history/{prompt_id}")
        if not isinstance(answer, dict):
            raise reach.malformed(self._address, "/history", str(answer))
        entry = answer.get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def look(self, prompt_id: str, *, ended: bool = False) -> Standing:
        """Where a job stands. `ended`: it is likely to be over, so look there first.

        The queue is read before the history: a job goes from one into the other while we look,
        and the other way round it would seem to be nowhere.
        """
        if ended and (entry := self.history(prompt_id)) is not None:
            return Ended(entry)
        queue = self.queue()
        if prompt_id in queue.running:
            return Running()
        if prompt_id in queue.pending:
            return Pending(queue.pending.index(prompt_id) + len(queue.running), queue.running)
        entry = self.history(prompt_id)
        return Ended(entry) if entry is not None else Nowhere()

    def ask_cancel(self, prompt_id: str) -> None:
        """Ask once to stop this job and no other, queued or running. Raises EngineError.

        Newer servers do it in one go. On the others: out of the queue; if it runs, an interrupt
        with its id, and never one without, which would stop whatever runs.
        """
        if self._atomic_cancel is not False and self._cancel_at_once(prompt_id):
            return
        self._http.post("/queue", {"delete": [prompt_id]})
        if prompt_id in self.queue().running:
            self._http.post("/interrupt", {"prompt_id": prompt_id})

    def _cancel_at_once(self, prompt_id: str) -> bool:
        path = f"/api/jobs/{prompt_id}/cancel"
        try:
            answer = self._http.post(path, {}, accept=_NOT_THERE)
        except EngineError as error:
            if error.code == "server_unreachable":
                raise
            answer = None
        there = (
            answer is not None
            and answer.status == 200
            and isinstance(answer.data, dict)
            and "cancelled" in answer.data
        )
        self._atomic_cancel = there
        return there

    def forget_what_it_can(self) -> None:
        """The server may be another version now: ask again what it can do."""
        self._atomic_cancel = None

    def stop_now(self, prompt_id: str, tries: int, pause: float) -> None:
        """Stop a job that nobody will follow; gives up silently."""
        with contextlib.suppress(EngineError):
            for _ in range(tries):
                if not isinstance(self.look(prompt_id), Pending | Running):
                    return
                self.ask_cancel(prompt_id)
                time.sleep(pause)
