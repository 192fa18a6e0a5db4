"""LoRAs that lie here and go to a server that lacks them, where Kizy's node pack takes them in."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from .....catalog.comfy_file import name_there, readable_file
from .....catalog.index.hashes import file_sha256
from .....core.errors import KizyError
from .....core.plan import Plan, PlannedLora
from ..workflows.file_names import find_name
from ..workflows.server_facts import ServerFacts

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
        if find_name(_name_there(lora, plan), listed) is None:
            yield lora


def as_if_sent(plan: Plan, facts: ServerFacts) -> ServerFacts:
    """What the server will list once it has the Plan's LoRAs, by their names in the Plan.

    What it has only in a form that it cannot read counts as not there.
    """
    if not facts.has("LoraLoader"):
        return facts
    coming = [lora.file.name for lora in missing(plan, facts)]
    listed = facts.choices("LoraLoader", "lora_name")
    unread: set[str | None] = set()
    for lora in plan.loras:
        name = _name_there(lora, plan)
        if name == lora.file.name or lora.file.name in coming:
            continue
        if find_name(name, listed) is not None:
            coming.append(lora.file.name)
        else:
            unread.add(find_name(lora.file.name, listed))
    names = [name for name in listed if name not in unread]
    names += [name for name in coming if name not in names]
    if names == list(listed):
        return facts
    info = dict(facts.object_info)
    info["LoraLoader"] = loader = copy.deepcopy(info["LoraLoader"])
    spec = loader["input"]["required"]["lora_name"]
    if isinstance(spec[0], list):
        spec[0] = names
    else:
        spec[1]["options"] = names
    return ServerFacts(facts.address, facts.version, info)


def send(plan: Plan, facts: ServerFacts, server: Receiver) -> tuple[Plan, ServerFacts]:
    """Send what the server lacks, in a form that it reads; the Plan by the names there, and what
    the server lists now.

    Raises EngineError, StorageError.
    """
    wanted = list(missing(plan, facts))
    listed = facts.choices("LoraLoader", "lora_name")
    names: dict[str, str] = {}
    for lora in plan.loras:
        there = _name_there(lora, plan)
        if there != lora.file.name and (found := find_name(there, listed)) is not None:
            names[lora.file.name] = found
    for lora in wanted:
        path = Path(str(lora.file.path))
        file = readable_file(path, plan.family)
        sha256 = lora.file.sha256 if file == path else file_sha256(file)
        names[lora.file.name] = server.send_lora(file, sha256)
    if not names:
        return plan, facts
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
    plan = plan.model_copy(update={"loras": loras})
    return plan, server.refresh_facts() if wanted else facts


def _name_there(lora: PlannedLora, plan: Plan) -> str:
    """What the server has to list: a file that ComfyUI cannot read goes there converted."""
    if lora.file.path is None:
        return lora.file.name
    with contextlib.suppress(KizyError):
        return name_there(Path(lora.file.path), plan.family) or lora.file.name
    return lora.file.name
