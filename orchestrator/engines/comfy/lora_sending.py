"""LoRAs that lie here and go to a server that lacks them, where Kizy's node pack takes them in."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ....core.plan import Plan, PlannedLora
from ...templates.names import find_name
from ...templates.server import ServerFacts

PACK_NODE = "KizyLoraByIntent"
"""Where this node is, the pack's routes are."""


class Receiver(Protocol):
    """A server's client, as far as files of LoRAs go."""

    def send_lora(self, file: Path, sha256: str | None) -> str: ...
    def refresh_facts(self) -> ServerFacts: ...


def takes_loras(facts: ServerFacts) -> bool:
    """Whether LoRAs can be sent to the server."""
    return facts.has(PACK_NODE)


def missing(plan: Plan, facts: ServerFacts) -> Iterator[PlannedLora]:
    """The Plan's LoRAs that lie here and that the server lacks, if it takes them."""
    if not takes_loras(facts):
        return
    listed = facts.choices("LoraLoader", "lora_name")
    for lora in plan.loras:
        path = lora.file.path
        if path is None or not Path(path).is_file():
            continue
        if find_name(lora.file.name, listed) is None:
            yield lora


def as_if_sent(plan: Plan, facts: ServerFacts) -> ServerFacts:
    """What the server will list once it has the Plan's LoRAs."""
    names = [lora.file.name for lora in missing(plan, facts)]
    if not names or not facts.has("LoraLoader"):
        return facts
    info = dict(facts.object_info)
    info["LoraLoader"] = loader = copy.deepcopy(info["LoraLoader"])
    spec = loader["input"]["required"]["lora_name"]
    if isinstance(spec[0], list):
        spec[0] = [*spec[0], *names]
    else:
        spec[1]["options"] = [*spec[1]["options"], *names]
    return ServerFacts(facts.address, facts.version, info)


def send(plan: Plan, facts: ServerFacts, server: Receiver) -> tuple[Plan, ServerFacts]:
    """Send what the server lacks; the Plan by the names there, and what the server lists now.

    Raises EngineError, StorageError.
    """
    wanted = list(missing(plan, facts))
    if not wanted:
        return plan, facts
    names = {
        lora.file.name: server.send_lora(Path(str(lora.file.path)), lora.file.sha256)
        for lora in wanted
    }
    loras = tuple(
        lora.model_copy(
            update={
                "file": lora.file.model_copy(
                    update={"name": names.get(lora.file.name, lora.file.name)}
                )
            }
        )
        for lora in plan.loras
    )
    return plan.model_copy(update={"loras": loras}), server.refresh_facts()
