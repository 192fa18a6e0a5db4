"""How strong a LoRA is applied, alone and with others."""

from __future__ import annotations

from collections.abc import Sequence

from ..card import Card
from ..words.card_words import CardWords

# Kizy's choice, within the 0.6 to 1.0 that most authors write on their pages: a likeness needs
# more than a manner of drawing, and a slider or light less than both.
BY_KIND = {"subject": 0.9, "style": 0.8, "technique": 0.7}
SPEED_WEIGHT = 1.0
"""Speed LoRAs are distilled models: they are made for full strength."""

TOTAL_OF_TWO = 1.6
"""Two LoRAs at 0.8 each, as in the experiments of Multi-LoRA Composition (lora_scale 0.8)."""
TOTAL_OF_MORE = 1.8
"""Three at 0.6 each, more in proportion: Kizy's choice in the same spirit."""
LEAST = 0.5
"""No LoRA is lowered below this share of its weight."""


def usual_weight(card: Card, facts: CardWords) -> float:
    """The author's recommendation, else by kind, within the author's range."""
    weight = card.weight
    if weight is None:
        weight = SPEED_WEIGHT if facts.speed else BY_KIND[facts.kind]
        if card.weight_range is not None:
            low, high = sorted(card.weight_range)
            weight = min(max(weight, low), high)
    return round(weight, 2)


def balanced(weights: Sequence[float], fixed: Sequence[bool]) -> list[float]:
    """The weights, lowered together if there are several and their sum is too large.

    `fixed` ones (the person's own, speed LoRAs) stay as they are and do not count.
    """
    free = [abs(weight) for weight, stays in zip(weights, fixed, strict=True) if not stays]
    if len(weights) < 2 or not free:
        return list(weights)
    limit = TOTAL_OF_TWO if len(free) <= 2 else TOTAL_OF_MORE
    share = max(LEAST, min(1.0, limit / sum(free))) if len(free) > 1 and sum(free) else 1.0
    return [
        weight if stays else round(weight * share, 2)
        for weight, stays in zip(weights, fixed, strict=True)
    ]
