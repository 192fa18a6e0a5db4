"""What a run leaves behind: checkpoints, samples, curves, and the published LoRA."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from ...core.files import replacing
from .. import curves, lora_file, samples
from ..best import Best, choose
from ..dataset import DataSet
from ..events import CheckpointEvent, EndEvent, EventWriter, SampleEvent, StepEvent, read_events
from ..metadata import Facts, metadata
from ..plan import TrainingPlan
from ..publish import RESULT, publish
from . import checkpoints


class Outputs:
    """Writes into a run's folder and tells of it.

    `weights`: the base's shapes, by kohya name, before anything was put into it. `room`: entered
    while samples are drawn. `started`: ISO time.
    """

    def __init__(
        self,
        folder: Path,
        plan: TrainingPlan,
        data: DataSet,
        events: EventWriter,
        weights: dict[str, torch.Tensor],
        sampler: samples.Sampler,
        room: Callable[[], AbstractContextManager[None]],
        started: str,
    ) -> None:
        self.folder, self.plan, self.data, self.events = folder, plan, data, events
        self.plans = samples.plans_of(folder, plan)
        self._weights, self._sampler, self._room, self._started = weights, sampler, room, started

    def checkpoint(self, step: int, tensors: dict[str, torch.Tensor], loss: float | None) -> None:
        """Save the LoRA of a step, and its validation loss. Raises StorageError."""
        path = checkpoints.file_of(self.folder, step)
        self._write(path, tensors, Best(step, "a checkpoint"), step, None)
        checkpoints.note(self.folder, step, loss)
        self.events.write(CheckpointEvent(step=step, path=str(path)))

    def draw(
        self,
        step: int,
        *,
        keep: bool,
        only: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
        drawn: Callable[[], None] = lambda: None,
    ) -> None:
        """Draw the samples of a step from its checkpoint; of step 0 without a LoRA.

        `keep`: those that are there are not drawn again. `only`: of one prompt.
        """
        wanted = [index for index in range(len(self.plans)) if only is None or index == only]
        if keep:
            wanted = [index for index in wanted if not self.sample(step, index).exists()]
        if not wanted:
            return
        path = checkpoints.file_of(self.folder, step)
        with self._room():
            for index in wanted:
                if stopping():
                    return
                found = self.plans[index]
                found = (
                    samples.with_lora(found, path, self.plan)
                    if step
                    else samples.without_lora(found, self.plan)
                )
                picture = self._sampler.draw(found)
                with replacing(self.sample(step, index)) as temporary:
                    picture.save(temporary, "PNG")
                self._tell_sample(step, index)
                drawn()

    def sample(self, step: int, index: int) -> Path:
        """Where the sample of a step and prompt lies."""
        return self.folder / samples.FOLDER / f"step-{step:06d}-{index}.png"

    def losses(self, upto: int) -> list[tuple[int, float, float]]:
        """Step, loss, smoothed loss. Of a step that was taken twice the last counts."""
        found = {
            event.step: (event.step, event.loss, event.smoothed)
            for event in read_events(self.folder / "events.jsonl")
            if isinstance(event, StepEvent) and event.step <= upto
        }
        return [found[step] for step in sorted(found)]

    def finish(self, step: int, end: Literal["succeeded", "stopped"]) -> EndEvent:
        """Choose the best checkpoint up to a step, and publish it. Raises StorageError."""
        steps = list(checkpoints.noted(self.folder, step))
        best = choose(steps, checkpoints.checks(self.folder, step))
        self._last_samples(best, step, end)
        tensors, _ = lora_file.read(checkpoints.file_of(self.folder, best.step))
        self._write(self.folder / RESULT, tensors, best, step, self._thumbnail(best.step))
        result = publish(self.folder, self.plan)
        self._draw_curves(best, step, steps)
        return EndEvent(state=end, result=str(result), best_step=best.step, why=best.why)

    def _last_samples(self, best: Best, step: int, end: str) -> None:
        """The best checkpoint's samples are the last that are told."""
        there = [i for i in range(len(self.plans)) if self.sample(best.step, i).exists()]
        # Who stops it waits: one picture is enough then.
        self.draw(best.step, keep=True, only=None if end == "succeeded" else 0)
        if best.step != step:
            for index in there:
                self._tell_sample(best.step, index)

    def _thumbnail(self, step: int) -> Image.Image | None:
        path = self.sample(step, 0)
        if not path.exists():
            return None
        with Image.open(path) as opened:
            return opened.convert("RGB")

    def _write(
        self,
        path: Path,
        tensors: dict[str, torch.Tensor],
        best: Best,
        upto: int,
        thumbnail: Image.Image | None,
    ) -> None:
        facts = Facts(
            started=self._started,
            hash=lora_file.hash_of(tensors),
            modules=sum(name.endswith(".alpha") for name in tensors),
            best=best,
            checks=checkpoints.checks(self.folder, upto),
            thumbnail=thumbnail,
        )
        lora_file.write(path, tensors, metadata(self.plan, self.data, facts))
        # Every key must have a place in the base: a wrong name would mean training for nothing.
        lora_file.check(path, self._weights, self.plan.base.name)

    def _tell_sample(self, step: int, index: int) -> None:
        found, path = self.plans[index], str(self.sample(step, index))
        prompt, seed = found.request_prompt, found.seed
        self.events.write(SampleEvent(step=step, index=index, path=path, prompt=prompt, seed=seed))

    def _draw_curves(self, best: Best, upto: int, steps: list[int]) -> None:
        known = checkpoints.checks(self.folder, upto)
        curves.loss_curve(self.folder / "loss.png", self.losses(upto), known, best.step)
        pictures = {
            (step, index): self.sample(step, index)
            for step in (0, *steps)
            for index in range(len(self.plans))
        }
        prompts = [found.request_prompt for found in self.plans]
        curves.sample_grid(self.folder / "samples.png", pictures, prompts, best.step)
