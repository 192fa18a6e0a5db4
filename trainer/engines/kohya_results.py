"""What sd-scripts saves becomes the run's: checkpoints, samples, and in the end the LoRA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image

from ...catalog.formats.safetensors_header import header_text, read_header
from ...core.errors import KizyError
from ...core.files import replacing
from .. import curves, samples
from ..best import Best, Check, choose, overfits
from ..builtin import checkpoints
from ..dataset import DataSet
from ..events import (
    CheckpointEvent,
    EndEvent,
    EventWriter,
    NoticeEvent,
    SampleEvent,
    StepEvent,
    read_events,
)
from ..lora_file import tensor_hash
from ..metadata import Facts, metadata, now
from ..plan import TrainingPlan
from ..publish import RESULT, publish
from .kohya import draws_itself
from .kohya_state import drawn_samples, finished_files

_OURS = ("modelspec.title", "modelspec.description", "modelspec.trigger_phrase", "modelspec.tags",
         "modelspec.usage_hint", "modelspec.date", "modelspec.thumbnail", "modelspec.hash_sha256",
         "kizy", "ss_output_name", "ss_tag_frequency", "ss_dataset_dirs", "ss_training_comment",
         "sshs_model_hash")  # fmt: skip
"""What is said better here; sd-scripts knows better how it trained."""


class Results:
    """The results of one run. What was collected before a kill is not collected again."""

    def __init__(
        self, folder: Path, plan: TrainingPlan, data: DataSet, events: EventWriter
    ) -> None:
        self.folder, self.plan, self.data, self.events = folder, plan, data, events
        self._started = now()
        self._checks: dict[int, float] = {}
        self._told_overfitting = False
        self._draws = not draws_itself(plan)
        self._sampler: samples.Sampler | None = None

    def collect(self, out: Path) -> None:
        """Take over what is whole by now. Raises StorageError."""
        for step, index, path in drawn_samples(out):
            self._keep(step, index, lambda target, path=path: path.replace(target))
        for step, path in finished_files(out, self.plan.slug, self.plan.steps):
            target = checkpoints.file_of(self.folder, step)
            known = step in checkpoints.noted(self.folder, step)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            if not known:
                checkpoints.note(self.folder, step, self._checks.get(step))
                self.events.write(CheckpointEvent(step=step, path=str(target)))
                if self._draws and step % self.plan.sample_every == 0 and step < self.plan.steps:
                    self._draw(step)

    def note_check(self, step: int, loss: float) -> None:
        """A validation loss, told after its checkpoint was saved. Raises StorageError."""
        self._checks[step] = loss
        if step in checkpoints.noted(self.folder, step):
            checkpoints.note(self.folder, step, loss)
        before = [c for c in checkpoints.checks(self.folder, step) if c.step != step]
        if not self._told_overfitting and overfits([*before, Check(step, loss)]):
            self._told_overfitting = True
            text = (
                "The loss on held-out pictures rises: the training pictures are being learned by "
                "heart. The best checkpoint so far is kept, and it is the one that counts."
            )
            self._say("overfitting", text)

    def finish(self, state: Literal["succeeded", "stopped"]) -> EndEvent:
        """Publish the best checkpoint. Raises KizyError."""
        noted = checkpoints.noted(self.folder, self.plan.steps)
        if not noted:
            return EndEvent(state="stopped", why="stopped before anything was saved")
        upto = max(noted)
        checks = checkpoints.checks(self.folder, upto)
        best = choose(list(noted), checks)
        if self._draws:
            self._draw(best.step)
        source = checkpoints.file_of(self.folder, best.step)
        self._write_result(source, best, checks)
        result = publish(self.folder, self.plan)
        self._draw_curves(best, upto, list(noted))
        return EndEvent(state=state, result=str(result), best_step=best.step, why=best.why)

    def _write_result(self, source: Path, best: Best, checks: list[Check]) -> None:
        data = source.read_bytes()
        names = read_header(source).tensors
        facts = Facts(
            started=self._started,
            hash=tensor_hash(data),
            modules=sum(name.endswith(".alpha") for name in names),
            best=best,
            checks=checks,
            thumbnail=self._thumbnail(best.step),
        )
        own = metadata(self.plan, self.data, facts)
        chosen = {key: own[key] for key in _OURS if key in own}
        with replacing(self.folder / RESULT) as temporary:
            temporary.write_bytes(with_metadata(source, data, chosen))

    def _thumbnail(self, step: int) -> Image.Image | None:
        path = self._sample_file(step, 0)
        if not path.exists():
            return None
        with Image.open(path) as picture:
            return picture.convert("RGB")

    def _draw(self, step: int) -> None:
        """Draw the samples of a checkpoint as `kizy generate` draws; without memory, do not."""
        try:
            if self._sampler is None:
                from ...drawing.memory import best_device

                self._sampler = samples.Sampler(best_device(), keep=False)
            path = checkpoints.file_of(self.folder, step)
            for index, plan in enumerate(samples.plans_of(self.folder, self.plan)):
                if self._sample_file(step, index).exists():
                    continue
                picture = self._sampler.draw(samples.with_lora(plan, path, self.plan))
                self._keep(step, index, lambda to, drawn=picture: drawn.save(to, "PNG"))
        except (KizyError, ImportError) as error:
            self._draws = False
            self._say("no_samples", f"No samples are drawn: {error}")
        finally:
            if self._sampler is not None:
                self._sampler.rest()

    def _keep(self, step: int, index: int, write: Callable[[Path], object]) -> None:
        path = self._sample_file(step, index)
        with replacing(path) as temporary:
            write(temporary)
        prompt = self.plan.sample_prompts[index] if index < len(self.plan.sample_prompts) else ""
        seed = self.plan.sample_seed
        self.events.write(
            SampleEvent(step=step, index=index, path=str(path), prompt=prompt, seed=seed)
        )

    def _draw_curves(self, best: Best, upto: int, steps: list[int]) -> None:
        losses = {
            event.step: (event.step, event.loss, event.smoothed)
            for event in read_events(self.folder / "events.jsonl")
            if isinstance(event, StepEvent) and event.step <= upto
        }
        drawn = [losses[step] for step in sorted(losses)]
        checks = checkpoints.checks(self.folder, upto)
        if drawn:
            curves.loss_curve(self.folder / "loss.png", drawn, checks, best.step)
        prompts = self.plan.sample_prompts
        pictures = {
            (step, index): self._sample_file(step, index)
            for step in steps
            for index in range(len(prompts))
        }
        curves.sample_grid(self.folder / "samples.png", pictures, prompts, best.step)

    def _sample_file(self, step: int, index: int) -> Path:
        return self.folder / samples.FOLDER / f"step-{step:06d}-{index}.png"

    def _say(self, code: str, text: str) -> None:
        self.events.write(NoticeEvent(code=code, text=text))


def with_metadata(path: Path, data: bytes, added: dict[str, str]) -> bytes:
    """A safetensors file with more metadata; its weights stay as they are, byte by byte."""
    text, _size = header_text(path)
    values = json.loads(text)
    values["__metadata__"] = {**values.get("__metadata__", {}), **added}
    header = json.dumps(values, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + len(text) :]
