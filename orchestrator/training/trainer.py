"""The trainer as this deployment's settings have it, with samples planned as drawings are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...catalog.index.loras import list_loras
from ...catalog.index.models import ModelEntry, find_model
from ...core.plan import ModelFile, Plan
from ...core.request import GenerationRequest
from ...trainer.caption_endpoint import VisionEndpoint
from ...trainer.engines.kohya import KohyaSettings
from ...trainer.plan import TrainingPlan
from ...trainer.train import Trainer, TrainerSettings
from ..app import App
from ..planning.embedded_offer import EmbeddedOffer, drawable
from ..planning.planner import ChosenLora, LoraChoices
from ..settings import Settings


def make_trainer(settings: Settings) -> Trainer:
    """The trainer, with all that it needs of the other rooms."""
    given = settings.trainer
    captioner = None
    asked = given.captions
    if asked.url is not None and asked.model is not None:
        key = asked.key.get_secret_value() if asked.key is not None else None
        captioner = VisionEndpoint(asked.url, asked.model, key)
    mine = TrainerSettings(
        kohya=KohyaSettings(given.kohya, given.kohya_interpreter),
        model=settings.model,
        captioner=captioner,
    )
    return Trainer(mine, sample_plans=lambda plan: sample_plans(plan, settings), triggers=_triggers)


def sample_plans(training: TrainingPlan, settings: Settings) -> Sequence[Plan]:
    """For each sample prompt what `kizy generate` will plan once the LoRA is there.

    Raises KizyError if the base cannot be drawn in this process.
    """
    app = App(settings=settings)
    offer = _OneLora(app, training)
    requests = [
        GenerationRequest(prompt=prompt, seed=training.sample_seed, engine="embedded")
        for prompt in training.sample_prompts
    ]
    return [app.plan_by(offer, request) for request in requests]


class _OneLora(EmbeddedOffer):
    """The base and the LoRA of a training, which has no file yet."""

    def __init__(self, app: App, training: TrainingPlan) -> None:
        super().__init__(None, "the samples of a training", app.shelf)
        self._training = training

    def model(self, request: GenerationRequest) -> tuple[ModelEntry, str]:
        base = self._training.base
        return drawable(find_model(base.path or base.name)), "it is trained on it"

    def loras(
        self, request: GenerationRequest, model: ModelEntry, style: str | None = None
    ) -> LoraChoices:
        training = self._training
        lora = ChosenLora(
            file=ModelFile(name=training.slug),
            triggers=() if training.trigger in request.prompt else (training.trigger,),
            model_weight=training.weight,
            clip_weight=training.weight,
            why="it is trained",
            is_style=training.goal == "style",
        )
        return LoraChoices(loras=(lora,))


def _triggers() -> Collection[str]:
    return {trigger for entry in list_loras() for trigger in entry.triggers}
