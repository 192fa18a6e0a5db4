"""What ComfyUI servers offer the planner: the models and LoRAs that they list."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ...catalog.card import Card
from ...catalog.families.family import Family, family, load_families
from ...catalog.index.lora_lookup import ON_SERVER
from ...catalog.index.models import STARTER, ModelEntry
from ...catalog.index.name_lookup import short_name
from ...catalog.index.records import key_of
from ...core.errors import EngineError, InputError, UnknownNameError, nearest
from ...core.once import once_property
from ...core.plan import ModelFile
from ...core.request import GenerationRequest, LoraChoice
from ...language.clip_pieces import counter
from ..backends.base import COMFYUI
from ..backends.comfyui.protocol.listed_models import entry, family_of, model_names
from ..backends.comfyui.protocol.lora_upload import takes_loras
from ..backends.comfyui.workflows.file_names import enlarger_name, find_name, stem
from ..backends.comfyui.workflows.server_facts import ServerFacts
from ..shelf import Shelf
from .inventory import Server
from .loras import Reach, choose, families_of, may_pick, named_in
from .models import Chosen, on_server, pick
from .planner import ENLARGER, EngineFacts, LoraChoices
from .resolve import path_of
from .server_loras import LorasThere, name_on_server


class ComfyOffer:
    """Drawing on these servers; `preferred`: the model that the settings name.

    `comfyui`: a folder of ComfyUI on this machine, which brings CLIP's vocabulary.
    """

    kind: ClassVar[str] = COMFYUI

    def __init__(
        self,
        servers: Sequence[Server],
        preferred: str | None,
        shelf: Shelf,
        comfyui: Path | None = None,
    ) -> None:
        self._count_tokens = counter(comfyui / "comfy" / "sd1_tokenizer") if comfyui else None
        self.servers, self._preferred, self._shelf = servers, preferred, shelf
        self._there: LorasThere | None = None
        self._names = sorted({name for server in servers for name in model_names(server.facts)})

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        """The model and why.

        Raises UnknownNameError `model_unknown`, InputError `family_unknown` or `name_ambiguous`,
        EngineError `server_model_missing` if no server has a model that Kizy knows.
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
        families = families_of(request, self._shelf, self._lora_cards)
        return pick(request, models, lora_families=families)

    def loras(
        self, request: GenerationRequest, model: ModelEntry, style: str | None = None
    ) -> LoraChoices:
        """The LoRAs to draw with.

        Raises UnknownNameError `lora_unknown`, InputError `name_ambiguous`, ModelFileError.
        """
        named = named_in(request)
        if not named and not may_pick(request):
            return LoraChoices()
        listed = tuple(self._loras)
        receiving = any(takes_loras(server.facts) for server in self.servers)
        if not listed and not named and not receiving:
            return LoraChoices()
        there = self._loras_there(receiving=receiving)
        meant: dict[str, str] = {}
        others: dict[str, str] = {}
        if not receiving:
            request = _by_file_name(request, there)
        for choice in named_in(request):
            if path_of(choice.name) is not None:
                continue
            found = there.find(choice.name, model.family)
            if isinstance(found, Card):
                meant[choice.name] = found.key
            else:
                others[choice.name] = found
        sent, taken = there.sent, there.taken
        reach = Reach(there.names, others, sent, receiving, there.cards, meant, taken)
        return choose(request, model, self._shelf, reach, style=style)

    @once_property
    def _loras(self) -> Mapping[str, None]:
        """Every LoRA that a server lists, as it lists it."""
        return dict.fromkeys(
            name for s in self.servers for name in s.facts.choices("LoraLoader", "lora_name")
        )

    def _loras_there(self, *, receiving: bool) -> LorasThere:
        """Kept until the library is another one."""
        own = self._shelf.library().cards
        if self._there is None or self._there.own is not own:
            sizes: dict[str, set[int]] = {}
            for server in self.servers:
                for name, stamp in server.files.get("loras", {}).items():
                    sizes.setdefault(name, set()).add(stamp.size)
            self._there = LorasThere.of(
                own, self._lora_cards, self._loras, receiving=receiving, sizes=sizes
            )
        return self._there

    @once_property
    def _lora_cards(self) -> tuple[Card, ...]:
        """Cards of the files that servers list; of one name, the first."""
        wanted = {name.replace("\\", "/"): name for name in self._loras}
        found: dict[str, Card] = {}
        for server in self.servers:
            for card in server.cards:
                name = wanted.get(name_on_server(card) or "")
                if name is not None and name not in found:
                    found[name] = card.model_copy(update={"key": ON_SERVER + name})
        return tuple(found.values())

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
            count_tokens=self._count_tokens if facts.long_prompts == "rows" else None,
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
        path = path_of(name)
        found = find_name(name, self._names) if path is None else _at(path, self._names)
        if found is None:
            hint = nearest(name, [stem(known_name) for known_name in self._names])
            message = f'No server has a model called "{name}". {hint}'.strip()
            raise UnknownNameError("model_unknown", message)
        guessed = known.id if known is not None else family_of(found)
        if guessed is None:
            message = f"Kizy cannot tell from its name which family {found} is of."
            families = ", ".join(load_families())
            short = short_name(found, self._names)
            fix = f"Say it behind an @: --model {short}@sdxl (one of {families})."
            raise UnknownNameError("family_unknown", message, fix=fix)
        return entry(found, guessed)


def _by_file_name(request: GenerationRequest, there: LorasThere) -> GenerationRequest:
    """A file that cannot be sent is named by its name alone: the server may have it."""

    def renamed(choice: LoraChoice) -> LoraChoice:
        path = path_of(choice.name)
        if path is None or key_of(path) in there.names:
            return choice
        return choice.model_copy(update={"name": path.name})

    if isinstance(request.loras, str):
        return request
    return request.model_copy(update={"loras": tuple(map(renamed, request.loras))})


def _at(path: Path, listed: Collection[str]) -> str | None:
    """The model that a server lists and that a path of this machine ends with."""
    ends = [name for name in listed if path.as_posix().endswith("/" + name.replace("\\", "/"))]
    return max(ends, key=len, default=None)


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
