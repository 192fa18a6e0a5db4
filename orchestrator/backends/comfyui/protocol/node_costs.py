"""What nodes cost on a server, in seconds, learned from each job: the scale of the progress."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .....core.errors import StorageError
from .....core.files import replacing
from .graphs import find_upstream, is_link

_WRITE_PAUSE = 5.0
"""Seconds between writes: a write costs as much as a small job."""
_MAX_ENTRIES = 2000
_MAX_BYTES = 1_000_000
_DEFAULTS = (
    # Rough seconds on a middling GPU, by words in the class name; only their ratios matter.
    ("CheckpointLoader", 6.0),
    ("UNETLoader", 6.0),
    ("DualCLIPLoader", 4.0),
    ("CLIPLoader", 4.0),
    ("Loader", 1.0),
    ("TextEncode", 0.5),
    ("VAEDecodeTiled", 2.5),
    ("VAEDecode", 1.0),
    ("VAEEncode", 0.7),
    ("ImageUpscaleWithModel", 4.0),
    ("SaveImage", 0.3),
    ("PreviewImage", 0.2),
)
_OTHER = 0.05
_STEP_PER_MEGAPIXEL = 0.6
_SHORTEST_STEP = 0.1
_SMALLEST = 0.001


@dataclass(frozen=True)
class Cost:
    """`seconds` for the whole node; `known` if it was measured here before."""

    seconds: float
    known: bool


class CostBook:
    """Measured seconds by node class; of samplers by model and size, for one step.

    Kept in one file per server that can be deleted at any time; a damaged one counts as empty.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        # Guards the three below, between the threads of jobs that run on this server.
        self._lock = threading.Lock()
        self._seconds: dict[str, float] | None = None
        self._written: float | None = None
        self._changed = False

    def expect(self, graph: Mapping[str, Mapping[str, Any]], node: str, steps: int | None) -> Cost:
        """What a node of a graph will cost. `steps`: of a sampler; None for other nodes."""
        key = cost_key(graph, node, sampler=steps is not None)
        with self._lock:
            known = self._read().get(key)
        if known is not None:
            return Cost(max(_SMALLEST, known * (steps or 1)), True)
        if steps is not None:
            width, height = picture_size(graph, node) or (1024, 1024)
            each = max(_SHORTEST_STEP, _STEP_PER_MEGAPIXEL * width * height / 1e6)
            return Cost(steps * each, False)
        name = str(graph[node].get("class_type", ""))
        return Cost(next((s for part, s in _DEFAULTS if part in name), _OTHER), False)

    def learn(
        self,
        graph: Mapping[str, Mapping[str, Any]],
        measured: Mapping[str, tuple[float, int | None]],
    ) -> None:
        """Remember `measured`: node -> (seconds, steps of a sampler). Never raises."""
        if not measured:
            return
        with self._lock:
            book = self._read()
            for node, (seconds, steps) in measured.items():
                key = cost_key(graph, node, sampler=steps is not None)
                each = seconds / max(1, steps or 1)
                # Half of what was known stays, so that one slow load does not count for ever.
                new = (book[key] + each) / 2 if key in book else each
                book.pop(key, None)
                book[key] = round(new, 6)
            while len(book) > _MAX_ENTRIES:
                del book[next(iter(book))]
            self._changed = True
            if self._written is None or time.monotonic() - self._written > _WRITE_PAUSE:
                self._write(book)

    def save(self) -> None:
        """Write what was learned and not yet written. Never raises."""
        with self._lock:
            if self._changed:
                self._write(self._read())

    def _read(self) -> dict[str, float]:
        if self._seconds is None:
            self._seconds = {}
            with contextlib.suppress(OSError, ValueError, RecursionError):
                if self._file.stat().st_size <= _MAX_BYTES:
                    data = json.loads(self._file.read_text(encoding="utf-8"))
                    self._seconds = _sane(data)
        return self._seconds

    def _write(self, book: Mapping[str, float]) -> None:
        self._changed, self._written = False, time.monotonic()
        with contextlib.suppress(StorageError, OSError), replacing(self._file) as temporary:
            temporary.write_text(json.dumps(book, indent=0), encoding="utf-8")


def _sane(data: object) -> dict[str, float]:
    if not isinstance(data, dict):
        return {}
    return {
        str(key): float(value)
        for key, value in data.items()
        if isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 1e6
    }


def cost_key(graph: Mapping[str, Mapping[str, Any]], node: str, *, sampler: bool) -> str:
    """Under which name a node's cost stands: its class; for samplers model and size as well."""
    name = str(graph[node].get("class_type", ""))
    if not sampler:
        return name
    width, height = picture_size(graph, node) or (0, 0)
    model = ""
    for input_name in ("ckpt_name", "unet_name"):
        model = model or str(find_upstream(graph, node, (input_name,)) or "")
    return f"{name} {model} {width}x{height}".strip()


def picture_size(graph: Mapping[str, Mapping[str, Any]], node: str) -> tuple[int, int] | None:
    """Width and height in pixels of what a sampler draws, if a node before it says them.

    Its latent comes first: other nodes before it have sizes of their own.
    """
    inputs = graph[node].get("inputs", {})
    latent = inputs.get("latent_image")
    start = str(latent[0]) if is_link(latent) and str(latent[0]) in graph else node
    found = find_upstream(graph, start, ("width", "height"))
    if not isinstance(found, tuple):
        return None
    width, height = found
    return (int(width), int(height)) if width > 0 and height > 0 else None
