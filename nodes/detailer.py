"""Kizy Detailer: draws faces, or what a mask marks, again in detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _host
from ._host import io
from .telling import in_plain_words

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..catalog.families.family import Family
    from ..imaging.crops import Crop
    from ..imaging.improve import Improvement

FACES, MASK = "faces", "everything in the mask"
AMOUNTS = ["subtle", "normal", "strong"]
AS_THE_MODEL = "as the model likes it"
OWN = "Kizy"
"""The detector that the pack brings."""


class KizyDetailer(io.ComfyNode):
    """`imaging` plans and puts together; ComfyUI's own functions draw."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        samplers, schedulers = _host.sampler_names()
        return io.Schema(
            node_id="KizyDetailer",
            display_name="Kizy Detailer",
            category="Kizy",
            description=(
                "Finds faces, or takes what a mask marks, draws each part again at the size that "
                "the model is best at, and puts it back without a seam. Outside of it no pixel "
                "changes."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The pictures; a batch works."),
                io.Model.Input("model", tooltip="The model that draws."),
                io.Clip.Input("clip", tooltip="Its text encoder, for a prompt for each face."),
                io.Vae.Input("vae", tooltip="Its VAE."),
                io.Conditioning.Input("positive", tooltip="What the picture was drawn with."),
                io.Conditioning.Input("negative", tooltip="What it was drawn with against."),
                io.Combo.Input(
                    "what",
                    options=[FACES, MASK],
                    default=FACES,
                    tooltip="What is drawn again: the faces that Kizy finds, or your mask.",
                ),
                io.Combo.Input(
                    "amount",
                    options=AMOUNTS,
                    default="normal",
                    tooltip="How much may change: subtle keeps the features, strong redraws them.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed draws it another way; part i takes the seed + i.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="What to draw again: white."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip=(
                        "A line for each face or part, from left to right. An empty line: as the "
                        "whole picture."
                    ),
                ),
                *_host.advanced(
                    [
                        io.Int.Input(
                            "steps",
                            default=0,
                            min=0,
                            max=1000,
                            optional=True,
                            tooltip="Steps of the whole way. 0: as the model likes it.",
                        ),
                        io.Float.Input(
                            "cfg",
                            default=0.0,
                            min=0.0,
                            max=100.0,
                            step=0.1,
                            optional=True,
                            tooltip="Guidance. 0: as the model likes it.",
                        ),
                        io.Combo.Input(
                            "sampler",
                            options=[AS_THE_MODEL, *samplers],
                            default=AS_THE_MODEL,
                            optional=True,
                            tooltip="How it gets from noise to a picture, as in KSampler.",
                        ),
                        io.Combo.Input(
                            "scheduler",
                            options=[AS_THE_MODEL, *schedulers],
                            default=AS_THE_MODEL,
                            optional=True,
                            tooltip="How the noise is spread over the steps, as in KSampler.",
                        ),
                        io.Combo.Input(
                            "detector",
                            options=[OWN, *_host.yolo_models()],
                            default=OWN,
                            optional=True,
                            tooltip="Who finds the faces: Kizy, or a YOLO model of yours.",
                        ),
                    ]
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures, improved."),
                io.Mask.Output(display_name="mask", tooltip="Where the pictures may differ."),
                io.Image.Output(
                    display_name="found",
                    tooltip=(
                        "What was found: green is drawn again, grey was left; with the numbers of "
                        "their lines in prompts."
                    ),
                ),
            ],
        )

    @classmethod
    @in_plain_words
    def execute(
        cls,
        image: Any,
        model: Any,
        clip: Any,
        vae: Any,
        positive: Any,
        negative: Any,
        what: str = FACES,
        amount: str = "normal",
        seed: int = 0,
        mask: Any = None,
        prompts: str = "",
        steps: int = 0,
        cfg: float = 0.0,
        sampler: str = AS_THE_MODEL,
        scheduler: str = AS_THE_MODEL,
        detector: str = OWN,
    ) -> io.NodeOutput:
        import torch

        from ..core.errors import InputError
        from ..imaging.improve import STRENGTHS, changed_mask, show_found
        from .model_family import family_by_shapes
        from .tensors import as_picture, as_tensor, mask_picture, mask_tensor

        if what == MASK and mask is None:
            fix = "Wire a mask in, or choose faces."
            raise InputError("request_invalid", "There is no mask.", fix=fix)
        if amount not in AMOUNTS or what not in (FACES, MASK):
            # ComfyUI itself lets any text through.
            fix = f"Set amount to {', '.join(AMOUNTS)}; what to {FACES} or {MASK}."
            raise InputError("request_invalid", f'"{what}", "{amount}" is no choice.', fix=fix)
        family = family_by_shapes(_host.denoiser_shapes(model))
        strength = STRENGTHS[amount]
        whole = steps or family.steps["balanced"]
        settings = _host.SamplerSettings(
            steps=max(1, round(whole * strength)),
            cfg=cfg or (family.guidance if family.guidance_kind == "cfg" else 1.0),
            sampler=family.sampler if sampler == AS_THE_MODEL else sampler,
            scheduler=family.scheduler if scheduler == AS_THE_MODEL else scheduler,
            denoise=strength,
        )
        _remember(cls.hidden, family, whole, settings, what, amount, prompts or "")
        brush = _Brush(model, clip, vae, positive, negative, settings, prompts or "")
        # What no mask covers keeps its numbers, which are finer than a picture's.
        results = image.detach().cpu().clone()
        if results.shape[-1] < 3:
            results = results[..., :1].repeat(1, 1, 1, 3)
        masks = torch.zeros(results.shape[:3])
        shown = torch.empty((*results.shape[:3], 3))
        told: list[str] = []
        number = 0
        for index in range(len(results)):
            _host.raise_if_interrupted()
            picture = as_picture(results[index])
            given = mask_picture(mask, index) if what == MASK else None
            plan = _plan(picture, given, family, detector)
            drawn = []
            for crop, line in zip(plan.crops, plan.lines, strict=True):
                drawn.append(brush.draw(picture, crop, line, seed + number))
                number += 1
            if drawn:
                _put_into(results[index], picture, plan.crops, drawn)
                masks[index] = mask_tensor(changed_mask(picture.size, plan.crops))
            shown[index] = as_tensor(show_found(picture, plan))
            several = f"Picture {index + 1}: " if len(results) > 1 else ""
            told.append(several + plan.sentence())
        told += brush.notices
        return io.NodeOutput(results, masks, shown, ui={"text": ["\n".join(told)]})


def _remember(
    hidden: Any,
    family: Family,
    steps: int,
    settings: _host.SamplerSettings,
    what: str,
    amount: str,
    prompts: str,
) -> None:
    """For Kizy Save: what the pictures are improved with."""
    from ..core.plan import ImproveStage
    from .records import Improved, remember_improved

    stage = ImproveStage(
        what="faces" if what == FACES else "mask",
        amount=amount,  # pyright: ignore[reportArgumentType]
        strength=settings.denoise,
        width=family.native_width,
        height=family.native_height,
        multiple=family.multiple,
        prompts=tuple(line.strip() for line in prompts.splitlines()),
    )
    used = settings.cfg, settings.sampler, settings.scheduler
    how = Improved(family.id, steps, *used, stage)
    remember_improved(hidden.prompt or {}, str(hidden.unique_id), how)


def _plan(
    picture: Image.Image, mask: Image.Image | None, family: Family, detector: str
) -> Improvement:
    from ..imaging.crops import Capacity
    from ..imaging.improve import plan_faces, plan_mask

    capacity = Capacity(family.native_width, family.native_height, family.multiple)
    if mask is not None:
        return plan_mask(picture, mask, capacity)
    if detector == OWN:
        return plan_faces(picture, capacity)
    from ..imaging.faces import Face

    found = [Face(*box, score, "photo") for box, score in _host.yolo_boxes(detector, picture)]
    found.sort(key=lambda face: (face.left + face.right, face.top))
    return plan_faces(picture, capacity, found)


def _put_into(
    pixels: torch.Tensor, picture: Image.Image, crops: Sequence[Crop], drawn: Sequence[Image.Image]
) -> None:
    """Write what was drawn into (height, width, 3 or 4), 0 to 1, where the masks are not 0."""
    import torch

    from ..imaging.patch import put_together
    from .tensors import as_tensor

    new = put_together(picture, crops, drawn)
    for crop in crops:
        area = crop.area
        right, bottom = area.left + area.width, area.top + area.height
        there = pixels[area.top : bottom, area.left : right, :3]
        colours = as_tensor(new.crop((area.left, area.top, right, bottom)))[..., :3]
        inside = torch.from_numpy(area.mask > 0)[..., None]
        there.copy_(torch.where(inside, colours.to(there.dtype), there))


class _Brush:
    """Draws a crop again; knows each line of prompts once. `notices`: what is to be told."""

    def __init__(
        self,
        model: Any,
        clip: Any,
        vae: Any,
        positive: Any,
        negative: Any,
        settings: _host.SamplerSettings,
        prompts: str,
    ) -> None:
        self._model, self._clip, self._vae = model, clip, vae
        self._positive, self._negative, self._settings = positive, negative, settings
        self._lines: Sequence[str] = [line.strip() for line in prompts.splitlines()]
        self._said: dict[str, Any] = {}
        self.notices: list[str] = []

    def draw(self, picture: Image.Image, crop: Crop, line: int, seed: int) -> Image.Image:
        """Where memory runs out it is tried once more in all of it, and by itself alone.

        Raises EngineError `out_of_memory`.
        """
        from ..core.errors import EngineError
        from ..core.out_of_memory import is_out_of_memory

        try:
            return self._drawn(picture, crop, line, seed)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Behind the handler: until there, the error holds on to what was allocated.
        _host.free_memory()
        try:
            drawn = self._drawn(picture, crop, line, seed)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = (
                f"A part of {crop.width} x {crop.height} pixels needs more memory than is free, "
                "even alone."
            )
            raise EngineError("out_of_memory", message) from error
        if not self.notices:
            self.notices.append("Memory ran out: other models were unloaded for it.")
        return drawn

    def _drawn(self, picture: Image.Image, crop: Crop, line: int, seed: int) -> Image.Image:
        from ..imaging.crops import cut_out, noise_mask
        from .tensors import as_picture, as_tensor, mask_tensor

        pixels: torch.Tensor = as_tensor(cut_out(picture, crop))[None]
        drawn = _host.sample_again(
            self._model,
            self._vae,
            self._conditioning(line),
            self._negative,
            pixels,
            mask_tensor(noise_mask(crop)),
            seed % (1 << 64),
            self._settings,
        )
        return as_picture(drawn[0])

    def _conditioning(self, line: int) -> Any:
        text = self._lines[line] if line < len(self._lines) else ""
        if not text:
            return self._positive
        if text not in self._said:
            self._said[text] = _host.encode_text(self._clip, text)
        return self._said[text]
