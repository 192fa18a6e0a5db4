"""When a server that answers must be taken for dead. Pure: times are given.

An exception outside of a node ends ComfyUI's worker thread: HTTP goes on answering 200, and
nothing ever runs. The job at work then stays "running" for ever, the others stay in the queue.
"""

from __future__ import annotations

from .timeouts import Timing


class Patience:
    """Watches one job. `executing`: a node of it is known to be at work."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self.executing = False
        self._heard = now
        self._waits_behind: tuple[str, ...] | None = None
        self._since = now

    def heard(self, now: float) -> None:
        """The server told something about the job."""
        self._heard = self._since = now
        self._waits_behind = None

    def waits(self, running: tuple[str, ...], now: float) -> None:
        """The job is in the queue while `running` are at work."""
        if running != self._waits_behind:
            self._waits_behind, self._since = running, now

    def runs(self, now: float) -> None:
        """The job is at work, says the queue."""
        if self._waits_behind is not None:
            self.heard(now)

    def stuck(self, now: float) -> str | None:
        """Why the server must be taken for dead; None while it need not."""
        timing = self._timing
        if self._waits_behind is not None:
            if self._waits_behind:
                if now - self._since > timing.stuck_behind:
                    return "the same job runs there for hours"
            elif now - self._since > timing.stuck_idle:
                return "jobs wait there, but none runs"
            return None
        limit = timing.stuck_node if self.executing else timing.stuck_running
        if now - self._heard > limit:
            return "the job counts as running, but nothing happens"
        return None
