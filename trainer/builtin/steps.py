"""One step: the gradients of its batches, the same whatever was trained before it.

On a CPU a batch is shared by threads that take a part of its pictures each: faster than all cores
on each small operation (see tools/starter/runs.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from .batches import Batches
from .cached import Picture, Size, Text, together
from .objective import Schedule, draw_noise, noised, spread_timesteps, squared_error

if TYPE_CHECKING:
    from ...drawing.model import DrawModel
    from ..plan import TrainingPlan

CLIP = 1.0
"""Largest norm of all gradients together."""

CHECK_TIMES = 6
"""Timesteps at which each held-out picture is measured."""

Encode = Callable[[Sequence[str], Size], Text]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Rows:
    """A batch, or a thread's part of it. `share`: of the whole step's loss."""

    latents: torch.Tensor
    timesteps: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    mask: torch.Tensor | None
    captions: tuple[str, ...]
    size: Size
    share: float

    def part(self, begin: int, end: int) -> Rows:
        whole = len(self.captions)
        return Rows(
            self.latents[begin:end],
            self.timesteps[begin:end],
            self.target[begin:end],
            self.weight[begin:end],
            None if self.mask is None else self.mask[begin:end],
            self.captions[begin:end],
            self.size,
            self.share * (end - begin) / whole,
        )


class Steps:
    """Makes a step's batches and their gradients.

    `encode`: captions -> what they mean, cached or with gradients. `workers`: threads.
    """

    def __init__(
        self,
        model: DrawModel,
        plan: TrainingPlan,
        pictures: Sequence[Picture],
        held_out: Sequence[Picture],
        encode: Encode,
        workers: int,
    ) -> None:
        self._model, self._plan, self._encode = model, plan, encode
        self._pictures, self._held_out = pictures, held_out
        self._batches = Batches([picture.size for picture in pictures], plan.batch, plan.seed)
        self._schedule = Schedule.of(model.scheduler_config)
        self._weights = self._schedule.weights(plan.min_snr)
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    @property
    def per_epoch(self) -> int:
        """Batches in which every picture is seen once."""
        return self._batches.per_epoch

    def gradients(self, step: int, parameters: list[torch.nn.Parameter], scaler: Any) -> float:
        """Leave the step's mean gradient in the parameters (scaled); returns its mean loss."""
        total, loss = None, 0.0
        for turn in range(self._plan.accumulate):
            number = step * self._plan.accumulate + turn
            parts = self._split(self._rows(number))
            for value, gradients in self._each(
                lambda rows: self._gradient(rows, parameters, scaler), parts
            ):
                loss += value
                if total is None:
                    total = list(gradients)
                else:
                    for gradient, more in zip(total, gradients, strict=True):
                        gradient.add_(more)
        assert total is not None
        for parameter, gradient in zip(parameters, total, strict=True):
            parameter.grad = gradient
        return loss

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean loss on the held-out pictures, always at the same timesteps and with the same noise.

        Weighted as in training, without its dropout of captions.
        """
        rows = [self._measured(index) for index in range(len(self._held_out))]
        values = self._each(lambda part: self._loss(part).item(), rows)
        return sum(values) / len(values)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def _each(self, work: Callable[[Rows], Any], parts: Sequence[Rows]) -> list[Any]:
        if self._pool is None:
            return [work(part) for part in parts]
        grad = torch.is_grad_enabled()

        def quietly(part: Rows) -> Any:
            # Whether gradients are kept is a matter of each thread.
            with torch.set_grad_enabled(grad):
                return work(part)

        return list(self._pool.map(quietly, parts))

    def _split(self, rows: Rows) -> list[Rows]:
        count = len(rows.captions)
        workers = min(self._workers, count)
        ends = [count * worker // workers for worker in range(workers + 1)]
        return [rows.part(*span) for span in pairwise(ends)]

    def _rows(self, number: int) -> Rows:
        plan = self._plan
        chosen = [self._pictures[index] for index in self._batches.at(number)]
        generator = torch.Generator().manual_seed((plan.seed * 1_000_003 + number) % 2**63)
        count = len(chosen)
        timesteps = spread_timesteps(count, len(self._schedule.signal), generator)
        latents = torch.stack([picture.latents for picture in chosen])
        noise = draw_noise(latents.shape, plan.noise_offset, generator)
        dropped = torch.rand(count, generator=generator) < plan.caption_dropout
        made = noised(self._schedule, self._weights, latents, noise, timesteps)
        return Rows(
            made.latents,
            made.timesteps,
            made.target,
            made.weight,
            _masks(chosen),
            tuple("" if d else p.caption for p, d in zip(chosen, dropped.tolist(), strict=True)),
            chosen[0].size,
            1.0 / plan.accumulate,
        )

    def _measured(self, index: int) -> Rows:
        picture = self._held_out[index]
        generator = torch.Generator().manual_seed(index)
        count = len(self._schedule.signal)
        timesteps = (torch.arange(CHECK_TIMES).add(0.5) * count / CHECK_TIMES).long()
        latents = picture.latents.expand(CHECK_TIMES, *picture.latents.shape)
        noise = draw_noise(latents.shape, 0.0, generator)
        made = noised(self._schedule, self._weights, latents, noise, timesteps)
        mask = _masks([picture] * CHECK_TIMES)
        captions = (picture.caption,) * CHECK_TIMES
        return Rows(
            made.latents,
            made.timesteps,
            made.target,
            made.weight,
            mask,
            captions,
            picture.size,
            1.0,
        )

    def _gradient(
        self, rows: Rows, parameters: list[torch.nn.Parameter], scaler: Any
    ) -> tuple[float, tuple[torch.Tensor, ...]]:
        loss = self._loss(rows) * rows.share
        # SDXL reads the last layer but one of its text encoders: the last one gets no gradient.
        found = torch.autograd.grad(scaler.scale(loss), parameters, allow_unused=True)
        gradients = (
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, found, strict=True)
        )
        return loss.item(), tuple(gradients)

    def _loss(self, rows: Rows) -> torch.Tensor:
        """Mean over the rows of their weighted error."""
        model, device = self._model, self._model.device
        text = self._encode(rows.captions, rows.size)
        noisy = rows.latents.to(device, model.dtype).contiguous(memory_format=torch.channels_last)
        kind = _AUTOCAST.get(self._plan.precision)
        with torch.autocast(device.type, dtype=kind, enabled=kind is not None):
            said = model.predict(noisy, rows.timesteps.to(device), text.states, text.extra)
        mask = None if rows.mask is None else rows.mask.to(device)
        errors = squared_error(said, rows.target.to(device), mask)
        return (errors * rows.weight.to(device)).mean()


def cached_encoder(texts: dict[tuple[str, Size], Text], device: torch.device) -> Encode:
    """Looks captions up."""
    return lambda captions, size: together([texts[caption, size] for caption in captions], device)


def clip(parameters: list[torch.nn.Parameter]) -> bool:
    """Bring the gradients to their largest norm; whether all of them are numbers."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
    return math.isfinite(float(norm))


def _masks(pictures: Sequence[Picture]) -> torch.Tensor | None:
    if all(picture.mask is None for picture in pictures):
        return None
    return torch.stack(
        [
            picture.mask if picture.mask is not None else torch.ones_like(picture.latents[:1])
            for picture in pictures
        ]
    )
