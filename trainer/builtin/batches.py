"""Which pictures a step sees: pure, from a seed, so that a resumed run sees the same."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from functools import lru_cache


class Batches:
    """Every picture once an epoch, in batches of one size of picture each, in a new order.

    `sizes`: what must be the same in a batch, for each picture.
    """

    def __init__(self, sizes: Sequence[Hashable], batch: int, seed: int) -> None:
        groups: dict[Hashable, list[int]] = {}
        for index, size in enumerate(sizes):
            groups.setdefault(size, []).append(index)
        self._groups = list(groups.values())
        self._batch, self._seed = batch, seed
        self.per_epoch = sum(-(-len(group) // batch) for group in self._groups)
        self._epoch = lru_cache(maxsize=2)(self._made)

    def at(self, number: int) -> tuple[int, ...]:
        """The pictures of batch `number`, counted from 0 through all epochs."""
        epoch, place = divmod(number, self.per_epoch)
        return self._epoch(epoch)[place]

    def _made(self, epoch: int) -> list[tuple[int, ...]]:
        rng = random.Random(f"{self._seed} {epoch}")
        made: list[tuple[int, ...]] = []
        for group in self._groups:
            order = rng.sample(group, len(group))
            made += [
                tuple(order[at : at + self._batch]) for at in range(0, len(order), self._batch)
            ]
        rng.shuffle(made)
        return made
