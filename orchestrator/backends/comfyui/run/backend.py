"""Draws Plans on ComfyUI servers: each picture is a graph of its own, on the server that suits.

What can go wrong on the way is put right once: a server that restarted gets the job again, a job
of a failing server moves to another, a decode that needs too much memory is done in tiles.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol, cast

from .....catalog.families.family import SourceFile, load_families
from .....core.errors import EngineError, KizyError
from .....core.files import storage_errors
from .....core.job import Artifact, Event
from .....core.picture_reader import MAX_BYTES
from .....core.plan import Plan
from ...base import COMFYUI, Capabilities, Handle, SavedArtifacts
from ...event_log import Record, StartedJobs, unforeseen
from ..content import marked
from ..protocol.client import ComfyClient
from ..protocol.client_events import Done, Notice, OutputFile, Preview, Progress, Vanished
from ..protocol.connection_errors import FileGoneError
from ..protocol.graphs import is_of_another, saving_anew
from ..protocol.lora_upload import send
from ..protocol.model_files import FileStamp
from ..workflows.compile import Compiled
from ..workflows.server_facts import ServerFacts
from .detail import in_parts
from .job_progress import SHOW_PAUSE, Meter, Share
from .pool import Lease, Needs, Pool
from .saved_pictures import SavedPictures
from .server_choice import is_servers_fault
from .started_job import Picture, Work, compiled_for, require_suitable
from .transfers import as_png, finished, is_as_planned, plain_picture

log = logging.getLogger(__name__)

PICTURES_A_SERVER = 2
"""Pictures of one job that a server gets at a time: one is drawn, one waits behind it."""

MAX_THREADS = 32

MAX_LEFT_BEHIND = 1000
"""Jobs that moved away from a server which are remembered, to be stopped there."""

MAX_LOST = 2
"""So often a picture is made again whose finished file was gone."""

AWAY = 300.0
"""Seconds to wait for a server that went away in the middle of a job: it may be restarting, which
takes minutes with many node packs."""


class Save(Protocol):
    """Stores a finished picture, a PNG file, with the Plan of that picture alone."""

    def __call__(self, plan: Plan, data: bytes) -> Artifact: ...


class ComfyEngine:
    """The Engine over a pool of servers. `save` stores what is drawn, `saved` remembers it.

    `away`: seconds that a job which has begun waits for a server.
    """

    def __init__(
        self,
        pool: Pool,
        clients: Sequence[ComfyClient],
        save: Save,
        *,
        previews: bool = True,
        saved: SavedArtifacts | None = None,
        away: float = AWAY,
    ) -> None:
        self._pool, self._clients, self._save = pool, {c.address.name: c for c in clients}, save
        self._previews, self._away = previews, away
        self._saved: SavedArtifacts = saved or SavedPictures()
        self._started = StartedJobs[Work](lambda work: work.record)
        # By server, the prompts to stop there when it answers again: threads of jobs add to them
        # and take them out, under the lock, which also guards what was started.
        self._left_behind: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def use(self, clients: Sequence[ComfyClient]) -> None:
        """From now on these servers. Jobs go on where they are, also on one that is not among them.

        The same server must be the same client.
        """
        self._clients = {client.address.name: client for client in clients}
        self._pool.use(clients)

    def capabilities(self) -> Capabilities:
        """What the servers that answer can draw. Raises EngineError if none does."""
        families: set[str] = set()
        parts: list[str] = []
        failure: KizyError | None = None
        for client in self._clients.values():
            try:
                facts, stats = client.facts(), client.stats()
            except KizyError as error:
                failure = error
                continue
            families |= drawable_families(facts)
            devices = "+".join(device.name for device in stats.devices) or "cpu"
            parts.append(f"{facts.version} {devices}")
        if failure is not None and not parts:
            raise failure
        fingerprint = " ".join([COMFYUI, *sorted(set(parts))])
        return Capabilities(COMFYUI, "remote", frozenset(families), fingerprint)

    def start(self, plan: Plan, job_id: str, *, again: bool = False) -> Handle:
        """Begin. `again`: each picture is looked for, where it was saved and on the servers, before
        it is sent.
        """
        saved = self._saved.of(job_id, plan) if again else {}
        with self._lock:
            if self._started.startable(job_id, again=again):
                work = Work(Record(plan, job_id), again=again, begun=again, saved=saved)
                self._started.add(job_id, work)
                threading.Thread(target=self._run, args=(work,), daemon=True).start()
        return Handle(job_id)

    def follow(self, handle: Handle) -> Iterator[Event]:
        work = self._started.get(handle.job_id)
        if work is None:
            raise EngineError("drawing_failed", f"No job {handle.job_id} was started here.")
        return work.record.follow()

    def cancel(self, handle: Handle) -> None:
        work = self._started.get(handle.job_id)
        if work is None:
            return
        work.cancelled.set()
        with work.lock:
            prompts = dict(work.prompts)
        for prompt_id, client in prompts.items():
            client.cancel(prompt_id)

    def close(self) -> None:
        """Close all connections. What is being drawn goes on there."""
        for client in self._clients.values():
            client.close()

    def _run(self, work: Work) -> None:
        """The thread of a job: whatever happens, its followers hear of an end."""
        try:
            error = self._pictures(work)
        except BaseException as failure:
            error = _known(failure)
        if error is not None and error.raw is not None:
            log.debug("ComfyUI's own words: %s", error.raw)
        work.record.end(error)

    def _pictures(self, work: Work) -> KizyError | None:
        """Draw all pictures; what the job fails with."""
        record, error = work.record, None
        count = record.plan.count
        meter = Meter(record, count)
        width = max(1, min(count, PICTURES_A_SERVER * len(self._clients), MAX_THREADS))
        record.progress(0.0, "looking for a server", None)
        if count == 1:
            # No thread more than it takes.
            try:
                self._picture(work, 0, meter)
            except Exception as failure:
                error = _known(failure)
        else:
            with ThreadPoolExecutor(width) as threads:
                tries = [threads.submit(self._picture, work, i, meter) for i in range(count)]
                # In the order of their ends: the first picture may take an hour more.
                for one in as_completed(tries):
                    failure = one.exception()
                    if failure is None or (error is not None and error.code != "cancelled"):
                        continue
                    error = _known(failure)
                    if error.code != "cancelled" and not all(one.done() for one in tries):
                        # A server that hangs may take a while to be stopped.
                        text = f"{error.message} The other pictures of the job are stopped."
                        record.notice(error.code, text)
                    # Without one of its pictures the job has failed: no other need begin.
                    self.cancel(Handle(record.job_id))
        return error

    def _picture(self, work: Work, index: int, meter: Meter) -> None:
        """Draw and save one picture of the job. Raises KizyError."""
        plan = work.record.plan
        if index in work.saved:
            work.record.artifact(work.saved[index])
            meter.done(index)
            return
        prompt_id = prompt_of(work.record.job_id, index)
        own = plan.for_picture(index)
        tiled = False

        def drawn(part: Plan, number: int, low: float, high: float) -> bytes:
            nonlocal tiled
            picture = Picture(index, part, part_of(prompt_id, number), work.again, tiled=tiled)
            data = self._drawn(work, picture, meter.part(low, high))
            # Where memory ran out for one part it would for the next one, too.
            tiled = picture.tiled
            return data

        artifact = self._save(own, in_parts(own, drawn, work.record.notice))
        self._saved.add(work.record.job_id, index, artifact)
        work.record.artifact(artifact, work.servers.get(index, ""))
        meter.done(index)

    def _drawn(self, work: Work, picture: Picture, meter: Share) -> bytes:
        """One graph's picture, from whichever server draws it. Raises KizyError."""
        if picture.maybe_sent:
            self._find(picture)
        while True:
            work.check()
            with self._lease(work, picture) as lease:
                client = cast(ComfyClient, lease.member)
                try:
                    begun = time.monotonic()
                    data = self._draw(work, picture, client, meter)
                    lease.succeeded(time.monotonic() - begun)
                    work.servers[picture.index] = client.address.name
                    return data
                except Vanished:
                    self._once_more(work, picture, client)
                except FileGoneError as error:
                    self._save_anew(work, picture, client, error)
                except KizyError as error:
                    lease.failed(error)
                    self._mend(work, picture, client, error)

    def _needs(self, work: Work, picture: Picture) -> Needs:
        return Needs(
            model=picture.plan.model.name,
            suits=lambda facts: require_suitable(work, picture, facts),
            cancelled=work.cancelled.is_set,
            patience=self._away if work.begun else 0.0,
        )

    def _lease(self, work: Work, picture: Picture) -> Lease:
        """A place on a server. Raises KizyError."""
        needs = self._needs(work, picture)
        others = set(self._clients) - {picture.only} if picture.only else set()
        try:
            return self._pool.choose(needs, exclude=picture.avoid | others)
        except KizyError as error:
            if error.code == "cancelled" or picture.failure is None or not picture.avoid:
                raise
            # Why no other server takes it says less than what went wrong on the first.
            raise picture.failure from error

    def _elsewhere(self, work: Work, picture: Picture, client: ComfyClient) -> bool:
        """Whether the picture may move from this server, as it does once, and could."""
        here = {client.address.name}
        return not picture.avoid and self._pool.could_draw(self._needs(work, picture), exclude=here)

    def _find(self, picture: Picture) -> None:
        """Which server has a picture that an earlier process may have sent."""
        if len(self._clients) == 1:
            return
        for name, client in self._clients.items():
            try:
                known = client.state(picture.prompt_id) != "unknown"
            except KizyError:
                self._leave_behind(name, picture)
                continue
            if known:
                picture.only = name
                return

    def _draw(self, work: Work, picture: Picture, client: ComfyClient, meter: Share) -> bytes:
        """Send the graph, follow it and fetch its picture. Raises Vanished and KizyError."""
        show_at = time.monotonic()
        self._stop_left_behind(client, picture.prompt_id)
        picture.plan, facts = send(picture.plan, client.facts(), client)
        compiled = self._marked(work, client, compiled_for(picture, facts))
        for upload in compiled.uploads:
            with plain_picture(Path(upload.picture.path), mask=upload.mask) as path:
                client.upload(path, upload.name)
        with work.lock:
            work.prompts[picture.prompt_id] = client
        try:
            work.check()
            files = _files(picture.plan)
            graph = saving_anew(compiled.graph, compiled.outputs, picture.token)
            client.submit(graph, picture.prompt_id, resume=picture.maybe_sent, files=files)
            picture.sent = work.begun = True
            picture.heard = time.monotonic()
            for event in client.follow(
                picture.prompt_id,
                compiled,
                files=files,
                elsewhere=lambda: self._elsewhere(work, picture, client),
            ):
                if not isinstance(event, Notice):
                    picture.heard = time.monotonic()
                match event:
                    case Progress(fraction=fraction, doing=doing, left=left):
                        meter.tell(picture.index, fraction, doing, left)
                    case Preview(data=data) if self._previews and time.monotonic() >= show_at:
                        png = as_png(data)
                        if png is not None:
                            work.record.preview(picture.index, png)
                        show_at = time.monotonic() + SHOW_PAUSE
                    case Notice(code=code, text=text):
                        work.record.notice(code, text)
                    case Done(outputs=outputs):
                        return self._fetch(client, picture, compiled, outputs)
        finally:
            with work.lock:
                work.prompts.pop(picture.prompt_id, None)
        raise EngineError("server_failed", f"{client.address.name} told nothing of the end.")

    def _marked(self, work: Work, client: ComfyClient, compiled: Compiled) -> Compiled:
        """With marks of the files that it loads; a server is asked for each folder once a job."""
        listed = work.files.setdefault(client.address.name, {})

        def files(folder: str) -> Mapping[str, FileStamp] | None:
            if folder not in listed:
                listed[folder] = client.model_files(folder)
            return listed[folder]

        try:
            return marked(compiled, files)
        except EngineError as error:
            # It draws all the same; what was replaced there since may be drawn as it was.
            log.debug("the files of %s: %s", client.address.name, error)
            return compiled

    def _fetch(
        self,
        client: ComfyClient,
        picture: Picture,
        compiled: Compiled,
        outputs: tuple[OutputFile, ...],
    ) -> bytes:
        """The finished picture as PNG. Raises KizyError."""
        pictures = [o for o in outputs if o.node in compiled.outputs and o.kind == "images"]
        if not pictures:
            message = f"{client.address.name} finished, but made no picture."
            raise EngineError("server_failed", message)
        data = client.read(pictures[0], MAX_BYTES)
        if picture.maybe_sent and is_of_another(data, picture.prompt_id):
            # The history named it; since then its name was given to another picture.
            message = f"{client.address.name} has another picture by that name now."
            raise FileGoneError("server_failed", message)
        if is_as_planned(data, picture.plan):
            return data
        with tempfile.TemporaryDirectory(prefix="kizy-") as folder:
            target = Path(folder) / f"picture{pictures[0].suffix}"
            with storage_errors(target):
                target.write_bytes(data)
            return finished(target, picture.plan)

    def _once_more(self, work: Work, picture: Picture, client: ComfyClient) -> None:
        """The job vanished from its server. Raises EngineError `server_lost` the second time."""
        name = client.address.name
        if picture.sent_again:
            raise EngineError("server_lost", f"The job vanished from {name} twice.")
        picture.sent_again, picture.maybe_sent, picture.only = True, False, None
        text = f"{name} was restarted or its queue was cleared: the job was sent once more."
        work.record.notice("sent_again", text)

    def _save_anew(
        self, work: Work, picture: Picture, client: ComfyClient, error: FileGoneError
    ) -> None:
        """Whoever empties the output folder may come between once more. Raises FileGoneError."""
        if picture.lost == MAX_LOST:
            raise error
        picture.lost += 1
        picture.maybe_sent, picture.only = False, None
        with contextlib.suppress(EngineError):
            # What the history says of the file that is gone would be taken for the new one's.
            client.forget(picture.prompt_id)
        work.record.notice("sent_again", f"{error.message} The picture is made once more.")

    def _mend(self, work: Work, picture: Picture, client: ComfyClient, error: KizyError) -> None:
        """Prepare another try, or raise the error."""
        name = client.address.name
        if error.code == "out_of_memory" and not picture.tiled:
            picture.tiled, picture.maybe_sent = True, False
            with contextlib.suppress(EngineError):
                # What the history says of this try would be taken for the end of the next one.
                client.forget(picture.prompt_id)
                client.free()
            text = f"Memory ran out on {name}: other models leave it, and it decodes in tiles."
            work.record.notice("less_memory", text)
            return
        if is_servers_fault(error) and self._elsewhere(work, picture, client):
            picture.avoid.add(name)
            picture.failure, picture.only = error, None
            if picture.sent:
                # It may be at it still, behind a broken line.
                self._leave_behind(name, picture)
            work.record.notice("moved", f"{error.message} The job goes to another server.")
            return
        silent = time.monotonic() - picture.heard
        if error.code == "server_unreachable" and silent < self._away and work.begun:
            picture.maybe_sent = True
            if picture.failure is None:
                work.record.notice("server_away", f"{error.message} The job waits for it.")
            picture.failure = error
            return
        raise error

    def _leave_behind(self, name: str, picture: Picture) -> None:
        with self._lock:
            left = self._left_behind.setdefault(name, set())
            # A server that never comes back is asked for none of them.
            if len(left) < MAX_LEFT_BEHIND:
                left.add(picture.prompt_id)

    def _stop_left_behind(self, client: ComfyClient, now: str) -> None:
        """Jobs that moved away while this server could not be reached are not drawn here, too.

        `now`: the prompt that is about to be drawn here.
        """
        with self._lock:
            prompts = self._left_behind.pop(client.address.name, set())
        for prompt_id in prompts - {now}:
            client.ask_to_stop(prompt_id)


def prompt_of(job_id: str, index: int) -> str:
    """The prompt id of a job's picture, always the same: the job's own id for the first."""
    return job_id if index == 0 else str(uuid.uuid5(uuid.UUID(job_id), str(index)))


def part_of(prompt_id: str, number: int) -> str:
    """The prompt id of one graph of a picture: the picture's own for the first."""
    if number == 0:
        return prompt_id
    return str(uuid.uuid5(uuid.UUID(prompt_id), f"part {number}"))


def drawable_families(facts: ServerFacts) -> frozenset[str]:
    """The families of which a server lists a model under a name that their facts give."""
    from ..protocol.listed_models import listed_models

    return frozenset(entry.family for entry in listed_models(facts) if entry.family is not None)


def _files(plan: Plan) -> Sequence[SourceFile]:
    family = load_families().get(plan.family)
    return family.files if family is not None else ()


def _known(failure: BaseException) -> KizyError:
    if isinstance(failure, KizyError):
        return failure
    log.debug("drawing failed", exc_info=failure)
    return unforeseen(failure)
