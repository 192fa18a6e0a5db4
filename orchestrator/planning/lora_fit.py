"""How much of a LoRA an engine draws with, told by its file's header before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...catalog.comfy_file import form_of
from ...catalog.comfy_form import ENOUGH, ComfyForm
from ...catalog.families.family import load_families
from ...catalog.formats.lora_names import plain_layers
from ...catalog.formats.safetensors_header import read_header
from ...core.errors import KizyError, ModelFileError


@dataclass(frozen=True)
class LoraFit:
    """`problem`: why the engine cannot draw with it. `note`: what is to be told of it, or "".

    `converts`: it goes to a ComfyUI under other names than its file has.
    """

    problem: ModelFileError | None = None
    note: str = ""
    converts: bool = False


def on_comfyui(path: Path, family: str | None, *, receiving: bool) -> LoraFit:
    """`receiving`: a server takes files, so that one can go there in a form that it reads."""
    form = form_of(path, family)
    if form is None:
        return LoraFit()
    note = _partly(form.share, form, family)
    if not form.converts:
        return LoraFit(_nothing(path, form) if not form.read else None, note)
    if receiving:
        return LoraFit(None, note, converts=True)
    message = (
        f"ComfyUI's LoraLoader reads {form.read} of the {form.layers} layers of {path.name}, as "
        "their names are PEFT's or diffusers', and no server takes the LoRA under other names."
    )
    fix = "Install ComfyUI-Kizy on the server, or draw here with --engine embedded."
    return LoraFit(ModelFileError("lora_form_unknown", message, fix=fix), note)


def embedded(path: Path, family: str | None) -> LoraFit:
    """Kizy's own engine knows one form of LoRA alone."""
    try:
        plain, layers, other = plain_layers(read_header(path))
    except KizyError:
        # Told by whoever loads it.
        return LoraFit()
    if other or not plain:
        message = f"{path.name} is a DoRA, LoHa, LoKr, OFT or the like, which ComfyUI draws with."
        return LoraFit(ModelFileError("lora_form_unknown", message))
    form = form_of(path, family)
    share = plain / layers * (form.readable / form.layers if form is not None else 1.0)
    return LoraFit(None, _partly(share, form, family))


def _nothing(path: Path, form: ComfyForm) -> ModelFileError:
    message = f"ComfyUI knows none of the {form.layers} layers that {path.name} changes."
    return ModelFileError("lora_form_unknown", message, fix="Use another LoRA.")


def _partly(share: float, form: ComfyForm | None, family: str | None) -> str:
    if form is None or share >= ENOUGH:
        return ""
    known = load_families().get(family or "")
    where = known.name if known is not None else "the model"
    return f"Only {round(share * form.layers)} of its {form.layers} layers have a place in {where}."
