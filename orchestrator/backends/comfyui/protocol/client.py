"""One ComfyUI server, as whoever draws wants it: send a graph, follow it, fetch what it made.

Synchronous. All methods may be called from any thread; `follow` runs in the caller's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from .....catalog.families.family import SourceFile
from .....core.comfyui_address import Address
from .....core.errors import EngineError
from .....core.files import replacing, storage_errors
from ..workflows.server_facts import ServerFacts
from . import connection_errors as reach
from . import queue_routes as jobs
from .client_events import (
    ClientEvent,
    CompiledGraph,
    Device,
    JobStanding,
    OutputFile,
    QueueState,
    ServerStats,
)
from .failures import Context, refused_graph
from .follow import Follower
from .http import Http
from .listener import Listener
from .lora_upload import takes_loras
from .model_files import ROUTE, FileStamp, stamps
from .node_costs import CostBook
from .node_progress import Tracker
from .object_info import FactsCache, server_folder
from .outputs import ending_of
from .queue_routes import Jobs
from .timeouts import Timing

_STOP_TRIES = 20
MAX_STOPPING = 1000
"""Jobs that are remembered as being stopped."""
CATALOG_BYTES = 200_000_000
"""Of what a server tells about its LoRAs."""


class ComfyClient:
    """A ComfyUI server.

    `client_id`: under which the server sends its messages; None takes each job's own id, so that
    jobs do not take the socket from one another, and a job can be followed again later by
    whoever knows its id.
    """

    def __init__(
        self, address: Address, *, timing: Timing | None = None, client_id: str | None = None
    ) -> None:
        self.address = address
        self._timing = timing or Timing()
        self._client_id = client_id
        self._http = Http(address, self._timing)
        self._jobs = Jobs(address, self._http)
        self._facts = FactsCache(
            address, self._http, self._timing, version=lambda: self.stats().version
        )
        self._costs = CostBook(server_folder(address) / "costs.json")
        self._listeners: dict[str, Listener] = {}
        # Jobs that are to be stopped, oldest first: threads that cancel add to them, those that
        # follow take theirs out. Guarded by the lock, as are the listeners.
        self._stopping: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        # Of the node pack, with the facts that it belongs to: by threads that look at servers and
        # those of jobs; replaced as a whole, so that two that ask at once ask twice and agree.
        self._told: tuple[ServerFacts, list[dict[str, Any]]] | None = None

    # The server

    def facts(self) -> ServerFacts:
        """What the server has. Waits only the first time; later it is asked in the background.

        Raises EngineError.
        """
        return self._facts.get()

    def refresh_facts(self) -> ServerFacts:
        """What the server has now. Raises EngineError."""
        return self._facts.refresh()

    def stored_facts(self, version: str) -> ServerFacts | None:
        """What the server had when it was last asked, if it is of this version; asks nobody."""
        return self._facts.stored(version)

    def stats(self, *, connect: float | None = None, read: float | None = None) -> ServerStats:
        """Version, devices and memory. `connect`, `read`: seconds, if not the usual.

        Raises EngineError.
        """
        answer = self._http.get("/system_stats", connect=connect, read=read)
        try:
            system = answer["system"]
            return ServerStats(
                version=str(system.get("comfyui_version", "unknown")),
                os=str(system.get("os", "")),
                devices=tuple(
                    Device(str(d["name"]), int(d["vram_total"]), int(d["vram_free"]))
                    for d in answer["devices"]
                ),
                memory_total=int(system.get("ram_total", 0)),
                memory_free=int(system.get("ram_free", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise reach.malformed(self.address, "/system_stats", str(answer)) from None

    def queue(self) -> QueueState:
        """Everybody's jobs on the server. Raises EngineError."""
        return self._jobs.queue()

    def queue_length(self, *, connect: float | None = None, read: float | None = None) -> int:
        """How many jobs run or wait, whoever sent them. `connect`, `read`: as for `stats`.

        Raises EngineError.
        """
        answer = self._http.get("/prompt", connect=connect, read=read)
        try:
            return int(answer["exec_info"]["queue_remaining"])
        except (KeyError, TypeError, ValueError):
            raise reach.malformed(self.address, "/prompt", str(answer)[:200]) from None

    def free(self) -> None:
        """Let the server give back the memory of its models, after the job at work."""
        self._http.post("/free", {"unload_models": True, "free_memory": True})

    def model_files(
        self, folder: str, *, connect: float | None = None, read: float | None = None
    ) -> Mapping[str, FileStamp] | None:
        """The files of a folder below `models/`, as they are now; None where that is not told.

        `connect`, `read`: as for `stats`. Raises EngineError.
        """
        try:
            told = self._http.get(ROUTE + folder, connect=connect, read=read)
        except EngineError as error:
            if error.code == "server_too_old":
                return None
            raise
        return stamps(told)

    # Files

    def upload(self, picture: Path, name: str) -> str:
        """Put a picture among the server's inputs, unless it is there; the name for LoadImage.

        `name` ("kizy/<sha256>.png") must follow from the content: the same name is the same file.
        Raises EngineError, StorageError; OSError if `picture` cannot be read.
        """
        path = PurePosixPath(name)
        folder = "" if str(path.parent) == "." else str(path.parent)
        place = {"filename": path.name, "subfolder": folder, "type": "input"}
        if self._http.size("/view", place) == picture.stat().st_size:
            return name
        # Not over another file at first: a job may just be reading it.
        if self._send_picture(picture, path.name, folder, overwrite=False) != path.name:
            # A file of that name and other content was cut short on its way.
            self._send_picture(picture, path.name, folder, overwrite=True)
        return name

    def send_lora(self, file: Path, sha256: str | None) -> str:
        """Put a LoRA among the server's, through the route of Kizy's pack; its name there.

        A file that is there already is not kept twice. Raises EngineError `server_refused`,
        OSError if the file cannot be read.
        """
        answer = self._http.send_file("/kizy/loras", file, {"name": file.name}, sha256)
        if not isinstance(answer, dict) or not isinstance(answer.get("name"), str):
            raise reach.malformed(self.address, "/kizy/loras", str(answer))
        return answer["name"]

    def lora_catalog(self, facts: ServerFacts | None = None) -> list[dict[str, Any]]:
        """The LoRAs as the server's own Kizy reads them; [] where the pack is not installed.

        `facts`: what the server has, if it was just asked. Raises EngineError.
        """
        facts = facts or self.facts()
        if not takes_loras(facts):
            return []
        # Asked once for each look at what the server has: it reads its folders for an answer.
        known = self._told
        if known is not None and known[0] is facts:
            return known[1]
        answer = self._http.get("/kizy/catalog", limit=CATALOG_BYTES)
        listed = answer.get("loras") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise reach.malformed(self.address, "/kizy/catalog", str(answer)[:200])
        cards = [one for one in listed if isinstance(one, dict)]
        self._told = facts, cards
        return cards

    def _send_picture(self, picture: Path, name: str, folder: str, *, overwrite: bool) -> str:
        fields = {"type": "input", "subfolder": folder}
        if overwrite:
            fields["overwrite"] = "true"
        with picture.open("rb") as file:
            answer = self._http.upload("/upload/image", fields, name, file)
        if not isinstance(answer, dict) or not isinstance(answer.get("name"), str):
            raise reach.malformed(self.address, "/upload/image", str(answer))
        return answer["name"]

    def download(self, output: OutputFile, target: Path) -> None:
        """Fetch what a job made into `target`, which is there whole or not at all.

        The server's file stays. Raises EngineError (FileGoneError if it is gone), StorageError.
        """
        if output.text is not None:
            with replacing(target) as temporary:
                temporary.write_text(output.text, encoding="utf-8")
            return
        with storage_errors(target), self._finished_file():
            self._http.download("/view", _place_of(output), target)

    def read(self, output: OutputFile, limit: int) -> bytes:
        """A file that a job made, of at most `limit` bytes.

        Raises EngineError (FileGoneError if it is gone).
        """
        with self._finished_file():
            return self._http.read("/view", _place_of(output), limit)

    @contextlib.contextmanager
    def _finished_file(self) -> Iterator[None]:
        """Says it in other words if there is no such file."""
        try:
            yield
        except EngineError as error:
            if error.code != "server_too_old":
                raise
            message = f"{self.address.name} no longer has the finished file."
            fix = "Look what empties ComfyUI's output folder there, then draw it again."
            raise reach.FileGoneError("server_failed", message, fix=fix, raw=error.raw) from error

    # Jobs

    def submit(
        self,
        graph: Mapping[str, Mapping[str, Any]],
        prompt_id: str,
        *,
        resume: bool = False,
        files: Sequence[SourceFile] = (),
    ) -> None:
        """Send a graph. `prompt_id`: a canonical lowercase UUID.

        `resume`: it may have been sent before; then nothing is sent if the server knows it.
        `files`: of the family, to say where a missing one comes from.
        Raises EngineError: `server_node_missing`, `server_model_missing`, `server_failed`, ...
        """
        if resume and self.state(prompt_id) != "unknown":
            return
        # Listening first, so that nothing is missed of a short job.
        listener = None
        with contextlib.suppress(EngineError):
            listener = self._listen(prompt_id)
        try:
            self._send(graph, prompt_id, self._context(graph, files))
        except BaseException:
            if listener is not None:
                listener.close()
            raise
        if listener is not None:
            with self._lock:
                replaced = self._listeners.pop(prompt_id, None)
                self._listeners[prompt_id] = listener
            if replaced is not None:
                replaced.close()

    def _send(
        self, graph: Mapping[str, Mapping[str, Any]], prompt_id: str, context: Context
    ) -> None:
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            # Always: some versions lose cached outputs from the history without it.
            "client_id": self._client_id or prompt_id,
        }
        begun = time.monotonic()
        try:
            answer = self._http.post("/prompt", body, accept=(400,))
        except reach.AnswerLostError:
            if self.state(prompt_id) != "unknown":
                return
            if time.monotonic() - begun >= self._timing.read:
                # It may still be at the graph: sending it again could draw it twice.
                raise
            answer = self._http.post("/prompt", body, accept=(400,))
        data = answer.data
        if not isinstance(data, dict):
            raise reach.malformed(self.address, "/prompt", str(data))
        if answer.status != 200:
            raise refused_graph(data, context)
        if data.get("node_errors"):
            # Some of its outputs are all right, so it was queued all the same.
            self._jobs.stop_now(prompt_id, _STOP_TRIES, self._timing.cancel_repeat)
            raise refused_graph(data, context)
        if data.get("prompt_id") != prompt_id:
            self._jobs.stop_now(str(data.get("prompt_id")), _STOP_TRIES, self._timing.cancel_repeat)
            message = f"{self.address.name} gives jobs names of its own."
            raise EngineError("server_too_old", message)

    def state(self, prompt_id: str) -> JobStanding:
        """Where a job stands. "failed": it ended with an error or was stopped.

        Raises EngineError.
        """
        match self._jobs.look(prompt_id):
            case jobs.Pending():
                return "pending"
            case jobs.Running():
                return "running"
            case jobs.Ended(entry=entry):
                return "done" if ending_of(entry).how == "success" else "failed"
            case _:
                return "unknown"

    def follow(
        self,
        prompt_id: str,
        compiled: CompiledGraph,
        *,
        files: Sequence[SourceFile] = (),
        elsewhere: Callable[[], bool] = lambda: False,
    ) -> Generator[ClientEvent, None, None]:
        """What happens to a job, until it is over: Progress, Preview and Notice, then one Done.

        The socket is closed with the generator. Can be called for jobs of earlier processes.
        `elsewhere`: whether another server could draw the job; then this one is given up soon if
        nothing listens at its address any more.
        Raises EngineError (`server_failed`, `out_of_memory`, `server_stuck`,
        `server_unreachable`, ...), ModelFileError, CancelledError; Vanished if the server knows
        nothing of the job any more.
        """
        with self._lock:
            listener = self._listeners.pop(prompt_id, None)
        follower = Follower(
            prompt_id,
            compiled,
            address=self.address,
            server=self._jobs,
            connect=lambda: self._listen(prompt_id),
            listener=listener,
            tracker=Tracker(compiled, self._costs),
            stopping=lambda: prompt_id in self._stopping,
            own_id=self._client_id is None,
            elsewhere=elsewhere,
            context=self._context(compiled.graph, files),
            timing=self._timing,
        )
        try:
            yield from follower.run()
        finally:
            with self._lock:
                self._stopping.pop(prompt_id, None)

    def forget(self, prompt_id: str) -> None:
        """Let the server forget how a job ended, before its id is used again. Raises EngineError.

        The history keeps the old end until the new one is written, which is after it was told.
        """
        self._http.post("/history", {"delete": [prompt_id]})

    def cancel(self, prompt_id: str) -> None:
        """Ask to stop this job and no other. `follow` asks again until the job is over.

        A server that does not answer is asked by `follow` later.
        """
        with self._lock:
            self._stopping[prompt_id] = None
            # Of what ended at that very moment nobody takes the mark away.
            while len(self._stopping) > MAX_STOPPING:
                self._stopping.popitem(last=False)
        self.ask_to_stop(prompt_id)

    def ask_to_stop(self, prompt_id: str) -> None:
        """Ask once to stop a job that nobody follows."""
        with contextlib.suppress(EngineError):
            self._jobs.ask_cancel(prompt_id)

    def close(self) -> None:
        """Close all connections. Jobs go on."""
        with self._lock:
            listeners, self._listeners = list(self._listeners.values()), {}
        for listener in listeners:
            listener.close()
        self._costs.save()
        self._http.close()

    def _listen(self, prompt_id: str) -> Listener:
        return Listener(self.address, self._client_id or prompt_id, self._timing, self._http.bases)

    def _context(
        self, graph: Mapping[str, Mapping[str, Any]], files: Sequence[SourceFile]
    ) -> Context:
        context = Context(self.address.name, graph, files=files, secrets=self.address.secrets)
        facts = self._facts.known
        return context if facts is None else replace(context, choices=facts.choices)


def _place_of(output: OutputFile) -> dict[str, str]:
    return {"filename": output.filename, "subfolder": output.subfolder, "type": output.type}
