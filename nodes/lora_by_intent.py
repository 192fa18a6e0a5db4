"""Kizy LoRA by Intent: picks the LoRAs that fit a prompt, and puts them into model and CLIP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _host
from ._host import io
from .lora_shelf import shelf
from .telling import in_plain_words

if TYPE_CHECKING:
    from ..catalog.search.search_index import Library, Scope
    from ..catalog.search.select import Picked

EVERYTHING = "everything"
BELOW = "folder: "
MOST = 8
LEAST_SHARE = 0.5
"""Of a LoRA's layers that have to find their place, or it was made for another model."""


class KizyLoraByIntent(io.ComfyNode):
    """A thin face of `catalog.search.select`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KizyLoraByIntent",
            display_name="Kizy LoRA by Intent",
            category="Kizy",
            description=(
                "Reads your prompt, picks the LoRAs that fit it, and says why. "
                "Only LoRAs of the model's own family are taken."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that draws."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What you want to see. <lora:NAME:WEIGHT> in it pins a LoRA.",
                ),
                io.Combo.Input(
                    "scope",
                    options=scopes(),
                    default=EVERYTHING,
                    tooltip="Which LoRAs Kizy may pick from: all, or those of one folder.",
                ),
                io.Int.Input(
                    "how_many",
                    default=3,
                    min=0,
                    max=MOST,
                    tooltip="At most as many LoRAs; 0: only those that you pin.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Makes all LoRAs weaker or stronger. 1: as Kizy sets them.",
                ),
                io.String.Input(
                    "pinned",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="LoRAs that are always taken, one a line: NAME or NAME:WEIGHT.",
                ),
                *_host.advanced(
                    [
                        io.String.Input(
                            "only",
                            multiline=True,
                            default="",
                            optional=True,
                            tooltip=(
                                "Pick only from these, one a line: a LoRA's name, or "
                                "tag: WORD for those with a tag. Empty: all."
                            ),
                        ),
                        io.Boolean.Input(
                            "adult",
                            default=False,
                            optional=True,
                            tooltip="Adult LoRAs may be picked, too.",
                        ),
                    ]
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="With the LoRAs in it."),
                io.Clip.Output(display_name="clip", tooltip="With the LoRAs in it."),
                io.String.Output(
                    display_name="prompt", tooltip="Your prompt with the LoRAs' trigger words."
                ),
                io.String.Output(display_name="explanation", tooltip="What was picked, and why."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs: Any) -> str:
        """New LoRAs are heard of; nothing else makes it choose anew."""
        return shelf().state()

    @classmethod
    @in_plain_words
    def execute(
        cls,
        model: Any,
        clip: Any,
        prompt: str,
        scope: str = EVERYTHING,
        how_many: int = 3,
        strength: float = 1.0,
        pinned: str = "",
        only: str = "",
        adult: bool = False,
    ) -> io.NodeOutput:
        from ..catalog.search.lora_tags import lora_lines, lora_tags
        from ..catalog.search.select import select
        from ..core.errors import ModelFileError, UnknownNameError
        from .choice_text import choice_text, lora_text
        from .model_family import family_by_shapes, file_of_model, twin_named, variant_in
        from .records import remember

        graph, node = cls.hidden.prompt or {}, str(cls.hidden.unique_id)
        file = file_of_model(graph, node, "model")
        family = twin_named(family_by_shapes(_host.denoiser_shapes(model)), file)
        variant = variant_in(family, file)
        looked = shelf().look()
        text, tags, notes = lora_tags(prompt)
        lines, more = lora_lines(pinned or "")
        choice = select(
            text,
            family.id,
            looked.library,
            variant=variant,
            scope=_scope(scope, only, looked.library, adult=adult),
            max_loras=how_many,
            named=(*lines, *tags),
        )
        choice = replace(choice, notices=(*choice.notices, *notes, *more))
        for refused in choice.refused:
            if refused.card is None:
                fix = "Put the file into ComfyUI's models/loras, or take the line out of pinned."
                raise UnknownNameError("lora_unknown", refused.why, fix=fix)
            raise ModelFileError(
                "lora_other_family", f'The LoRA "{refused.card.name}": {refused.why}'
            )
        used: list[tuple[Picked, float, float]] = []
        told: list[str] = []
        left_out: list[str] = []
        progress = _host.progress_bar(max(1, len(choice.picked)))
        for number, picked in enumerate(choice.picked):
            weights = picked.model_weight * strength, picked.clip_weight * strength
            path = Path(picked.card.key)
            applied = _host.apply_lora(model, clip, path, *weights, _names(path, family.id))
            problem, note = _fit(applied.tensors, path, family.name)
            if problem is not None:
                if picked.named:
                    message = f'The LoRA "{picked.card.name}": {problem}'
                    raise ModelFileError("lora_other_family", message)
                left_out.append(f"{picked.card.name} (left out)\n  {problem}")
                continue
            model, clip = applied.model, applied.clip
            used.append((picked, *weights))
            told.append(lora_text(picked, *weights, note))
            progress(number + 1)
        known = family.variant(variant) if variant else None
        name = f"{family.name} ({known.name})" if known is not None else family.name
        explanation = choice_text(
            name, told, left_out, choice, looked.notices, known=looked.library.has_meanings
        )
        words = [word for picked, _, _ in used for word in picked.triggers]
        full = ", ".join(part for part in (text, *words) if part)
        remember(graph, node, prompt=full, loras=used)
        return io.NodeOutput(model, clip, full, explanation, ui={"text": [explanation]})


def scopes() -> list[str]:
    """Everything, and each folder of LoRAs by its name."""
    found = {
        parent.as_posix()
        for name in _host.models_listed("loras")
        for parent in list(Path(name.replace("\\", "/")).parents)[:-1]
    }
    return [EVERYTHING, *(BELOW + folder for folder in sorted(found, key=str.casefold))]


def _scope(scope: str, only: str, library: Library, *, adult: bool) -> Scope:
    """Raises UnknownNameError `lora_unknown` for a line that names none."""
    from ..catalog.search.reasons import unknown_name
    from ..catalog.search.search_index import Scope
    from ..core.errors import UnknownNameError

    lines = [line.strip() for line in (only or "").splitlines() if line.strip()]
    tags = tuple(line[4:].strip() for line in lines if line.casefold().startswith("tag:"))
    names: list[str] = []
    for name in (line for line in lines if not line.casefold().startswith("tag:")):
        found = library.find(name)
        if not found:
            fix = "Name one that is there in `only`, or take the line out."
            raise UnknownNameError("lora_unknown", unknown_name(name, library), fix=fix)
        names += [library.cards[at].key for at in found]
    return Scope(
        folders=(scope.removeprefix(BELOW),) if scope.startswith(BELOW) else (),
        tags=tags,
        names=tuple(names) or None,
        mature=adult,
    )


def _names(file: Path, family: str) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """What ComfyUI calls the file's tensors, and their shapes; None if it reads the file."""
    from ..catalog.comfy_form import comfy_form, shape_there
    from ..catalog.formats.safetensors_header import read_header

    header = read_header(file)
    form = comfy_form(header, family)
    if form is None or not form.converts:
        return None
    shapes = {name: shape_there(name, header.tensors) for name in header.tensors}
    return {name: (there, shapes[name]) for name, there in form.names.items()}


def _fit(tensors: int, file: Path, family: str) -> tuple[str | None, str]:
    """Why it does not fit, and what to say if it fits in part; from how much found its place."""
    from ..catalog.formats.lora_names import layers, parts
    from ..catalog.formats.safetensors_header import read_header

    header = read_header(file)
    of = len(layers(parts(header), header.tensors))
    if tensors == 0 or tensors < LEAST_SHARE * of:
        return f"Only {tensors} of its {of} layers have a place in this {family} model.", ""
    if tensors < of:
        return None, f"{tensors} of its {of} layers have a place in this model."
    return None, ""
