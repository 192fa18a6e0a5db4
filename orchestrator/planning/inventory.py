"""What each ComfyUI server has, kept in memory: planning asks this and no server.

Each server is asked in threads of its own, and no lock is held while one is asked:

- whether it lives (/system_stats): CONNECT seconds to be connected, READ to answer. Asked again in
  the background when somebody wants to know and the answer is older than AGAIN.
- what it has (/object_info, the LoRAs of Kizy's pack, its model files), which may take minutes on a
  server with many node packs: asked apart, every LISTS seconds while somebody wants to know. The
  last answer is kept, also on disk.

Who asks for the first time waits until the servers have answered, LIMIT seconds at most. A server
that hangs beside one that answers costs GRACE seconds, once: the request is planned on those that
are known, and only one that none of them can serve waits for the rest. A server that lives and
tells for the first time what it has is waited for as long as that takes, if there is no other.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...catalog.card import Card
from ...core.errors import EngineError, KizyError
from ..backends.comfyui.protocol.client import ComfyClient
from ..backends.comfyui.protocol.client_events import ServerStats
from ..backends.comfyui.protocol.model_files import FOLDERS, FileStamp, Listed
from ..backends.comfyui.workflows.server_facts import ServerFacts
from .server_loras import server_cards

_log = logging.getLogger(__name__)

CONNECT = 2.0
READ = 5.0
LIMIT = CONNECT + READ + 1.0
"""Seconds until a server that was asked counts as silent, whatever it does with the connection."""
AGAIN = 5.0
OLD = 60.0
"""Seconds after which an answer is not planned with any more, before there is a new one."""
LISTS = 60.0
GRACE = 1.0
SLICE = 0.25
LONG = 5.0
"""Seconds of a first list after which somebody who waits is told what takes long."""


@dataclass(frozen=True)
class Server:
    """A server that answered. `memory`: bytes of its largest GPU, None if it has none.

    `cards`: its LoRAs, where Kizy's pack tells them. `files`: its model files, as far as it tells
    them. `device`: the names of what it computes on.
    """

    name: str
    facts: ServerFacts
    memory: int | None
    cards: tuple[Card, ...] = ()
    files: Listed = field(default_factory=dict, repr=False)
    device: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What is known now. `errors`: why others cannot be used, by name.

    `pending`: names of those that have yet to answer; `hopeful`: of these, those that did not fail
    when they last did; `young`: of these, those that were asked less than GRACE seconds ago.
    """

    servers: tuple[Server, ...] = ()
    errors: Mapping[str, KizyError] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    hopeful: tuple[str, ...] = ()
    young: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerState:
    """How a server is. `problem`: why it cannot be used. `queue`: jobs that run or wait there,
    whoever sent them; None if it does not tell.
    """

    name: str
    url: str
    problem: KizyError | None = None
    version: str = ""
    devices: tuple[str, ...] = ()
    queue: int | None = None


@dataclass(eq=False)
class _Watched:
    """One server. The inventory's lock guards all of it; the threads that ask write it."""

    client: ComfyClient
    stats: ServerStats | None = None
    queue: int | None = None
    error: KizyError | None = None
    looking_since: float | None = None
    looked_at: float = float("-inf")
    pending_since: float | None = None
    facts: ServerFacts | None = None
    facts_at: float = float("-inf")
    cards: tuple[Card, ...] = ()
    files: dict[str, Mapping[str, FileStamp]] = field(default_factory=dict)
    listing_since: float | None = None
    listed_at: float = float("-inf")
    """When the last list that ended had begun."""
    listing_took: float = 0.0
    list_error: KizyError | None = None

    @property
    def name(self) -> str:
        return self.client.address.name

    def known(self, now: float) -> bool:
        """Whether it can be planned with: its LoRAs are waited for a while, no longer."""
        listed = self.listed_at > float("-inf") or now - self.facts_at > READ
        return self.facts is not None and listed


class Inventory:
    """The servers of one deployment. Any thread may call. `say` is told what takes long."""

    def __init__(self, *, say: Callable[[str], None] = lambda line: None) -> None:
        self._say = say
        # Held for a moment by whoever plans, by the threads that ask servers, and by listings;
        # never while anybody is asked.
        self._changed = threading.Condition()
        self._watched: list[_Watched] = []
        self._closed = False

    def use(self, clients: Sequence[ComfyClient]) -> None:
        """From now on these servers; the same server must be the same client."""
        with self._changed:
            known = {id(watched.client): watched for watched in self._watched}
            self._watched = [known.get(id(client)) or _Watched(client) for client in clients]
            self._changed.notify_all()

    def close(self) -> None:
        """Ask nobody any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def snapshot(self) -> Snapshot:
        """What is known now; what is old is asked for in the background. Waits for nobody."""
        with self._changed:
            return self._seen()

    def settled(self, *, patient: bool = False) -> Snapshot:
        """What is known, when servers that never answered had their time to.

        `patient`: until every server has answered or failed; else no longer than GRACE for the
        others, once there is one that answered. Waits without any lock held.
        """
        begun, told = time.monotonic(), False
        while True:
            with self._changed:
                seen = self._seen(since=begun if patient else None)
                if self._closed or not _worth_waiting(seen, patient=patient):
                    return seen
                self._changed.wait(SLICE)
            if not told and time.monotonic() - begun > LONG:
                told = True
                self._tell(seen.pending)

    def states(self) -> list[ServerState]:
        """How all servers are. Waits for those that were never asked, within the limits."""
        while True:
            with self._changed:
                self._seen()
                now = time.monotonic()
                old = (one for one in self._watched if now - one.looked_at > OLD)
                waits = [one for one in old if one.error is None]
                young = [one for one in waits if now - (one.looking_since or now) <= LIMIT]
                if self._closed or not young:
                    return [_state(one, silent=one in waits) for one in self._watched]
                self._changed.wait(SLICE)

    def listed_anew(self) -> Snapshot:
        """What the servers have that live, asked now: a file may have come since.

        Waits twice as long as it took last, at least READ seconds; what takes longer goes on in the
        background, and what was known is given.
        """
        begun = time.monotonic()
        while True:
            with self._changed:
                self._seen()
                waits = False
                for one in self._watched:
                    patience = max(READ, 2 * one.listing_took)
                    if time.monotonic() - begun < patience and self._lists_since(one, begun):
                        waits = True
                if not waits:
                    return self._seen()
                self._changed.wait(SLICE)

    def _lists_since(self, one: _Watched, begun: float) -> bool:
        """Whether a list that was asked for after `begun` is still to come. With the lock."""
        if one.looking_since is not None and one.looked_at < begun and one.error is None:
            return True
        if one.error is not None or one.stats is None or one.listed_at >= begun:
            return False
        if one.listing_since is None:
            self._begin_list(one)
        return True

    # All below is called with the lock, but for what runs in threads.

    def _seen(self, *, since: float | None = None) -> Snapshot:
        """The snapshot. `since`: what failed before counts as pending while it is asked again."""
        now = time.monotonic()
        servers: list[Server] = []
        errors: dict[str, KizyError] = {}
        pending: list[_Watched] = []
        for one in self._watched:
            self._ask_what_is_old(one, now)
            old = now - one.looked_at > OLD
            asked = one.looking_since is not None
            silent = one.looking_since is not None and now - one.looking_since > LIMIT
            again = since is not None and one.looked_at < since
            if silent and (one.error is None or old):
                errors[one.name] = _silent(one.name)
            elif one.error is not None and not (asked and not silent and (old or again)):
                errors[one.name] = one.error
            elif one.error is not None or (old and asked):
                pending.append(one)
            elif one.known(now):
                servers.append(_server(one))
            elif one.list_error is not None and one.listing_since is None:
                errors[one.name] = one.list_error
            else:
                pending.append(one)
        for one in self._watched:
            waits = one in pending
            one.pending_since = (one.pending_since or now) if waits else None
        for one in pending:
            if one.error is not None:
                errors[one.name] = one.error
        hopeful = [one for one in pending if one.error is None]
        young = [one for one in hopeful if now - (one.pending_since or now) < GRACE]
        return Snapshot(tuple(servers), errors, _names(pending), _names(hopeful), _names(young))

    def _ask_what_is_old(self, one: _Watched, now: float) -> None:
        if self._closed:
            return
        if one.looking_since is None and now - one.looked_at >= AGAIN:
            one.looking_since = now
            self._spawn(self._look, one)
        often = LISTS if one.facts is not None else AGAIN
        if one.stats is not None and one.error is None and now - one.listed_at >= often:
            self._begin_list(one)

    def _begin_list(self, one: _Watched) -> None:
        if one.listing_since is None and not self._closed:
            one.listing_since = time.monotonic()
            self._spawn(self._list, one)

    def _spawn(self, work: Callable[[_Watched], None], one: _Watched) -> None:
        name = f"kizy-inventory-{one.name}"
        threading.Thread(target=work, args=(one,), name=name, daemon=True).start()

    def _look(self, one: _Watched) -> None:
        """Whether it lives."""
        stats, queue, error = None, None, None
        try:
            stats = one.client.stats(connect=CONNECT, read=READ)
            with contextlib.suppress(KizyError):
                queue = one.client.queue_length(connect=CONNECT, read=READ)
        except KizyError as failure:
            error = failure
        except Exception as failure:
            error = _unusable(one.name, failure)
        with self._changed:
            came_back = one.error is not None and error is None
            one.looking_since, one.looked_at, one.error = None, time.monotonic(), error
            if stats is not None:
                other = one.facts is not None and one.facts.version != stats.version
                one.stats, one.queue = stats, queue
                # It may come back as another, with other packs and models.
                if came_back or other or time.monotonic() - one.listed_at >= LISTS:
                    self._begin_list(one)
            self._changed.notify_all()

    def _list(self, one: _Watched) -> None:
        """What it has."""
        with self._changed:
            begun = one.listing_since or time.monotonic()
            version = one.stats.version if one.stats is not None else ""
            first = one.facts is None
        error: KizyError | None = None
        try:
            stored = one.client.stored_facts(version) if first else None
            if stored is not None:
                # What it had last, at once; what it has now follows.
                self._keep(one, stored)
                with self._changed:
                    one.listed_at = begun - LISTS
                    self._changed.notify_all()
            facts = one.client.refresh_facts()
            self._keep(one, facts)
            self._look_at_files(one)
        except KizyError as failure:
            error = failure
        except Exception as failure:
            error = _unusable(one.name, failure)
        if error is not None:
            _log.debug("what %s has: %s", one.name, error)
        with self._changed:
            one.listed_at, one.listing_since, one.list_error = begun, None, error
            one.listing_took = time.monotonic() - begun
            self._changed.notify_all()

    def _keep(self, one: _Watched, facts: ServerFacts) -> None:
        """Take facts, and the LoRAs that belong to them. In the thread that asks."""
        with self._changed:
            first = one.facts is None
            one.facts, cards = facts, one.cards
            one.facts_at = time.monotonic() if first else one.facts_at
        # Without them it draws all the same; LoRAs that lie there alone are then known by name.
        with contextlib.suppress(KizyError):
            cards = server_cards(one.client.lora_catalog(facts))
        with self._changed:
            one.cards = cards

    def _look_at_files(self, one: _Watched) -> None:
        """Sizes and times of its model files; a server that does not tell them has none."""
        found: dict[str, Mapping[str, FileStamp]] = {}
        try:
            for folder in FOLDERS:
                listed = one.client.model_files(folder)
                if listed is not None:
                    found[folder] = listed
        except KizyError as error:
            _log.debug("the model files of %s: %s", one.name, error)
        with self._changed:
            one.files = found

    def _tell(self, names: Sequence[str]) -> None:
        for name in names:
            self._say(f"{name} tells for the first time what it has, which may take minutes …")


def _worth_waiting(seen: Snapshot, *, patient: bool) -> bool:
    """Who failed when it was last asked holds up nobody, and no other for long."""
    if patient:
        return bool(seen.pending)
    return bool(seen.young if seen.servers else seen.hopeful)


def _names(watched: Sequence[_Watched]) -> tuple[str, ...]:
    return tuple(one.name for one in watched)


def _server(one: _Watched) -> Server:
    assert one.facts is not None
    devices = one.stats.devices if one.stats is not None else ()
    memory = [device.total for device in devices if device.name != "cpu"]
    return Server(
        name=one.name,
        facts=one.facts,
        memory=max(memory, default=None),
        cards=one.cards,
        files=one.files,
        device="+".join(device.name for device in devices) or "cpu",
    )


def _state(one: _Watched, *, silent: bool) -> ServerState:
    address, stats = one.client.address, one.stats
    problem = _silent(one.name) if silent else one.error
    if problem is not None or stats is None:
        return ServerState(one.name, address.url, problem or _silent(one.name))
    names = tuple(device.name for device in stats.devices)
    return ServerState(one.name, address.url, None, stats.version, names, one.queue)


def _silent(name: str) -> EngineError:
    message = f"{name} took the connection but does not answer."
    fix = "It may be busy or hang; look into its log, and restart ComfyUI there if it hangs."
    return EngineError("server_unreachable", message, fix=fix)


def _unusable(name: str, failure: Exception) -> EngineError:
    # Nobody waits for that thread: what it does not report is never known.
    _log.debug("%s was asked", name, exc_info=failure)
    text = f"The answer of {name} could not be used ({type(failure).__name__}: {failure})."
    return EngineError("server_failed", text)
