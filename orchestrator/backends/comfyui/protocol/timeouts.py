"""How long the client waits for what. Tests give milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """All waits, in seconds."""

    connect: float = 5.0
    """For a connection to be made."""
    read: float = 60.0
    """For an answer to begin or go on. ComfyUI checks a graph before it answers."""
    object_info: float = 600.0
    """For `/object_info`: minutes on servers with many node packs."""
    slice: float = 0.25
    """The longest wait at one go, so that Ctrl-C and a cancel get through."""
    close: float = 0.5
    """For the server to say goodbye on the socket."""
    silence: float = 3.0
    """A socket that says nothing for so long: look into the queue and the history."""
    polling: float = 1.0
    """Between looks while there is no socket."""
    queue_change: float = 0.2
    """After the server says that its queue changed, until we look for our place in it."""
    settle: float = 1.0
    """Silence after a reconnection before the socket is opened anew."""
    reopen: float = 15.0
    """Silence of a running job before the socket is opened anew."""
    history_pause: float = 0.05
    """Between looks for the history of a job that has ended."""
    history_wait: float = 10.0
    """For the history of a job that has ended to appear."""
    vanish_confirm: float = 0.25
    """Before a job that is nowhere is looked for once more."""
    cancel_repeat: float = 0.5
    """Between asking the server to stop a job."""
    cancel_away: float = 5.0
    """For a server that does not answer, while the job is to be stopped."""
    reconnect: tuple[float, ...] = (0.05, 0.25, 1.0, 2.0, 5.0)
    """Pauses before each new try to open the socket; the last one repeats."""
    away: float = 300.0
    """For a server that does not answer, before the job is given up: it may be starting again,
    which takes minutes with many node packs."""
    gone: float = 10.0
    """For a server at whose address nothing listens, where another one could draw the job."""
    stuck_idle: float = 30.0
    """Our job waits and nothing runs on the server."""
    stuck_running: float = 120.0
    """Our job runs, no node of it does, and nothing is heard."""
    stuck_node: float = 3600.0
    """A node of our job runs and nothing is heard: models load from slow disks."""
    stuck_behind: float = 3 * 3600.0
    """The same job of somebody else runs before ours: films take hours."""
    facts_fresh: float = 60.0
    """What a server has is asked again in the background after so long."""
