"""What the embedded engine offers the planner: models and LoRAs that lie on this machine."""

from __future__ import annotations

from typing import ClassVar

from ...catalog.families.family import Family
from ...catalog.index.models import ModelEntry, find_model, model_at, named_model
from ...core.errors import ModelFileError
from ...core.request import GenerationRequest
from ...drawing.schedulers import PLAIN_SAMPLERS, sampler_names
from ...language.clip_pieces import counter
from ..backends.base import EMBEDDED
from ..shelf import Shelf
from .loras import Reach, choose, families_of
from .models import Chosen, on_this_machine, pick
from .planner import ENLARGER, EngineFacts, LoraChoices
from .resolve import path_of


class EmbeddedOffer:
    """Drawing in this process. `preferred`: the model that the settings name; `why`: why here."""

    kind: ClassVar[str] = EMBEDDED

    def __init__(self, preferred: str | None, why: str, shelf: Shelf) -> None:
        self._preferred, self._why, self._shelf = preferred, why, shelf

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        """The model and why. Raises UnknownNameError, InputError, ModelFileError."""
        if request.model != "auto":
            path = path_of(request.model)
            entry = named_model(request.model) if path is None else model_at(path)
            return drawable(entry), "you named it"
        if self._preferred is not None:
            return drawable(find_model(self._preferred)), "your settings name it"
        chosen = self.chosen(request)
        # The starter lies in the package: there is always one.
        assert chosen.taken is not None
        return chosen.taken.entry, chosen.choice.why

    def chosen(self, request: GenerationRequest) -> Chosen:
        """The model that the rule picks for a request, and why no other."""
        return pick(request, on_this_machine(), lora_families=families_of(request, self._shelf))

    def loras(
        self, request: GenerationRequest, model: ModelEntry, style: str | None = None
    ) -> LoraChoices:
        """The LoRAs to draw with; see `loras.choose` for what it raises."""
        return choose(request, model, self._shelf, Reach(), style=style)

    def engine(self, facts: Family, model: ModelEntry) -> EngineFacts:
        return EngineFacts(
            kind=self.kind,
            why=self._why,
            samplers=sampler_names(zero_snr=model.zero_snr),
            plain_samplers=PLAIN_SAMPLERS,
            enlarger=ENLARGER,
            count_tokens=counter(model.path / "tokenizer") if model.path is not None else None,
        )


def drawable(entry: ModelEntry) -> ModelEntry:
    """The entry, if it can be drawn in this process. Raises ModelFileError."""
    if not entry.drawable_here:
        problem = entry.problem or "the embedded engine cannot draw with it"
        raise ModelFileError("model_folder_invalid", f"{entry.name}: {problem}")
    return entry
