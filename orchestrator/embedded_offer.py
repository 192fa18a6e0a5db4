"""What the embedded engine offers the planner: models and LoRAs that lie on this machine."""

from __future__ import annotations

from ..catalog.family import Family, family
from ..catalog.loras import LoraEntry, find_lora
from ..catalog.models import ModelEntry, find_model, list_models
from ..core.errors import ModelFileError
from ..core.plan import ModelFile
from ..core.request import GenerationRequest, LoraChoice
from ..drawing.schedulers import PLAIN_SAMPLERS, sampler_names
from .engines.base import EMBEDDED
from .planner import ENLARGER, ChosenLora, EngineFacts


class EmbeddedOffer:
    """Drawing in this process. `preferred`: the model that the settings name; `why`: why here."""

    kind = EMBEDDED

    def __init__(self, preferred: str | None, why: str) -> None:
        self._preferred, self._why = preferred, why

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        """The model and why. Raises UnknownNameError, ModelFileError."""
        if request.model != "auto":
            return drawable(find_model(request.model)), "you named it"
        if self._preferred is not None:
            return drawable(find_model(self._preferred)), "your settings name it"
        return _best_model()

    def loras(self, request: GenerationRequest, facts: Family) -> tuple[ChosenLora, ...]:
        """The named LoRAs. Raises UnknownNameError, ModelFileError."""
        if isinstance(request.loras, str):
            return ()
        return tuple(chosen(find_lora(choice.name), choice, facts) for choice in request.loras)

    def engine(self, facts: Family) -> EngineFacts:
        return EngineFacts(
            kind=self.kind,
            why=self._why,
            samplers=sampler_names(zero_snr=facts.id == "starter"),
            plain_samplers=PLAIN_SAMPLERS,
            enlarger=ENLARGER,
        )


def drawable(entry: ModelEntry) -> ModelEntry:
    """The entry, if it can be drawn in this process. Raises ModelFileError."""
    if not entry.drawable_here:
        problem = entry.problem or "the embedded engine cannot draw with it"
        raise ModelFileError("model_folder_invalid", f"{entry.name}: {problem}")
    return entry


def chosen(entry: LoraEntry, choice: LoraChoice, facts: Family) -> ChosenLora:
    """A LoRA of this machine as the planner takes it. Raises ModelFileError."""
    if entry.problem is not None:
        raise ModelFileError("model_file_damaged", f"{entry.name}: {entry.problem}")
    if entry.family is not None and entry.family != facts.id:
        message = (
            f'The LoRA "{entry.name}" was made for {family(entry.family).name}; '
            f"the model is of {facts.name}."
        )
        raise ModelFileError("lora_other_family", message)
    file = ModelFile(name=entry.name, path=str(entry.path), sha256=entry.sha256())
    return ChosenLora(file, entry.triggers, *weights(choice))


def weights(choice: LoraChoice) -> tuple[float | None, float | None]:
    """Model and clip weight as asked for; None for "auto"."""
    model, clip = choice.model_weight, choice.clip_weight
    return None if model == "auto" else model, None if clip == "auto" else clip


def _best_model() -> tuple[ModelEntry, str]:
    entries = list_models()
    starter = next(entry for entry in entries if entry.kind == "builtin")
    others = [entry for entry in entries if entry is not starter and entry.drawable_here]
    if not others:
        return starter, "the only model that is installed"
    from ..drawing.memory import best_device, free_bytes

    device = best_device()
    if device.type == "cpu":
        return starter, "quick on a machine without GPU; --model takes a larger one"
    free = free_bytes(device)
    fitting = [entry for entry in others if entry.size <= free]
    if not fitting:
        return starter, "the installed models do not fit into the GPU's free memory"
    best = max(fitting, key=lambda entry: (entry.size, entry.name))
    return best, "the largest installed model that fits into the GPU's memory"
