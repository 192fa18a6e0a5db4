"""What was chosen and why, as the text that the node shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..catalog.index.meanings import why_by_words

if TYPE_CHECKING:
    from ..catalog.search.select import Choice, Picked

RUNNERS_UP = 3


def weights(model: float, clip: float) -> str:
    """One number where both weights are the same."""
    return f"{model:g}" if model == clip else f"{model:g}, text {clip:g}"


def lora_text(picked: Picked, model: float, clip: float, note: str = "") -> str:
    """A LoRA that is used: name, weights, words that were added, reason."""
    lines = [f"{picked.card.name} (strength {weights(model, clip)})"]
    if picked.triggers:
        lines.append(f"  added to the prompt: {', '.join(picked.triggers)}")
    lines += [f"  {sentence}" for sentence in (picked.why, note) if sentence]
    return "\n".join(lines)


def choice_text(
    family: str,
    used: Sequence[str],
    left_out: Sequence[str],
    choice: Choice,
    more: Sequence[str],
    *,
    known: bool = True,
) -> str:
    """All of it. `family`: the model's, in words; `used`, `left_out`: a text each.

    `known`: whether the meanings of any LoRAs are kept.
    """
    parts = [f"The model is {family}."]
    if used:
        parts += used
    elif choice.why_none is not None:
        parts.append(f"No LoRA is used. {choice.why_none}")
    parts += left_out
    if choice.runners_up:
        told = [f"  {card.name}: {why}" for card, why in choice.runners_up[:RUNNERS_UP]]
        parts.append("\n".join(("Looked at, not taken:", *told)))
    if choice.by_words_only and (used or choice.runners_up) and not more:
        parts.append(f"Found by words alone: {why_by_words(known=known)}.")
    parts += [notice for notice in (*choice.notices, *more) if notice]
    return "\n\n".join(parts)
