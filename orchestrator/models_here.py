"""The models that can be drawn with: those on this machine, and those of ComfyUI servers.

Servers are asked if they run; none is started for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec

from ..catalog.models import STARTER, ModelEntry, find_model, list_models
from ..catalog.select_model import ModelChoice
from ..core.cores import all_cores
from ..core.errors import KizyError, UnknownNameError, nearest
from .engines.base import COMFYUI, EMBEDDED
from .engines.comfy.address import Address
from .engines.comfy.client import ComfyClient
from .engines.comfy.discover import discover
from .engines.comfy.models import listed_models
from .engines.comfy.timing import Timing
from .engines.embedded import NEEDED
from .model_choice import choose_model
from .settings import Settings
from .templates.names import stem

GIGABYTE = 1e9
PATIENCE = 5.0
"""Seconds for each answer of a server."""
NODES_PATIENCE = 60.0
"""Seconds for the list of all nodes, which takes long on servers with many packs."""

HERE = "this machine"
NOT_INSTALLED = 'Drawing here needs more libraries: python -m pip install "kizy[local]"'
COMFYUI_FIRST = "ComfyUI draws where it can; --engine embedded draws with this one."


@dataclass(frozen=True)
class ModelHere:
    """`where`: a server's name, or "this machine". `memory`: GB there; None: not known.

    `problem`: why it cannot be drawn with.
    """

    entry: ModelEntry
    where: str
    memory: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ServerModels:
    """What a server that answered has. `memory`: bytes of its largest GPU, None without any."""

    name: str
    entries: tuple[ModelEntry, ...]
    memory: int | None


@dataclass(frozen=True)
class Chosen:
    """A choice and where each of its models is; `models` by the keys of its cards."""

    choice: ModelChoice
    models: dict[str, ModelHere]


@dataclass(frozen=True)
class ModelsHere:
    """`notes`: servers that could not be asked, in plain words."""

    on_servers: tuple[ModelHere, ...] = ()
    local: tuple[ModelHere, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[ModelHere, ...]:
        return (*self.on_servers, *self.local)

    def choose(self, prompt: str, *, lora_families: Collection[str] = ()) -> Chosen:
        """The model for a wish: of the servers, and if none of theirs will do, of this machine."""
        there = _choose(prompt, self.on_servers, lora_families)
        if there.choice.model is None:
            here = _choose(prompt, self.local, lora_families)
            told = (*there.choice.runners_up, *here.choice.runners_up)
            choice = replace(here.choice, runners_up=told)
            return Chosen(choice, {**there.models, **here.models})
        here = _choose(prompt, self.local, lora_families)
        cards = [here.choice.model, *(card for card, _ in here.choice.runners_up)]
        others = [
            (card, COMFYUI_FIRST)
            for card in cards
            if card is not None and card.problem is None and card.name != STARTER
        ]
        choice = replace(there.choice, runners_up=(*there.choice.runners_up, *others))
        return Chosen(choice, {**here.models, **there.models})


Asks = Callable[[Address], ServerModels]


def ask_server(address: Address) -> ServerModels:
    """Raises EngineError."""
    timing = Timing(connect=PATIENCE, read=PATIENCE, object_info=NODES_PATIENCE)
    client = ComfyClient(address, timing=timing)
    try:
        entries = tuple(listed_models(client.facts()))
        memory = [device.total for device in client.stats().devices if device.name != "cpu"]
    finally:
        client.close()
    return ServerModels(address.name, entries, max(memory, default=None))


@all_cores()
def local_memory() -> float | None:
    """GB for a model that is drawn in this process; None if the libraries for it are missing."""
    if _libraries_missing():
        return None
    from ..drawing.memory import best_device, free_bytes

    device = best_device()
    free = free_bytes(device) / GIGABYTE
    # Without a GPU everything is held in float32, which is twice what the families' facts say.
    return free if device.type != "cpu" else free / 2


def models_here(
    settings: Settings,
    *,
    ask: Asks = ask_server,
    find: Callable[[Settings], Sequence[Address]] = discover,
    memory: Callable[[], float | None] = local_memory,
) -> ModelsHere:
    """All models that the engine of the settings could draw with; broken ones, too."""
    found: list[ModelHere] = []
    notes: list[str] = []
    if settings.engine != EMBEDDED:
        addresses = find(settings)
        with ThreadPoolExecutor(max(1, len(addresses))) as at_once:
            for answer in at_once.map(lambda address: _answer(address, ask), addresses):
                if isinstance(answer, str):
                    notes.append(answer)
                    continue
                in_gb = (answer.memory or 0) / GIGABYTE
                found += [ModelHere(e, answer.name, in_gb, e.problem) for e in answer.entries]
    local = _local(found, memory) if settings.engine != COMFYUI else []
    return ModelsHere(tuple(found), tuple(local), tuple(notes))


def find_here(name: str, here: ModelsHere) -> ModelEntry:
    """A model by its name, as servers or this machine call it, or by path.

    Raises UnknownNameError `model_unknown` or `file_missing`; ModelFileError.
    """
    wanted = stem(name).casefold()
    for model in here.all:
        known = model.entry.name
        if name.casefold() == known.casefold() or wanted == stem(known).casefold():
            return model.entry
    try:
        return find_model(name)
    except UnknownNameError as error:
        if error.code != "model_unknown":
            raise
        hint = nearest(name, {stem(model.entry.name) for model in here.all})
        message = f'No model is called "{name}". {hint}'.strip()
        raise UnknownNameError("model_unknown", message) from error


def _choose(prompt: str, models: Sequence[ModelHere], lora_families: Collection[str]) -> Chosen:
    # Of several servers with a model, the one with the largest memory draws it.
    best: dict[str, ModelHere] = {}
    for model in sorted(models, key=lambda model: model.memory or 0.0):
        best[model.entry.name] = model
    choice = choose_model(
        prompt,
        [model.entry for model in best.values()],
        # The starter needs neither a GPU nor much memory.
        memory={n: None if m.entry.family == STARTER else m.memory for n, m in best.items()},
        lora_families=lora_families,
        problems={name: m.problem for name, m in best.items() if m.problem is not None},
    )
    return Chosen(choice, best)


def _local(on_servers: Sequence[ModelHere], memory: Callable[[], float | None]) -> list[ModelHere]:
    there = {stem(model.entry.name).casefold() for model in on_servers}
    missing = _libraries_missing()
    entries = list_models()
    in_gb = memory() if len(entries) > 1 else None
    found = []
    for entry in entries:
        if entry.kind == "checkpoint" and stem(entry.name).casefold() in there:
            continue  # a server has it and draws with it
        problem = entry.problem or (NOT_INSTALLED if missing else None)
        found.append(ModelHere(entry, HERE, in_gb, problem))
    return found


def _libraries_missing() -> bool:
    return any(find_spec(name) is None for name in NEEDED)


def _answer(address: Address, ask: Asks) -> ServerModels | str:
    try:
        return ask(address)
    except KizyError as error:
        return f"{address.name} was not asked: {error.message}"
