"""How long a client waits for a Kizy server, and how often it asks again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """All in seconds, but for `tries`.

    `connect`, `read`: for a connection, and for an answer to begin. `tries`: of a call that may be
    made again. `pause`: before the second try; each later one waits twice as long, up to `longest`.
    `silence`: after which a stream of events, whose server says something every few seconds, counts
    as broken. `away`: how long a server may be gone while a job is followed. `poll`: between two
    looks at a job where its events do not come through.
    """

    connect: float = 5.0
    read: float = 120.0
    tries: int = 5
    pause: float = 0.25
    longest: float = 5.0
    silence: float = 40.0
    away: float = 120.0
    poll: float = 1.0

    def pauses(self) -> Iterator[float]:
        """How long to wait before the second try, the third, ...; without end."""
        pause = self.pause
        while True:
            yield min(pause, self.longest)
            pause = min(pause * 2, self.longest)
