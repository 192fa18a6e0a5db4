"""What ComfyUI servers offer the planner: the models and LoRAs that they list."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ..catalog.card import Card
from ..catalog.family import Family, family, load_families
from ..catalog.models import STARTER, ModelEntry
from ..core.errors import EngineError, InputError, UnknownNameError, nearest
from ..core.plan import ModelFile
from ..core.request import GenerationRequest, LoraChoice
from .engines.base import COMFYUI
from .engines.comfy.lora_sending import takes_loras
from .engines.comfy.models import entry, family_of, model_names
from .lora_choice import Reach, choose, families_of, keys_on, may_pick, named_in
from .planner import ENLARGER, EngineFacts, LoraChoices
from .planning.inventory import Server
from .planning.models import Chosen, on_server, pick
from .server_loras import BEGIN, name_on_server
from .shelf import Shelf
from .templates.names import enlarger_name, find_name, stem
from .templates.server import ServerFacts


class ComfyOffer:
    """Drawing on these servers; `preferred`: the model that the settings name."""

    kind: ClassVar[str] = COMFYUI

    def __init__(self, servers: Sequence[Server], preferred: str | None, shelf: Shelf) -> None:
        self.servers, self._preferred, self._shelf = servers, preferred, shelf
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
        chosen = self.chosen(request)
        if chosen.taken is None:
            message = "No server has a model of a family that Kizy knows and that fits its memory."
            raise EngineError("server_model_missing", message)
        return chosen.taken.entry, chosen.choice.why

    def chosen(self, request: GenerationRequest) -> Chosen:
        """The model that the rule picks for a request, and why no other."""
        models = [model for server in self.servers for model in on_server(server)]
        return pick(request, models, lora_families=families_of(request, self._shelf))

    def loras(
        self, request: GenerationRequest, model: ModelEntry, style: str | None = None
    ) -> LoraChoices:
        """The LoRAs to draw with. Raises UnknownNameError `lora_unknown`, ModelFileError."""
        named = named_in(request)
        if not named and not may_pick(request):
            return LoraChoices()
        listed = dict.fromkeys(
            name for s in self.servers for name in s.facts.choices("LoraLoader", "lora_name")
        )
        receiving = any(takes_loras(server.facts) for server in self.servers)
        if not listed and not named and not receiving:
            return LoraChoices()
        library = self._shelf.library()
        own = [card for card in library.cards if name_on_server(card) is None]
        reach = keys_on(listed, own)
        there = self._only_there(listed, set(reach.values()))
        self._shelf.welcome(there)
        library = self._shelf.library()
        reach |= {card.key: name_on_server(card) or "" for card in there}
        sent = {card.key for card in own if card.key not in reach} if receiving else set()
        reach |= {key: Path(key).name for key in sent}
        others: dict[str, str] = {}
        renamed: dict[str, str] = {}
        for choice in named:
            if any(library.cards[at].key in reach for at in library.find(choice.name)):
                continue
            found = find_name(choice.name, listed)
            if found is None and receiving and Path(choice.name).is_file():
                continue
            if found is None:
                hint = nearest(choice.name, (stem(name) for name in listed))
                message = f'No server has a LoRA called "{choice.name}". {hint}'.strip()
                raise UnknownNameError("lora_unknown", message)
            card = next((card for card in there if name_on_server(card) == found), None)
            if card is not None:
                renamed[choice.name] = card.key
            else:
                others[choice.name] = found
        asked = request.model_copy(update={"loras": _renamed(request.loras, renamed)})
        found_reach = Reach(reach, others, frozenset(sent), receiving=receiving)
        return choose(asked, model, self._shelf, found_reach, style=style)

    def _only_there(self, listed: Iterable[str], known: Collection[str]) -> list[Card]:
        """Cards of files that servers have and this machine has not; of one name, the first."""
        wanted = {name.replace("\\", "/"): name for name in listed if name not in known}
        found: dict[str, Card] = {}
        for server in self.servers:
            for card in server.cards:
                name = wanted.get(name_on_server(card) or "")
                if name is not None and name not in found:
                    found[name] = card.model_copy(update={"key": BEGIN + name})
        return list(found.values())

    def engine(self, facts: Family, model: ModelEntry) -> EngineFacts:
        """What there is on any of the servers: a picture goes to one that has all it needs.

        Those that list a model of the family come first.
        """

        def has_none(server: Server) -> bool:
            return all(family_of(name) != facts.id for name in model_names(server.facts))

        ordered = sorted(self.servers, key=has_none)
        samplers = dict.fromkeys(
            name for s in ordered for name in s.facts.choices("KSampler", "sampler_name")
        )
        enlarger = next((e for s in ordered if (e := _enlarger(s.facts))), None)
        names = ", ".join(server.name for server in self.servers)
        return EngineFacts(
            kind=self.kind,
            why=f"on {names}",
            samplers=tuple(samplers),
            enlarger=enlarger,
            controls=True,
            second_pass=True,
            embeddings=True,
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


Loras = tuple[LoraChoice, ...] | Literal["auto", "none"]


def _renamed(loras: Loras, names: Mapping[str, str]) -> Loras:
    """What a request names, by other names where these are known."""
    if isinstance(loras, str) or not names:
        return loras
    return tuple(one.model_copy(update={"name": names.get(one.name, one.name)}) for one in loras)


def _family_or_none(name: str) -> Family | None:
    try:
        return family(name)
    except InputError:
        return None


def _enlarger(facts: ServerFacts) -> ModelFile | None:
    """Kizy's own, which the node pack brings, else the first that says it enlarges four times."""
    if enlarger_name(facts) is not None:
        return ENLARGER
    listed = facts.choices("UpscaleModelLoader", "model_name")
    four = [name for name in listed if re.search(r"4x|x4", stem(name), re.IGNORECASE)]
    return ModelFile(name=four[0]) if four else None
