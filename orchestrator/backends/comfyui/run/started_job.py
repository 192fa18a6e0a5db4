"""A started job of the ComfyUI engine and its pictures: what was tried so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from .....core.errors import CancelledError, KizyError
from .....core.job import Artifact
from .....core.plan import Plan
from ...event_log import Record
from ..protocol.client import ComfyClient
from ..protocol.lora_upload import as_if_sent
from ..protocol.model_files import FileStamp
from ..workflows.compile import Compiled, compile_plan
from ..workflows.library import template_for
from ..workflows.server_facts import ServerFacts


@dataclass
class Work:
    """A started job: what was said of it, and the prompts that are on servers now.

    `again`: an earlier process may have started it. `begun`: a server took one of its pictures, or
    may have in an earlier process. `saved`: what an earlier process saved of it, by picture.
    `servers`: the name of what drew a picture.
    """

    record: Record
    again: bool = False
    begun: bool = False
    saved: dict[int, Artifact] = field(default_factory=dict)
    servers: dict[int, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    prompts: dict[str, ComfyClient] = field(default_factory=dict)
    verdicts: dict[tuple[int, bool], tuple[ServerFacts, KizyError | None]] = field(
        default_factory=dict
    )
    files: dict[str, dict[str, Mapping[str, FileStamp] | None]] = field(default_factory=dict)
    """By server and folder, as the job found them. Threads of one job write the same."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        if self.cancelled.is_set():
            raise CancelledError("cancelled", "The drawing was stopped.")


@dataclass
class Picture:
    """One picture of a job, and what was tried for it.

    `maybe_sent`: the server may know it, so it is asked before the graph is sent. `only`: the
    server that is known to have it. `heard`: when a server last answered. `lost`: how often its
    finished file was gone before it was fetched.
    """

    index: int
    plan: Plan
    prompt_id: str
    maybe_sent: bool
    only: str | None = None
    avoid: set[str] = field(default_factory=set)
    failure: KizyError | None = None
    heard: float = field(default_factory=time.monotonic)
    sent: bool = False
    sent_again: bool = False
    lost: int = 0
    tiled: bool = False
    compiled: tuple[ServerFacts, bool, Compiled] | None = None

    @property
    def token(self) -> str:
        """Another one for each try: see `graphs.saving_anew`."""
        return f"{self.prompt_id}/{self.lost}"


def require_suitable(work: Work, picture: Picture, facts: ServerFacts) -> None:
    """Raises KizyError if a server with these facts cannot draw the picture.

    Found out once for all pictures of the job, which differ in their seeds alone.
    """
    if picture.tiled:
        compiled_for(picture, facts)
        return
    # A part that is drawn again needs other nodes than the picture itself.
    key = id(facts), picture.plan.mask is not None
    if key not in work.verdicts:
        error: KizyError | None = None
        try:
            compiled_for(picture, facts)
        except KizyError as refusal:
            error = refusal
        # With the facts themselves: no others can get their id then.
        work.verdicts[key] = facts, error
    if (known := work.verdicts[key][1]) is not None:
        raise known


def compiled_for(picture: Picture, facts: ServerFacts) -> Compiled:
    """The graph of a picture for a server with these facts. Raises KizyError."""
    match picture.compiled:
        case (of, tiled, compiled) if of is facts and tiled == picture.tiled:
            return compiled
    listed = as_if_sent(picture.plan, facts)
    template = template_for(picture.plan, listed)
    compiled = compile_plan(picture.plan, template, listed, tiled_decode=picture.tiled)
    picture.compiled = facts, picture.tiled, compiled
    return compiled
