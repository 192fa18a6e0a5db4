"""What nodes decided, kept by the graph above them, so that Kizy Save can write it down."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..catalog.search.select import Picked
    from ..core.plan import ImproveStage

KEPT = 256

_decided: OrderedDict[str, Decided | Improved] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Decided:
    """A prompt with trigger words, and LoRAs with the weights that were applied."""

    prompt: str
    loras: tuple[tuple[Picked, float, float], ...]


@dataclass(frozen=True)
class Improved:
    """What Kizy Detailer drew with: its own values where none were given."""

    family: str
    steps: int
    guidance: float
    sampler: str
    scheduler: str
    stage: ImproveStage


def above(graph: Mapping[str, Any], node: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The node and all that it is fed by, each once, the nearest first."""
    waiting, seen = [node], {node}
    while waiting:
        at = waiting.pop(0)
        about = graph.get(at)
        if not isinstance(about, dict):
            continue
        yield at, about
        for value in (about.get("inputs") or {}).values():
            link = str(value[0]) if isinstance(value, list) and len(value) == 2 else None
            if link is not None and link not in seen:
                seen.add(link)
                waiting.append(link)


def remember(
    graph: Mapping[str, Any],
    node: str,
    *,
    prompt: str,
    loras: Sequence[tuple[Picked, float, float]],
) -> None:
    """Keep what was picked. ComfyUI runs a node once for a graph, and then takes its cache."""
    _keep(graph, node, Decided(prompt, tuple(loras)))


def remember_improved(graph: Mapping[str, Any], node: str, how: Improved) -> None:
    """Keep what a picture was improved with."""
    _keep(graph, node, how)


def decided(graph: Mapping[str, Any], node: str) -> Decided | None:
    """What the node picked for this graph; None: not known."""
    found = _kept(graph, node)
    return found if isinstance(found, Decided) else None


def improved(graph: Mapping[str, Any], node: str) -> Improved | None:
    """What the node improved with; None: not known."""
    found = _kept(graph, node)
    return found if isinstance(found, Improved) else None


def _keep(graph: Mapping[str, Any], node: str, what: Decided | Improved) -> None:
    with _lock:
        key = _key(graph, node)
        _decided[key] = what
        _decided.move_to_end(key)
        while len(_decided) > KEPT:
            _decided.popitem(last=False)


def _kept(graph: Mapping[str, Any], node: str) -> Decided | Improved | None:
    with _lock:
        return _decided.get(_key(graph, node))


def _key(graph: Mapping[str, Any], node: str) -> str:
    parts = {at: [about.get("class_type"), about.get("inputs")] for at, about in above(graph, node)}
    return hashlib.sha256(json.dumps([node, parts], sort_keys=True).encode()).hexdigest()
