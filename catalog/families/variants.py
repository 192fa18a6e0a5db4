"""Variants: fine-tunes within a family that have LoRAs of their own (Pony, Illustrious, ...)."""

from __future__ import annotations


def variant_penalty(made_for: str | None, variant: str | None) -> float:
    """What a LoRA for another variant of the family loses, in the model's log-odds."""
    if made_for == variant:
        return 0.0
    if made_for is None:
        return 1.2  # LoRAs of the base work on its fine-tunes, only weaker
    if {made_for, variant} == {"illustrious", "noobai"}:
        return 0.5  # NoobAI is trained further from Illustrious
    return 1.5
