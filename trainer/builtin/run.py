"""A training from the run's folder to a LoRA in the catalog; goes on from wherever it was ended."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ...core.errors import CancelledError, EngineError
from ...drawing import memory
from ...drawing.progress import Meter
from .. import dataset, lora_file, samples
from ..best import Check, overfits
from ..events import EndEvent, EventWriter, NoticeEvent, Smoother, StepEvent, ValidationEvent
from ..lora_file import Part
from ..metadata import now
from ..plan import TrainingPlan
from . import base_model, checkpoints, live_text, state
from .adapter import Adapter
from .cached import Size, cache_pictures, cache_texts
from .optimizers import make_optimizer, share_of_rate
from .outputs import Outputs
from .steps import Encode, Steps, cached_encoder, clip

SAVE_SECONDS = 60.0
"""At the latest after so long the state is saved again."""

MAX_SKIPPED = 25
"""Steps in a row whose gradients are no numbers, before it is given up."""

# Seconds of each part before any was seen; only their ratio matters.
_GUESS = {"step": 0.3, "sample": 3.0, "check": 1.0}


class Run:
    """One training. `stopping` is asked before every step and may end it."""

    def __init__(
        self,
        folder: Path,
        plan: TrainingPlan,
        events: EventWriter,
        stopping: Callable[[], bool],
        device: torch.device | None = None,
    ) -> None:
        """Raises InputError `dataset_invalid`."""
        self.folder, self.events, self.stopping = folder, events, stopping
        self.device = device or memory.training_device()
        self.plan = _possible(plan, self.device, self._notice)
        self.data = dataset.load(folder)
        self.progress = state.Progress()
        # Drawing takes as many threads as `kizy generate` does: fewer would give other pixels.
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
            step = self.progress.step
            if step == 0:
                return EndEvent(state="stopped", why="stopped before the first step")
            if step not in checkpoints.noted(self.folder, step):
                self._checkpoint()
        return self.outputs.finish(step, "succeeded" if step >= self.plan.steps else "stopped")

    # Before the first step

    def _prepare(self, stack: contextlib.ExitStack) -> None:
        plan = self.plan
        self._notice("loading", f"Loading {plan.base.name}.")
        self.model = base_model.load_base(plan, self.device, unet=False)
        # By name, before peft puts its own modules in their places; shapes alone, or they would
        # keep the text encoders in memory.
        weights = {
            name: torch.empty_like(weight, device="meta")
            for name, weight in self.model.lora_weights().items()
        }
        self._notice("caching", "Looking at the pictures and captions.")
        encode, networks = self._cache()
        base_model.prepare(self.model, checkpointing=plan.gradient_checkpointing)
        self.adapter = Adapter(networks, plan)
        self.parameters = self.adapter.parameters()
        groups = self.adapter.groups(plan)
        self._peaks = [group["lr"] for group in groups]
        self.optimizer = make_optimizer(plan.optimizer, groups)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        workers = self._workers()
        self.steps = Steps(self.model, plan, self.pictures, self.held_out, encode, workers)
        stack.callback(self.steps.close)
        stack.enter_context(_threads(max(1, self._threads // workers)))
        known = state.load(self.folder / "state", self.adapter, self.optimizer, self.scaler)
        self.progress = known or state.Progress(started=now())
        if known is not None:
            self._notice("resumed", f"Going on after step {known.step} of {plan.steps}.")
            # What a stop saved between two milestones would be one more to choose from.
            saved = checkpoints.noted(self.folder, plan.steps)
            between = [step for step in saved if not self._is_milestone(step)]
            checkpoints.forget(self.folder, between)
        self.outputs = Outputs(
            self.folder,
            plan,
            self.data,
            self.events,
            weights,
            self._sampler,
            self._drawing,
            self.progress.started,
        )

    def _cache(self) -> tuple[Encode, dict[Part, torch.nn.Module]]:
        """How captions become what they mean, and the networks that are trained."""
        plan, model = self.plan, self.model
        cached = partial(
            cache_pictures,
            model,
            self.folder / dataset.PICTURES,
            resolution=plan.resolution,
            multiple=plan.multiple,
            masked=plan.masked_loss,
            check=self._check_stop,
        )
        self.pictures = cached(examples=[x for x in self.data.examples if not x.held_out])
        self.held_out = cached(examples=[x for x in self.data.examples if x.held_out])
        pipe = getattr(model, "pipe", None)
        # The UNet is read behind what needs the encoders: they need not fit into memory together.
        if plan.text_encoder_learning_rate is not None and pipe is not None:
            base_model.let_go_of_encoders(model, texts=False)
            model.read_unet()
            networks = live_text.encoders(pipe)
            return partial(live_text.encode, pipe), {"unet": model.unet, **networks}
        wanted: list[tuple[str, Size]] = []
        for picture in (*self.pictures, *self.held_out):
            wanted += [(picture.caption, picture.size), ("", picture.size)]
        texts = cache_texts(model, wanted)
        base_model.let_go_of_encoders(model, texts=True)
        model.read_unet()
        return cached_encoder(texts, self.device), {"unet": model.unet}

    def _workers(self) -> int:
        """Threads that share a step. A large network keeps all cores busy with one picture."""
        if self.device.type != "cpu" or self.plan.base.path is not None:
            return 1
        return min(self._threads, self.plan.batch)

    # Steps

    def _loop(self) -> None:
        plan, progress = self.plan, self.progress
        self._meter = Meter(self._parts_left(), _GUESS)
        smoother = Smoother()
        for _, loss, _ in self.outputs.losses(progress.step):
            smoother.add(loss)
        # The step that it was ended at may lack some of what belongs to it.
        self._milestone(keep=True)
        saved = time.monotonic()
        while progress.step < plan.steps and not self.stopping():
            share = share_of_rate(progress.step, plan.steps, plan.warmup, plan.schedule)
            for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = peak * share
            loss = self.steps.gradients(progress.step, self.parameters, self.scaler)
            self._descend()
            progress.step += 1
            self._meter.done("step")
            if math.isfinite(loss):
                self._say_step(loss, smoother.add(loss), share)
            if self._is_milestone(progress.step) or time.monotonic() - saved > SAVE_SECONDS:
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
        folder, adapter = self.folder / "state", self.adapter.state()
        state.save(folder, adapter, self.optimizer, self.scaler, self.progress)

    # Milestones: checkpoint, validation loss, samples

    def _due(self, every: int, step: int) -> bool:
        return every > 0 and (step % every == 0 or step == self.plan.steps)

    def _is_milestone(self, step: int) -> bool:
        plan = self.plan
        every = (plan.save_every, plan.sample_every, plan.validate_every)
        return any(self._due(steps, step) for steps in every)

    def _milestone(self, *, keep: bool) -> None:
        """What is due at this step. `keep`: what is there already is not made again."""
        step = self.progress.step
        if not self._is_milestone(step):
            return
        if step > 0 and not (keep and step in checkpoints.noted(self.folder, step)):
            self._checkpoint()
        if self._due(self.plan.sample_every, step):
            self.outputs.draw(
                step,
                keep=keep,
                stopping=self.stopping,
                drawn=lambda: self._meter.done("sample"),
            )

    def _checkpoint(self) -> None:
        loss = self._validate() if self.held_out else None
        plan = self.plan
        dtype = torch.float32 if plan.precision == "fp32" else torch.float16
        pairs = self.adapter.pairs()
        tensors = lora_file.kohya_tensors(pairs, plan.family, plan.alpha, dtype)
        self.outputs.checkpoint(self.progress.step, tensors, loss)

    def _validate(self) -> float | None:
        step, loss = self.progress.step, self.steps.validation_loss()
        self._meter.done("check")
        if not math.isfinite(loss):
            return None
        self.events.write(ValidationEvent(step=step, loss=loss))
        before = checkpoints.checks(self.folder, step - 1)
        if not self._overfits and overfits([*before, Check(step, loss)]):
            self._overfits = True
            text = (
                "The loss on held-out pictures rises: the training pictures are being learned by "
                "heart. The best checkpoint so far is kept, and the best one will be published."
            )
            self._notice("overfitting", text)
        return loss

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """All of the machine for drawing, also the GPU's memory if both do not fit."""
        unet = self.model.unet
        parked = (
            self.device.type == "cuda"
            and self.plan.base.path is not None
            and memory.free_bytes(self.device) < 2 * self.model.size
        )
        if parked:
            unet.to("cpu")
            memory.release()
        try:
            with _threads(self._drawing_threads):
                yield
        finally:
            self._sampler.rest()
            if parked:
                unet.to(self.device)

    # What is told

    def _parts_left(self) -> dict[str, int]:
        plan, step = self.plan, self.progress.step
        marks = range(step + 1, plan.steps + 1)
        every = [n for n in (plan.save_every, plan.sample_every, plan.validate_every) if n]
        checked = sum(m == plan.steps or any(m % n == 0 for n in every) for m in marks)
        drawn = sum(m == plan.steps or m % plan.sample_every == 0 for m in marks) + (step == 0)
        return {
            "step": len(marks),
            "sample": drawn * len(plan.sample_prompts),
            "check": checked if self.held_out else 0,
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
        # So small a model is drawn in fp32 everywhere.
        changes["precision"] = "fp32"
    eight_bits = device.type == "cuda" and find_spec("bitsandbytes") is not None
    if plan.optimizer == "adamw8bit" and not eight_bits:
        changes["optimizer"] = "adamw"
        say("optimizer", "bitsandbytes is not installed: AdamW keeps its state in 32 bits.")
    return plan.model_copy(update=changes)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for each operation, in this thread and those that begin within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
