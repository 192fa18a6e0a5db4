"""A training from the run's folder to a LoRA in the catalog; goes on from wherever it was ended."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...core.errors import CancelledError, EngineError
from ...drawing import memory
from ...drawing.meter import Meter
from .. import curves, dataset, lora_file, samples
from ..best import Best, Check, choose, overfits
from ..events import (
    CheckpointEvent,
    EndEvent,
    EventWriter,
    NoticeEvent,
    SampleEvent,
    Smoother,
    StepEvent,
    ValidationEvent,
    read_events,
)
from ..lora_file import Part
from ..metadata import Facts, metadata, now
from ..plan import TrainingPlan
from ..publish import RESULT, publish
from . import base_model, checkpoints, live_text, state
from .adapter import Adapter
from .cached import Size, cache_pictures, cache_texts
from .optimizers import make_optimizer, share_of_rate
from .steps import Encode, Steps, cached_encoder, clip

SAVE_SECONDS = 60.0
"""At the latest after so long the state is saved again."""

MAX_SKIPPED = 25
"""Steps in a row whose gradients are no numbers, before it is given up."""

# Seconds of each part before any was seen; only their ratio matters.
_GUESS = {"step": 0.3, "sample": 3.0, "check": 1.0}


class Run:
    """One training. `stopping` is asked after every step and may end it."""

    def __init__(
        self,
        folder: Path,
        plan: TrainingPlan,
        events: EventWriter,
        stopping: Callable[[], bool],
        device: torch.device | None = None,
    ) -> None:
        self.folder, self.events, self.stopping = folder, events, stopping
        self.device = device or memory.best_device()
        self.plan = _possible(plan, self.device, self._notice)
        self.data = dataset.load(folder)
        self.sample_plans = samples.plans_of(folder, self.plan)
        # Drawing uses as many threads as `kizy generate` does: fewer would give other pixels.
        self._drawing_threads = torch.get_num_threads()
        self._threads = plan.threads or self._drawing_threads
        self._sampler = samples.Sampler(self.device, keep=plan.base.path is None)
        self._overfits = False
        self._skipped = 0

    def go(self) -> EndEvent:
        """Train to the end, or until it is stopped; publish what there is. Raises KizyError."""
        with contextlib.ExitStack() as stack:
            try:
                self._prepare(stack)
            except CancelledError:
                return EndEvent(state="stopped", why="stopped before the first step")
            self._loop()
        finished = self.progress.step >= self.plan.steps
        if self.progress.step == 0:
            return EndEvent(state="stopped", why="stopped before the first step")
        return self._finish("succeeded" if finished else "stopped")

    # Before the first step

    def _prepare(self, stack: contextlib.ExitStack) -> None:
        plan = self.plan
        self._notice("loading", f"Loading {plan.base.name}.")
        self.model = base_model.load_base(plan, self.device)
        # By name, before peft puts its own modules in their places.
        self.weights = dict(self.model.lora_weights())
        self._notice("caching", "Looking at the pictures and captions.")
        encode, networks = self._cache(stack)
        base_model.prepare(self.model, checkpointing=plan.gradient_checkpointing)
        self.adapter = Adapter(networks, plan)
        self.parameters = self.adapter.parameters()
        groups = self.adapter.groups(plan)
        self.optimizer = make_optimizer(plan.optimizer, groups, self.device)
        self._peaks = [group["lr"] for group in groups]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        workers = self._workers()
        self.steps = Steps(self.model, plan, self.pictures, self.held_out, encode, workers)
        stack.callback(self.steps.close)
        stack.enter_context(_threads(max(1, self._threads // workers)))
        self._resume()

    def _cache(self, stack: contextlib.ExitStack) -> tuple[Encode, dict[Part, torch.nn.Module]]:
        plan, model = self.plan, self.model
        pictures = self.folder / dataset.PICTURES
        cached = partial(
            cache_pictures,
            model,
            pictures,
            resolution=plan.resolution,
            multiple=plan.multiple,
            masked=plan.masked_loss,
            check=self._check_stop,
        )
        self.pictures = cached([x for x in self.data.examples if not x.held_out])
        self.held_out = cached([x for x in self.data.examples if x.held_out])
        networks: dict[Part, torch.nn.Module] = {"unet": model.unet}
        pipe = getattr(model, "pipe", None)
        if plan.text_encoder_learning_rate is not None and pipe is not None:
            base_model.let_go_of_encoders(model, texts=False)
            networks |= live_text.encoders(pipe)
            return partial(live_text.encode, pipe), networks
        wanted: list[tuple[str, Size]] = []
        for picture in (*self.pictures, *self.held_out):
            wanted += [(picture.caption, picture.size), ("", picture.size)]
        texts = cache_texts(model, wanted)
        base_model.let_go_of_encoders(model, texts=True)
        return cached_encoder(texts, self.device), networks

    def _workers(self) -> int:
        """Threads that share a step: on a CPU, as many as there are pictures for."""
        if self.device.type != "cpu":
            return 1
        # Small networks only: a large one keeps all cores busy with one picture.
        return min(self._threads, self.plan.batch) if self.plan.base.path is None else 1

    def _resume(self) -> None:
        known = state.load(self.folder / "state", self.adapter, self.optimizer, self.scaler)
        self.progress = known or state.Progress(started=now())
        self.smoother = self._smoother()
        if known is not None:
            self._notice("resumed", f"Going on after step {known.step} of {self.plan.steps}.")

    def _smoother(self) -> Smoother:
        """With the losses of the steps that were taken before."""
        smoother = Smoother()
        for _, loss, _ in self._losses():
            smoother.add(loss)
        return smoother

    def _losses(self) -> list[tuple[int, float, float]]:
        """Step, loss and smoothed loss up to now. Of a step that was taken twice the last counts."""
        found = {
            event.step: (event.step, event.loss, event.smoothed)
            for event in read_events(self.folder / "events.jsonl")
            if isinstance(event, StepEvent) and event.step <= self.progress.step
        }
        return [found[step] for step in sorted(found)]

    # Steps

    def _loop(self) -> None:
        plan, progress = self.plan, self.progress
        self._meter = Meter(self._parts_left(), _GUESS)
        # The step that it was ended at may lack some of what belongs to it.
        self._milestone(keep=True)
        saved = time.monotonic()
        while progress.step < plan.steps and not self.stopping():
            begun = time.monotonic()
            share = share_of_rate(progress.step, plan.steps, plan.warmup, plan.schedule)
            for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = peak * share
            loss = self.steps.gradients(progress.step, self.parameters, self.scaler)
            self._descend()
            progress.step += 1
            progress.seconds += time.monotonic() - begun
            smoothed = self.smoother.add(loss)
            self._meter.done("step")
            if math.isfinite(loss):
                self._say_step(loss, smoothed, share)
            if self._is_milestone() or time.monotonic() - saved > SAVE_SECONDS:
                self._save_state()
                saved = time.monotonic()
            self._milestone(keep=False)
        if 0 < progress.step < plan.steps:
            self._save_state()

    def _descend(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if clip(self.parameters) or self.scaler.is_enabled():
            # In half precision the scaler leaves out a step that overflowed, by itself.
            self.scaler.step(self.optimizer)
            self._skipped = 0
        else:
            self._skipped += 1
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self._skipped > MAX_SKIPPED:
            message = f"The loss has been no number for {MAX_SKIPPED} steps."
            raise EngineError("training_diverged", message)

    def _say_step(self, loss: float, smoothed: float, share: float) -> None:
        self.events.write(
            StepEvent(
                step=self.progress.step,
                steps=self.plan.steps,
                loss=loss,
                smoothed=smoothed,
                left=self._meter.left,
                lr=self.plan.learning_rate * share,
            )
        )

    def _save_state(self) -> None:
        state.save(
            self.folder / "state", self.adapter.state(), self.optimizer, self.scaler, self.progress
        )

    # Milestones: checkpoint, validation loss, samples

    def _due(self, every: int) -> bool:
        step = self.progress.step
        return step > 0 and every > 0 and (step % every == 0 or step == self.plan.steps)

    def _is_milestone(self) -> bool:
        plan = self.plan
        return any(map(self._due, (plan.save_every, plan.sample_every, plan.validate_every)))

    def _milestone(self, *, keep: bool) -> None:
        """What is due at this step. `keep`: what is there already is not made again."""
        step = self.progress.step
        if step == 0:
            self._draw_samples(keep=keep)
            return
        if not self._is_milestone():
            return
        noted = checkpoints.noted(self.folder, step) if keep else {}
        if step not in noted:
            self._checkpoint(validate=bool(self.held_out))
        if self._due(self.plan.sample_every):
            self._draw_samples(keep=keep)

    def _checkpoint(self, *, validate: bool) -> None:
        step = self.progress.step
        path = checkpoints.file_of(self.folder, step)
        loss = self._validate() if validate else None
        known = checkpoints.checks(self.folder, step)
        best = Best(step, "a checkpoint")
        self._write(path, self._tensors(), best, known, None)
        checkpoints.note(self.folder, step, loss)
        self.events.write(CheckpointEvent(step=step, path=str(path)))

    def _validate(self) -> float | None:
        loss = self.steps.validation_loss()
        self._meter.done("check")
        if not math.isfinite(loss):
            return None
        self.events.write(ValidationEvent(step=self.progress.step, loss=loss))
        step = self.progress.step
        before = [c for c in checkpoints.checks(self.folder, step) if c.step != step]
        if not self._overfits and overfits([*before, Check(step, loss)]):
            self._overfits = True
            text = (
                "The loss on held-out pictures rises: the training pictures are being learned by "
                "heart. The best checkpoint so far is kept, and it is the one that counts."
            )
            self._notice("overfitting", text)
        return loss

    def _draw_samples(self, *, keep: bool, only: int | None = None) -> None:
        """Draw the samples of this step from its checkpoint; of step 0 without a LoRA."""
        step, plan = self.progress.step, self.plan
        path = checkpoints.file_of(self.folder, step)
        wanted = [
            (index, found)
            for index, found in enumerate(self.sample_plans)
            if only is None or index == only
        ]
        if keep:
            wanted = [(i, found) for i, found in wanted if not self._sample_file(step, i).exists()]
        if not wanted:
            return
        with self._drawing():
            for index, found in wanted:
                if self.stopping() and only is None:
                    break
                drawn = (
                    samples.with_lora(found, path, plan)
                    if step
                    else samples.without_lora(found, plan)
                )
                self._keep_sample(step, index, self._sampler.draw(drawn))
                self._meter.done("sample")

    def _keep_sample(self, step: int, index: int, picture: Image.Image) -> None:
        from ...core.files import replacing

        path = self._sample_file(step, index)
        with replacing(path) as temporary:
            picture.save(temporary, "PNG")
        self._say_sample(step, index)

    def _say_sample(self, step: int, index: int) -> None:
        found = self.sample_plans[index]
        path = str(self._sample_file(step, index))
        prompt, seed = found.request_prompt, found.seed
        self.events.write(SampleEvent(step=step, index=index, path=path, prompt=prompt, seed=seed))

    def _sample_file(self, step: int, index: int) -> Path:
        return self.folder / samples.FOLDER / f"step-{step:06d}-{index}.png"

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """All of the machine for drawing, also the GPU's memory if both do not fit."""
        parked = self.device.type == "cuda" and self.plan.base.path is not None
        if parked:
            parked = memory.free_bytes(self.device) < 2 * self.model.size
        if parked:
            self.model.unet.to("cpu")
            memory.release()
        try:
            with _threads(self._drawing_threads):
                yield
        finally:
            self._sampler.rest()
            if parked:
                self.model.unet.to(self.device)

    # The end

    def _finish(self, end: Any) -> EndEvent:
        step = self.progress.step
        if step not in checkpoints.noted(self.folder, step):
            self._checkpoint(validate=bool(self.held_out))
        known = checkpoints.checks(self.folder, step)
        best = choose(list(checkpoints.noted(self.folder, step)), known)
        tensors, _ = lora_file.read(checkpoints.file_of(self.folder, best.step))
        self._last_samples(best, end)
        thumbnail = None
        if self._sample_file(best.step, 0).exists():
            with Image.open(self._sample_file(best.step, 0)) as opened:
                thumbnail = opened.convert("RGB")
        self._write(self.folder / RESULT, tensors, best, known, thumbnail)
        result = publish(self.folder, self.plan)
        self._draw_curves(best)
        return EndEvent(state=end, result=str(result), best_step=best.step, why=best.why)

    def _last_samples(self, best: Best, end: str) -> None:
        """The best checkpoint's samples; they are the last that are told."""
        there = [
            index
            for index in range(len(self.sample_plans))
            if self._sample_file(best.step, index).exists()
        ]
        at, self.progress.step = self.progress.step, best.step
        try:
            # Who stops waits: one picture is enough then.
            self._draw_samples(keep=True, only=None if end == "succeeded" else 0)
        finally:
            self.progress.step = at
        if best.step != at:
            for index in there:
                self._say_sample(best.step, index)

    def _tensors(self) -> dict[str, torch.Tensor]:
        plan = self.plan
        dtype = torch.float32 if plan.precision == "fp32" else torch.float16
        return lora_file.kohya_tensors(self.adapter.pairs(), plan.family, plan.alpha, dtype)

    def _write(
        self,
        path: Path,
        tensors: dict[str, torch.Tensor],
        best: Best,
        known: Any,
        thumbnail: Image.Image | None,
    ) -> None:
        modules = sum(name.endswith(".alpha") for name in tensors)
        facts = Facts(
            self.progress.started, lora_file.hash_of(tensors), modules, best, known, thumbnail
        )
        lora_file.write(path, tensors, metadata(self.plan, self.data, facts))
        # Every key must have a place in the base: a name that is wrong would train for nothing.
        lora_file.check(path, self.weights, self.plan.base.name)

    def _draw_curves(self, best: Best) -> None:
        upto = self.progress.step
        known = checkpoints.checks(self.folder, upto)
        curves.loss_curve(self.folder / "loss.png", self._losses(), known, best.step)
        pictures = {
            (step, index): self._sample_file(step, index)
            for step in (0, *checkpoints.noted(self.folder, upto))
            for index in range(len(self.sample_plans))
        }
        prompts = [found.request_prompt for found in self.sample_plans]
        curves.sample_grid(self.folder / "samples.png", pictures, prompts, best.step)

    def _parts_left(self) -> dict[str, int]:
        plan, step = self.plan, self.progress.step
        marks = range(step + 1, plan.steps + 1)
        every = [n for n in (plan.save_every, plan.sample_every, plan.validate_every) if n]
        checks = sum(any(m % n == 0 for n in every) or m == plan.steps for m in marks)
        drawn = sum(m % plan.sample_every == 0 or m == plan.steps for m in marks) + (step == 0)
        return {
            "step": len(marks),
            "sample": drawn * len(self.sample_plans),
            "check": checks if self.held_out else 0,
        }

    def _notice(self, code: str, text: str) -> None:
        self.events.write(NoticeEvent(code=code, text=text))

    def _check_stop(self) -> None:
        if self.stopping():
            raise CancelledError("cancelled", "Stopped.")


def _possible(
    plan: TrainingPlan, device: torch.device, say: Callable[[str, str], None]
) -> TrainingPlan:
    """The plan, without what this machine lacks."""
    changes: dict[str, Any] = {}
    if device.type == "cpu" and plan.precision == "fp16":
        changes["precision"] = "fp32"
        say("precision", "A CPU has no half precision: it is trained in fp32.")
    if plan.base.path is None and plan.precision != "fp32":
        changes["precision"] = "fp32"
    if plan.optimizer == "adamw8bit" and not _has_8bit(device):
        changes["optimizer"] = "adamw"
        say("optimizer", "bitsandbytes is not installed: AdamW keeps its state in 32 bits.")
    return plan.model_copy(update=changes)


def _has_8bit(device: torch.device) -> bool:
    from importlib.util import find_spec

    return device.type == "cuda" and find_spec("bitsandbytes") is not None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for each operation, in this thread and those that begin within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
