"""What the embedded engine offers the planner: models and LoRAs that lie on this machine."""

from __future__ import annotations

from typing import ClassVar

from ..catalog.family import Family
from ..catalog.models import STARTER, ModelEntry, find_model, list_models
from ..core.cores import all_cores
from ..core.errors import ModelFileError
from ..core.request import GenerationRequest
from ..drawing.schedulers import PLAIN_SAMPLERS, sampler_names
from .engines.base import EMBEDDED
from .lora_choice import Reach, choose, families_of
from .model_choice import choose_model, starter_can
from .planner import ENLARGER, EngineFacts, LoraChoices
from .shelf import Shelf

STARTER_SUITS = ("icon", "any")
"""What the starter is quick at, where another model would have to draw without a GPU."""


class EmbeddedOffer:
    """Drawing in this process. `preferred`: the model that the settings name; `why`: why here."""

    kind: ClassVar[str] = EMBEDDED

    def __init__(self, preferred: str | None, why: str, shelf: Shelf) -> None:
        self._preferred, self._why, self._shelf = preferred, why, shelf

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        """The model and why. Raises UnknownNameError, ModelFileError."""
        if request.model != "auto":
            return drawable(find_model(request.model)), "you named it"
        if self._preferred is not None:
            return drawable(find_model(self._preferred)), "your settings name it"
        return _best_model(request, self._shelf)

    def loras(
        self, request: GenerationRequest, model: ModelEntry, style: str | None = None
    ) -> LoraChoices:
        """The LoRAs to draw with; see `lora_choice.choose` for what it raises."""
        return choose(request, model, self._shelf, Reach(), style=style)

    def engine(self, facts: Family, model: ModelEntry) -> EngineFacts:
        return EngineFacts(
            kind=self.kind,
            why=self._why,
            samplers=sampler_names(zero_snr=model.zero_snr),
            plain_samplers=PLAIN_SAMPLERS,
            enlarger=ENLARGER,
        )


def drawable(entry: ModelEntry) -> ModelEntry:
    """The entry, if it can be drawn in this process. Raises ModelFileError."""
    if not entry.drawable_here:
        problem = entry.problem or "the embedded engine cannot draw with it"
        raise ModelFileError("model_folder_invalid", f"{entry.name}: {problem}")
    return entry


@all_cores()
def _best_model(request: GenerationRequest, shelf: Shelf) -> tuple[ModelEntry, str]:
    entries = {entry.name: entry for entry in list_models() if entry.drawable_here}
    if len(entries) == 1:
        return entries[STARTER], "the only model that is installed"
    from ..drawing.memory import best_device, free_bytes

    device = best_device()
    free = free_bytes(device)
    # Without a GPU everything is held in float32, which is twice what the families' facts say.
    memory = free / 1e9 if device.type != "cpu" else free / 2e9
    choice = choose_model(
        request.prompt,
        entries.values(),
        memory=dict.fromkeys(entries, memory),
        lora_families=families_of(request, shelf),
    )
    if choice.model is None:
        return entries[STARTER], "the installed models need more memory than there is"
    best = entries[choice.model.key]
    if device.type != "cpu" or best.name == STARTER:
        return best, choice.why
    if choice.intent in STARTER_SUITS and starter_can(request.prompt):
        slow = f"without a GPU {best.name} takes minutes; --model {best.name} takes it all the same"
        return entries[STARTER], f"it was taught what you ask for; {slow}"
    return best, f"{choice.why} Without a GPU it takes minutes."
