"""Quick questions to a ComfyUI, for those who only want to know whether and how it lives.

Raises EngineError: `server_unreachable` if nothing came back, else something else answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .....core.comfyui_address import Address
from . import connection_errors as reach
from .http import Http
from .timeouts import Timing


@dataclass(frozen=True)
class Device:
    """What a server computes on; memory in bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True)
class Vitals:
    """What /system_stats says. `argv`: the words that ComfyUI was started with."""

    version: str
    devices: tuple[Device, ...]
    argv: tuple[str, ...]


def vitals(address: Address, *, timeout: float) -> Vitals:
    """Version and devices. `timeout`, here and below: seconds, to connect and to answer."""
    stats = _ask(address, "/system_stats", timeout)
    with _form_of(address, "/system_stats", stats):
        system = stats["system"]
        return Vitals(
            version=str(system["comfyui_version"]),
            devices=tuple(
                Device(str(x["name"]), int(x["vram_total"]), int(x["vram_free"]))
                for x in stats["devices"]
            ),
            argv=tuple(map(str, system.get("argv", ()))),
        )


def queue_length(address: Address, *, timeout: float) -> int:
    """Jobs that run or wait, whoever sent them."""
    queue = _ask(address, "/queue", timeout)
    with _form_of(address, "/queue", queue):
        return len(queue["queue_running"]) + len(queue["queue_pending"])


def has_pack(address: Address, *, timeout: float) -> bool:
    """Whether the Kizy pack is loaded there: then the starter is among the checkpoints."""
    from .....starter.checkpoint import STARTER_FILE

    listed = _ask(address, "/models/checkpoints", timeout)
    return isinstance(listed, list) and STARTER_FILE.name in listed


def _ask(address: Address, path: str, timeout: float) -> Any:
    http = Http(address, Timing(connect=timeout, read=timeout))
    try:
        return http.get(path)
    finally:
        http.close()


@contextmanager
def _form_of(address: Address, path: str, answer: Any) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise reach.malformed(address, path, str(answer)[:2000]) from error
