"""From a Plan to pictures: load, apply LoRAs, sample, decode, enlarge, put back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from PIL import Image

from ..catalog.index.hashes import folder_stamp, stamp_of
from ..core.errors import EngineError, KizyError, UnknownNameError
from ..core.out_of_memory import fix_for, is_out_of_memory
from ..core.picture_files import open_picture
from ..core.plan import EnlargeStage, ImproveStage, ModelFile, Plan
from ..core.seeds import seed_after
from ..imaging import blend
from ..imaging.enlarge import enlarge_to, load_enlarger
from ..starter.checkpoint import ENLARGER_FILE, STARTER_FILE
from . import loras, masks, memory
from .cache import ModelCache
from .cancel import CancelToken
from .detailing import Brush, Saving, improve
from .model import Conditioning, DrawModel
from .preview import preview_picture
from .progress import Meter
from .sampling import SampleSettings, Start, initial_noise, sample
from .schedulers import make_scheduler
from .step_estimates import part_steps, parts_of, weight_bytes

if TYPE_CHECKING:
    from ..imaging.srvgg import SRVGGNetCompact

Result = TypeVar("Result")

PREVIEW_EVERY = 4
"""Steps between two previews."""

# Seconds of each part before any was seen, on a CPU: only their ratio matters.
_GUESS = {"load": 3.0, "step": 0.1, "find": 2.0, "part": 0.1, "finish": 1.0}


class Report(Protocol):
    """Who listens to a drawing. Called from the drawing thread."""

    def progress(self, fraction: float, doing: str, left: float | None) -> None: ...

    def preview(self, index: int, picture: Image.Image) -> None: ...

    def notice(self, code: str, text: str) -> None: ...


@dataclass
class _Savings:
    """What is done to need less memory; `next` names and takes the next step."""

    split_guidance: bool = False
    taken: list[str] = field(default_factory=list)

    def next(self, model: DrawModel, cache: ModelCache) -> str | None:
        """A sentence about the saving taken, or None if none is left."""
        if "others" not in self.taken:
            self.taken.append("others")
            if cache.keep_only(model):
                return "Memory ran out: the other models were unloaded."
        if "tiles" not in self.taken:
            self.taken.append("tiles")
            model.set_tiled_decode(True)
            return "Memory ran out: the picture is decoded in tiles."
        if "split" not in self.taken:
            self.taken.append("split")
            self.split_guidance = True
            return "Memory ran out: prompt and negative prompt run one at a time."
        if "offload" not in self.taken:
            self.taken.append("offload")
            if model.set_offload():
                return "Memory ran out: only the part that runs stays on the GPU."
        return None


@dataclass(frozen=True)
class _Inputs:
    """The start picture and mask of a Plan, opened once."""

    start: Image.Image | None
    mask: Image.Image | None


class Drawer:
    """Draws Plans, one at a time. Keeps models loaded between them. Not for several threads."""

    def __init__(
        self,
        device: torch.device | None = None,
        cache: ModelCache | None = None,
        previews: bool = True,
    ) -> None:
        self.device = device or memory.best_device()
        self._cache = cache or ModelCache()
        self._previews = previews
        self._enlarger: tuple[tuple[str, str], SRVGGNetCompact] | None = None

    def draw(
        self,
        plan: Plan,
        *,
        cancel: CancelToken,
        report: Report,
        deliver: Callable[[int, Image.Image], None],
    ) -> None:
        """Draw every picture of the Plan; `deliver(index, picture)` gets each as it is done.

        Raises KizyError; what was delivered before it stays valid.
        """
        meter = Meter(parts_of(plan), _GUESS)
        report.progress(0.0, "loading the model", None)
        inputs = _open_inputs(plan)
        model = self._load(plan, report)
        meter.done("load")
        savings = _Savings()
        # A model that an earlier drawing left in tiles draws this one as its Plan always is.
        model.set_tiled_decode(False)
        with self._loras(model, plan, cancel, report), torch.inference_mode():
            conditioning = self._saving(
                lambda: model.encode(plan.prompt, plan.negative, plan.width, plan.height),
                plan,
                model,
                savings,
                report,
            )
            for index in range(plan.count):
                work = _Work(plan, index, model, conditioning, inputs, savings, cancel)
                deliver(index, self._picture(work, report, meter))

    def _saving(
        self,
        run: Callable[[], Result],
        plan: Plan,
        model: DrawModel,
        savings: _Savings,
        report: Report,
    ) -> Result:
        """What `run` gives, tried again with less memory each time that it runs out."""
        while True:
            try:
                return run()
            except Exception as error:
                if isinstance(error, KizyError) or not is_out_of_memory(error):
                    raise
                memory.release()
                taken = savings.next(model, self._cache)
                if taken is None:
                    raise _no_memory(plan, error) from error
                report.notice("less_memory", taken)

    def _saver(self, work: _Work, report: Report) -> Saving:
        """`_saving` for one picture: each piece of the work is tried again by itself."""

        def saving(run: Callable[[], Result]) -> Result:
            return self._saving(run, work.plan, work.model, work.savings, report)

        return saving

    def _picture(self, work: _Work, report: Report, meter: Meter) -> Image.Image:
        plan, saving = work.plan, self._saver(work, report)
        doing = "drawing" if plan.count == 1 else f"drawing picture {work.index + 1}"
        if plan.draws or work.inputs.start is None:
            latents = saving(lambda: self._sampled(work, doing, report, meter))
            picture = saving(lambda: _decoded(work.model, latents))
        else:
            picture = work.inputs.start
        picture = self._later_stages(picture, work, saving, report, meter)
        picture = saving(lambda: _finish(picture, plan, work.inputs))
        meter.done("finish")
        report.progress(meter.fraction, doing, meter.left)
        return picture

    def _sampled(self, work: _Work, doing: str, report: Report, meter: Meter) -> torch.Tensor:
        """The latents of the picture before its later stages."""
        model = work.model

        def on_step(done: int, steps: int, expected: Callable[[], torch.Tensor]) -> None:
            meter.done("step")
            report.progress(meter.fraction, doing, meter.left)
            if self._previews and done % PREVIEW_EVERY == 0 and done < steps:
                report.preview(work.index, preview_picture(expected(), model.preview_map))

        return _latents(work, on_step)

    def _later_stages(
        self, picture: Image.Image, work: _Work, saving: Saving, report: Report, meter: Meter
    ) -> Image.Image:
        for stage in work.plan.stages:
            work.cancel.check()
            if isinstance(stage, EnlargeStage):
                picture = saving(partial(self._enlarged, picture, stage))
            elif isinstance(stage, ImproveStage):
                brush = self._brush(stage, work, saving, report, meter)
                picture = improve(picture, stage, brush)
        return picture

    def _enlarged(self, picture: Image.Image, stage: EnlargeStage) -> Image.Image:
        return self._enlarge(blend.on_white(picture), stage.model, stage.factor)

    def _brush(
        self, stage: ImproveStage, work: _Work, saving: Saving, report: Report, meter: Meter
    ) -> Brush:
        doing = "drawing faces again" if stage.what == "faces" else "drawing the marked again"
        report.progress(meter.fraction, "looking for faces", meter.left)

        def on_step() -> None:
            meter.done("part")
            report.progress(meter.fraction, doing, meter.left)

        def expect(steps: int) -> None:
            meter.expect("part", steps + part_steps(work.plan, work.plan.count - work.index - 1))

        def enlarged(picture: Image.Image, factor: float) -> Image.Image:
            assert stage.enlarger is not None
            return self._enlarge(picture, stage.enlarger, factor)

        return Brush(
            model=work.model,
            plan=work.plan,
            seed=seed_after(work.plan.seed, work.index),
            saving=saving,
            split_guidance=lambda: work.savings.split_guidance,
            cancel=work.cancel,
            on_step=on_step,
            looked=lambda: meter.done("find"),
            expect=expect,
            notice=report.notice,
            enlarge=enlarged,
        )

    def _enlarge(self, picture: Image.Image, model: ModelFile, factor: float) -> Image.Image:
        path = Path(model.path) if model.path else ENLARGER_FILE
        key = str(path), _state(path)
        if self._enlarger is None or self._enlarger[0] != key:
            self._enlarger = key, load_enlarger(path, device=self.device)
        return enlarge_to(picture, self._enlarger[1], factor)

    def _load(self, plan: Plan, report: Report) -> DrawModel:
        while True:
            try:
                return self._load_once(plan)
            except Exception as error:
                if isinstance(error, KizyError) or not is_out_of_memory(error):
                    raise
                memory.release()
                if not self._cache.drop_oldest():
                    raise _no_memory(plan, error) from error
                report.notice("less_memory", "Memory ran out: another model was unloaded.")

    def _load_once(self, plan: Plan) -> DrawModel:
        path = plan.model.path
        if path is None and plan.family != "starter":
            raise EngineError("drawing_failed", f"The model {plan.model.name} has no folder here.")
        if path is None:
            key, state = (plan.model.name, "", str(self.device)), _state(STARTER_FILE)
            starter = partial(self._starter, plan)
            return self._cache.get(key, 200_000_000, self.device, starter, state)
        size = weight_bytes(Path(path))
        # A folder that was replaced in place is another model.
        key, state = (plan.model.name, path, str(self.device)), _state(Path(path))

        def load() -> DrawModel:
            from .stable_diffusion import StableDiffusionModel

            folder = Path(path)
            # Asked only now: what is loaded already keeps its precision, and so its pixels.
            placement = memory.place(size, self.device, memory.free_bytes(self.device))
            return StableDiffusionModel(plan.model.name, plan.family, folder, placement)

        wanted = 2 * size if self.device.type == "cpu" else size
        return self._cache.get(key, wanted, self.device, load, state)

    def _starter(self, plan: Plan) -> DrawModel:
        from .starter_model import StarterModel

        return StarterModel(plan.model.name, self.device)

    @contextlib.contextmanager
    def _loras(
        self, model: DrawModel, plan: Plan, cancel: CancelToken, report: Report
    ) -> Iterator[None]:
        if not plan.loras:
            yield
            return
        weights = model.lora_weights()
        applied = loras.AppliedLoras(weights)
        try:
            self._apply(plan, model, weights, applied, cancel, report)
            yield
        finally:
            applied.remove()

    def _apply(
        self,
        plan: Plan,
        model: DrawModel,
        weights: Mapping[str, torch.Tensor],
        applied: loras.AppliedLoras,
        cancel: CancelToken,
        report: Report,
    ) -> None:
        """Check every LoRA, then add it. Raises ModelFileError, or EngineError `out_of_memory`."""
        try:
            for lora in plan.loras:
                if lora.file.path is None:
                    raise EngineError("drawing_failed", f"The LoRA {lora.file.name} has no file.")
                path = Path(lora.file.path)
                modules = loras.read_lora(path)
                found = loras.match(modules, weights, loras.layers_of(path))
                loras.check_match(lora.file.name, found, model.name)
                if found.matched < found.total:
                    left = found.total - found.matched
                    text = f"{left} of {found.total} parts of {lora.file.name} have no place here."
                    report.notice("lora_partly", text)
                applied.add(
                    modules,
                    model_weight=lora.model_weight,
                    clip_weight=lora.clip_weight,
                    check=cancel.check,
                )
        except Exception as error:
            if not isinstance(error, KizyError) and is_out_of_memory(error):
                raise _no_memory(plan, error) from error
            raise


def _state(path: Path) -> str:
    """Another whenever a file of the model is. Raises UnknownNameError `file_missing`."""
    try:
        return str(folder_stamp(path) if path.is_dir() else stamp_of(path))
    except OSError as error:
        raise UnknownNameError("file_missing", f"{path} cannot be read.") from error


@dataclass(frozen=True)
class _Work:
    """One picture to draw."""

    plan: Plan
    index: int
    model: DrawModel
    conditioning: Conditioning
    inputs: _Inputs
    savings: _Savings
    cancel: CancelToken


def _no_memory(plan: Plan, error: Exception) -> EngineError:
    message = (
        f"{plan.width} x {plan.height} pixels with {plan.model.name} "
        "need more memory than this machine has free."
    )
    return EngineError("out_of_memory", message, fix=fix_for(str(error)))


def _open_inputs(plan: Plan) -> _Inputs:
    start = open_picture(Path(plan.start.picture.path)) if plan.start else None
    if plan.mask is None or start is None:
        return _Inputs(start, None)
    mask = open_picture(Path(plan.mask.picture.path))
    return _Inputs(start, blend.soft_mask(mask, start.size, plan.mask.feather))


def _latents(work: _Work, on_step: Callable[..., None]) -> torch.Tensor:
    plan, model, inputs = work.plan, work.model, work.inputs
    start, mask = None, None
    if inputs.start is not None and plan.start is not None:
        pixels = masks.to_pixels(inputs.start, plan.width, plan.height)
        clean = model.to_latents(pixels)
        if plan.start.strength == 0:
            return clean
        start = Start(clean, plan.start.strength)
    if inputs.mask is not None:
        mask = masks.latent_mask(inputs.mask, plan.width, plan.height, model.latent_factor)
    return sample(
        model,
        make_scheduler(plan.sampler, plan.scheduler, model.scheduler_config),
        work.conditioning,
        initial_noise(model, seed_after(plan.seed, work.index), plan.width, plan.height),
        SampleSettings(
            seed=seed_after(plan.seed, work.index),
            steps=plan.steps,
            guidance=plan.guidance,
            split_guidance=work.savings.split_guidance,
        ),
        start=start,
        mask=mask,
        cancel=work.cancel,
        on_step=on_step,
    )


def _decoded(model: DrawModel, latents: torch.Tensor) -> Image.Image:
    """Raises EngineError `drawing_failed` if they are no picture."""
    pixels = model.to_pixels(latents)
    if not torch.isfinite(pixels).all():
        message = f"{model.name} drew numbers that are no colours."
        raise EngineError("drawing_failed", message)
    return masks.to_picture(pixels)


def _finish(picture: Image.Image, plan: Plan, inputs: _Inputs) -> Image.Image:
    """To the exact size that was planned; outside a mask, the picture that was given."""
    size = (plan.output_width, plan.output_height)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if inputs.mask is None or inputs.start is None:
        return picture
    original, mask = inputs.start, inputs.mask
    if original.size != size:
        original = original.resize(size, Image.Resampling.LANCZOS)
        mask = mask.resize(size, Image.Resampling.BILINEAR)
    return blend.put_back(picture, original, mask)
