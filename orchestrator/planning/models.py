"""The models that can be drawn with, and the one rule that picks one of them.

Planning, `kizy models why`, `kizy loras why` and the lists of REST, SDK and MCP ask here. A request
that names a model, or settings that do, come before the rule: see the offers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ...catalog.card import Card
from ...catalog.families.family import family
from ...catalog.index.models import STARTER, ModelEntry, list_models
from ...catalog.search.select_model import ModelChoice, select_model
from ...core.cores import all_cores
from ...core.request import GenerationRequest
from ..backends.comfyui.protocol.listed_models import entry, family_of, model_names
from ..backends.embedded import missing_libraries
from .inventory import Server
from .starter_limits import starter_can

GIGABYTE = 1e9
HERE = "this machine"
NOT_INSTALLED = 'Drawing here needs more libraries: python -m pip install "kizy[local]"'
COMFYUI_FIRST = "ComfyUI draws where it can; --engine embedded draws with this one."
CHANGES_PICTURES = "It is made for changing a picture that is given, and none is."
STARTER_SUITS = ("icon", "any")
"""What the starter is quick at, where another model would have to draw without a GPU."""


@dataclass(frozen=True)
class Available:
    """A model and where it lies: a server's name, or HERE.

    `memory`: GB of the GPU that it would be drawn with; None: not known. `problem`: why it cannot
    be drawn with. `slow`: it would be drawn without a GPU.
    """

    entry: ModelEntry
    where: str
    memory: float | None = None
    problem: str | None = None
    slow: bool = False


@dataclass(frozen=True)
class Chosen:
    """A choice, and what each of its cards is; `models` by the keys of the cards."""

    choice: ModelChoice
    models: Mapping[str, Available]

    @property
    def taken(self) -> Available | None:
        model = self.choice.model
        return self.models[model.key] if model is not None else None


def pick(
    request: GenerationRequest,
    models: Sequence[Available],
    *,
    lora_families: Collection[str] = (),
) -> Chosen:
    """The model that suits a request best, of those that one engine has.

    `lora_families`: of the LoRAs that the request names.
    """
    # Of several servers with a model, the one with the largest memory draws it.
    best: dict[str, Available] = {}
    for model in sorted(models, key=lambda model: model.memory or 0.0):
        best[model.entry.name] = model
    cards = [
        Card(
            key=name,
            name=_shown(name),
            family=model.entry.family,
            variant=model.entry.variant,
            problem=_problem(model, request),
            size=model.entry.size,
        )
        for name, model in best.items()
    ]
    choice = select_model(
        request.prompt,
        cards,
        # The starter draws wherever there is no GPU at all.
        memory_gb=lambda card: None if card.family == STARTER else best[card.key].memory,
        lora_families=frozenset(lora_families),
        starter_can=starter_can,
    )
    return Chosen(_without_gpu(choice, cards, best, request.prompt), best)


def on_server(server: Server) -> list[Available]:
    """Every model that a server lists, by name; Kizy's own by its usual name."""
    memory = (server.memory or 0) / GIGABYTE
    found = {name: entry(name, family_of(name)) for name in sorted(set(model_names(server.facts)))}
    return [
        Available(entry(STARTER, STARTER) if one.family == STARTER else one, server.name, memory)
        for one in found.values()
    ]


def on_this_machine() -> list[Available]:
    """Every model that lies here; also those that cannot be drawn in this process."""
    entries = list_models()
    memory, slow = local_memory() if len(entries) > 1 else (None, False)
    return [
        Available(one, HERE, memory, None if one.drawable_here else _why_not(one), slow)
        for one in entries
    ]


@all_cores()
def local_memory() -> tuple[float | None, bool]:
    """(GB for a model that is drawn in this process, whether that is without a GPU).

    (None, False) if the libraries for it are missing.
    """
    if missing_libraries():
        return None, False
    from ...drawing.memory import best_device, free_bytes

    device = best_device()
    free = free_bytes(device) / GIGABYTE
    # Without a GPU everything is held in float32, which is twice what the families' facts say.
    return (free / 2, True) if device.type == "cpu" else (free, False)


def _problem(model: Available, request: GenerationRequest) -> str | None:
    if model.problem is not None or model.entry.family is None or request.start is not None:
        return model.problem
    # What such a model makes of text alone is only second best.
    return CHANGES_PICTURES if family(model.entry.family).comfyui.reference else None


def _why_not(model: ModelEntry) -> str:
    return model.problem or "the embedded engine cannot draw with it"


def _without_gpu(
    choice: ModelChoice, cards: Sequence[Card], models: Mapping[str, Available], prompt: str
) -> ModelChoice:
    """The starter, where it was taught what is asked, in place of a model that takes minutes."""
    best = choice.model
    if best is None or not models[best.key].slow or best.family == STARTER:
        return choice
    slow = f"{choice.why} Without a GPU it takes minutes."
    starter = next((card for card in cards if card.family == STARTER and not card.problem), None)
    if starter is None or choice.intent not in STARTER_SUITS or not starter_can(prompt):
        return replace(choice, why=slow)
    why = (
        f"it was taught what you ask for; without a GPU {best.name} takes minutes; "
        f"--model {best.name} takes it all the same"
    )
    others = [pair for pair in choice.runners_up if pair[0] is not starter]
    told = (best, "Without a GPU it takes minutes.")
    return replace(choice, model=starter, why=why, runners_up=(told, *others))


def _shown(name: str) -> str:
    return name if name == STARTER else name.rsplit("/", 1)[-1]
