"""What ComfyUI servers offer the planner: the models and LoRAs that they list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..catalog.family import Family, family, load_families
from ..catalog.loras import find_lora
from ..catalog.models import STARTER, ModelEntry
from ..core.errors import EngineError, InputError, KizyError, UnknownNameError, nearest
from ..core.plan import ModelFile
from ..core.request import GenerationRequest, LoraChoice
from .embedded_offer import chosen, weights
from .engines.base import COMFYUI
from .engines.comfy.models import entry, family_of, model_names
from .planner import ENLARGER, ChosenLora, EngineFacts
from .templates.names import enlarger_name, find_name, stem
from .templates.server import ServerFacts

BEST_FIRST = ("flux1-dev", "sd35", "sdxl", "sd35-medium", "flux1-schnell", "sd15", "starter")
"""Families in the order in which "auto" takes them where memory allows."""

GIGABYTE = 1e9


@dataclass(frozen=True)
class Server:
    """A server that answered. `memory`: bytes of its largest GPU, None if it has none."""

    name: str
    facts: ServerFacts
    memory: int | None


class ComfyOffer:
    """Drawing on these servers; `preferred`: the model that the settings name."""

    kind = COMFYUI

    def __init__(self, servers: Sequence[Server], preferred: str | None) -> None:
        self._servers, self._preferred = servers, preferred
        self._names = sorted({name for server in servers for name in model_names(server.facts)})

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        """The model and why.

        Raises UnknownNameError `model_unknown`, InputError `family_unknown`, EngineError
        `server_model_missing` if no server has a model that Kizy knows.
        """
        if request.model != "auto":
            return self._named(request.model), "you named it"
        if self._preferred is not None:
            return self._named(self._preferred), "your settings name it"
        return self._best()

    def loras(self, request: GenerationRequest, facts: Family) -> tuple[ChosenLora, ...]:
        """The named LoRAs. Raises UnknownNameError `lora_unknown`, ModelFileError."""
        if isinstance(request.loras, str):
            return ()
        return tuple(self._lora(choice, facts) for choice in request.loras)

    def engine(self, facts: Family) -> EngineFacts:
        first = self._servers[0].facts
        enlarger = next((e for s in self._servers if (e := _enlarger(s.facts))), None)
        names = ", ".join(server.name for server in self._servers)
        return EngineFacts(
            kind=self.kind,
            why=f"on {names}",
            samplers=first.choices("KSampler", "sampler_name"),
            enlarger=enlarger,
            controls=True,
            second_pass=True,
        )

    def _named(self, asked: str) -> ModelEntry:
        name, _, said = asked.rpartition("@")
        known = _family_or_none(said) if name else None
        name = name if known is not None else asked
        if name.strip().casefold() == STARTER:
            if not any(family_of(listed) == STARTER for listed in self._names):
                message = "No server has Kizy's own model: its node pack is not installed there."
                fix = "Install ComfyUI-Kizy there, or draw here with --engine embedded."
                raise EngineError("server_model_missing", message, fix=fix)
            return entry(STARTER, STARTER)
        found = find_name(name, self._names)
        if found is None:
            hint = nearest(name, [stem(known_name) for known_name in self._names])
            message = f'No server has a model called "{name}". {hint}'.strip()
            raise UnknownNameError("model_unknown", message)
        guessed = known.id if known is not None else family_of(found)
        if guessed is None:
            message = f"Kizy cannot tell from its name which family {found} is of."
            families = ", ".join(load_families())
            fix = f"Say it behind an @: --model {stem(found)}@sdxl (one of {families})."
            raise UnknownNameError("family_unknown", message, fix=fix)
        return entry(found, guessed)

    def _best(self) -> tuple[ModelEntry, str]:
        # Where a family is, in how much memory: each server draws with what it has itself.
        found: dict[str, tuple[float, str]] = {}
        for server in self._servers:
            memory = (server.memory or 0) / GIGABYTE
            for name in sorted(model_names(server.facts)):
                known = family_of(name)
                if known is not None and memory > found.get(known, (-1.0, ""))[0]:
                    found[known] = memory, name
        for known in BEST_FIRST:
            if known not in found:
                continue
            memory, name = found[known]
            if known == STARTER:
                return entry(STARTER, STARTER), "the model there that this memory suffices for"
            if load_families()[known].memory.offload_gb <= memory:
                why = f"the best family there that fits into {memory:.0f} GB"
                return entry(name, known), why
        message = "No server has a model of a family that Kizy knows and that fits its memory."
        raise EngineError("server_model_missing", message)

    def _lora(self, choice: LoraChoice, facts: Family) -> ChosenLora:
        for server in self._servers:
            listed = server.facts.choices("LoraLoader", "lora_name")
            found = find_name(choice.name, listed)
            if found is None:
                continue
            local = _local_lora(choice, facts)
            if local is not None:
                return local
            return ChosenLora(ModelFile(name=found), (), *weights(choice))
        names = {
            stem(name) for s in self._servers for name in s.facts.choices("LoraLoader", "lora_name")
        }
        hint = nearest(choice.name, names)
        message = f'No server has a LoRA called "{choice.name}". {hint}'.strip()
        raise UnknownNameError("lora_unknown", message)


def _family_or_none(name: str) -> Family | None:
    try:
        return family(name)
    except InputError:
        return None


def _local_lora(choice: LoraChoice, facts: Family) -> ChosenLora | None:
    """The same LoRA in Kizy's own folder, whose header says more than a server's list."""
    try:
        return chosen(find_lora(choice.name), choice, facts)
    except KizyError as error:
        if error.code == "lora_other_family":
            raise
        return None


def _enlarger(facts: ServerFacts) -> ModelFile | None:
    """Kizy's own, which the node pack brings, else the first that says it enlarges four times."""
    if enlarger_name(facts) is not None:
        return ENLARGER
    listed = facts.choices("UpscaleModelLoader", "model_name")
    four = [name for name in listed if re.search(r"4x|x4", stem(name), re.IGNORECASE)]
    return ModelFile(name=four[0]) if four else None
