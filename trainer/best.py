"""Which checkpoint is the best, and whether the training has begun to overfit.

Loss on held-out pictures falls while what was learned holds for others, too, and rises once the
training pictures are learned by heart. A single check is noisy: each counts together with its
neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

TOLERANCE = 0.005
"""Part of the lowest loss within which another is as good. The later checkpoint is taken then:
what is learned still grows where the loss no longer tells."""

RISING = 3
"""Checks in a row that must rise for it to be overfitting."""

RISEN = 0.01
"""Part of the lowest loss by which it must have risen, too."""


@dataclass(frozen=True)
class Check:
    """The loss on the held-out pictures after `step` steps."""

    step: int
    loss: float


@dataclass(frozen=True)
class Best:
    """The checkpoint that is published, and why, in plain words."""

    step: int
    why: str


def smoothed(checks: Sequence[Check]) -> list[Check]:
    """Each check's mean with its neighbours; at the ends its own loss stands for the missing one.

    With one neighbour alone the first check of a falling curve would look too good.
    """
    losses = [check.loss for check in checks]
    padded = [*losses[:1], *losses, *losses[-1:]]
    return [Check(check.step, sum(padded[at : at + 3]) / 3) for at, check in enumerate(checks)]


def overfits(checks: Sequence[Check]) -> bool:
    """Whether the loss has risen over the last checks, and well above its lowest."""
    if len(checks) < RISING + 1:
        return False
    # Means that look back alone: the last one must not hang on a single check.
    means = [
        sum(c.loss for c in checks[max(0, at - 1) : at + 1]) / (at - max(0, at - 1) + 1)
        for at in range(len(checks))
    ]
    last = means[-RISING - 1 :]
    rising = all(later > earlier for earlier, later in pairwise(last))
    return rising and means[-1] > (1 + RISEN) * min(means)


def choose(steps: Collection[int], checks: Sequence[Check]) -> Best:
    """The best of the checkpoints at these steps. `steps` must not be empty.

    Without held-out pictures it is the last one.
    """
    last = max(steps)
    measured = [check for check in smoothed(checks) if check.step in steps]
    if not measured:
        return Best(last, "the last one: no pictures were held out to compare by")
    lowest = min(measured, key=lambda check: check.loss)
    good = [check for check in measured if check.loss <= (1 + TOLERANCE) * lowest.loss]
    chosen = max(good, key=lambda check: check.step)
    if chosen.step == last:
        return Best(
            last, "the last one: none before it has a clearly lower loss on held-out pictures"
        )
    why = (
        f"of {last} steps: the loss on held-out pictures was lowest about there "
        f"({chosen.loss:.4f}) and rose to {measured[-1].loss:.4f}"
    )
    return Best(chosen.step, why)
