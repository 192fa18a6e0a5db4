"""Seeds: whole numbers of 64 bits, as ComfyUI and torch take them, counted on in a circle."""

from __future__ import annotations

MAX_SEED = 2**64 - 1
"""The highest seed of ComfyUI's samplers and of torch's generators. Behind it comes 0."""


def seed_after(seed: int, number: int) -> int:
    """The seed `number` places behind another, 0 to `MAX_SEED`."""
    return (seed + number) % (MAX_SEED + 1)


def places_after(seed: int, first: int) -> int:
    """How many places a seed is behind the first one: what `seed_after` was given."""
    return (seed - first) % (MAX_SEED + 1)
