"""Which of the models at hand a request is drawn with, if it names none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ..catalog.card import Card
from ..catalog.models import STARTER, ModelEntry
from ..catalog.select_model import ModelChoice, select_model
from ..starter.concepts import STYLES, concepts

_PHOTO = re.compile(r"\b(photo|photograph|photorealistic|realistic)\b", re.IGNORECASE)


def choose_model(
    prompt: str,
    models: Iterable[ModelEntry],
    *,
    memory: Mapping[str, float | None],
    lora_families: Iterable[str] = (),
    problems: Mapping[str, str] | None = None,
) -> ModelChoice:
    """The model that suits a prompt best; `model.key` of the choice is its name.

    `memory`: a model's name -> GB of the GPU that it would be drawn with, None if not known.
    `problems`: a model's name -> why it cannot be drawn with.
    """
    problems = problems or {}
    cards = [
        Card(
            key=model.name,
            name=_shown(model.name),
            family=model.family,
            variant=model.variant,
            problem=problems.get(model.name),
            size=model.size,
        )
        for model in models
    ]
    return select_model(
        prompt,
        cards,
        memory_gb=lambda card: memory.get(card.key),
        lora_families=frozenset(lora_families),
        starter_can=starter_can,
    )


def starter_can(prompt: str) -> bool:
    """Whether the starter was taught what a prompt speaks of."""
    text = prompt.casefold()
    return not _PHOTO.search(text) and _taught().search(text) is not None


@lru_cache(maxsize=1)
def _taught() -> re.Pattern[str]:
    """A pattern of all words for what the starter was taught, also in the plural."""
    found = {word for c in concepts() if c.everyday for word in (c.label, *c.words)}
    found -= set(STYLES.values())
    words = sorted((re.escape(word.casefold()) for word in found), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(words)})(?:e?s)?\b")


def _shown(name: str) -> str:
    return name if name == STARTER else name.rsplit("/", 1)[-1]
