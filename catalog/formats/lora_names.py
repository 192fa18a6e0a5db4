"""The names of a LoRA's tensors: which layer each one changes, in which of the field's namings.

    lora_unet_..., lora_te1_..., lycoris_...    sd-scripts, OneTrainer, SimpleTuner's LyCORIS
    unet...., transformer...., text_encoder.... diffusers, PEFT, ai-toolkit, SimpleTuner
    diffusion_model...., text_encoders....      ComfyUI (comfy/lora.py), ai-toolkit, diffusion-pipe
    base_model.model....                        PEFT by itself

Sources of the endings: ComfyUI, comfy/weight_adapter; LyCORIS, lycoris/modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .safetensors_header import Header, TensorInfo

DENOISER = ("lora_unet_", "lora_transformer_", "lora_prior_unet_")
"""What the module names of a LoRA for the denoiser begin with."""

TEXT_ENCODERS = ("lora_te", "lora_prior_te")

DOWN, UP, ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"

OTHER_FORMULAS = frozenset(("dora_scale", "lora_magnitude_vector", "lora_mid"))
"""Ends of the tensors of a DoRA (kohya's and PEFT's) and of a LoCon with Tucker decomposition."""

_KOHYA = ("lora_unet_", "lora_transformer_", "lora_te", "lora_prior_", "lora_controlnet")
# Ends that begin at the last "lora" of a name, a letter before it included.
_ENDS = {
    ".lora_down.weight": DOWN,
    ".lora_A.weight": DOWN,
    ".lora.down.weight": DOWN,
    ".lora_linear_layer.down.weight": DOWN,
    "_lora.down.weight": DOWN,
    ".lora_up.weight": UP,
    ".lora_B.weight": UP,
    ".lora.up.weight": UP,
    ".lora_linear_layer.up.weight": UP,
    "_lora.up.weight": UP,
}
# PEFT puts the adapter's name in between: ".lora_A.default.weight".
_ADAPTER_END = re.compile(r"\.lora_([AB])\.[\w-]+\.weight\Z")
_OTHER_ENDS = frozenset(
    (
        *("alpha", "dora_scale", "lora_magnitude_vector", "diff", "on_input"),
        *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
        *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
        *("oft_blocks", "oft_diag", "oft_R"),
    )
)
_WEIGHT_ENDS = ("a1", "a2", "b1", "b2", "oft_R", "lora_magnitude_vector", "lora_mid")

_ROOTS = (
    ("unet.", "lora_unet_"),
    ("diffusion_model.", "lora_unet_"),
    ("model.diffusion_model.", "lora_unet_"),
    ("transformer.", "lora_transformer_"),
    ("transformer_blocks.", "lora_transformer_transformer_blocks_"),
    ("single_transformer_blocks.", "lora_transformer_single_transformer_blocks_"),
    ("lycoris_transformer_blocks_", "lora_transformer_transformer_blocks_"),
    ("lycoris_single_transformer_blocks_", "lora_transformer_single_transformer_blocks_"),
    ("lycoris_text_encoder_2_", "lora_te2_"),
    ("lycoris_", "lora_unet_"),
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder_3.", "lora_te3_"),
    ("text_encoders.clip_g.transformer.", "lora_te2_"),
    ("text_encoders.t5xxl.transformer.", "lora_te3_"),
)
_FIRST_ENCODER = (
    "text_encoder.",
    "lycoris_text_encoder_",
    "text_encoders.clip_l.transformer.",
    "text_encoders.clip_h.transformer.",
)
_FURTHER_ENCODERS = ("text_encoder_2.", "text_encoder_3.", "text_encoders.clip_g.")


class Layer(NamedTuple):
    """What a LoRA changes. `inputs`, `outputs`: widths, None if its form does not show them.

    `filters`: its tensors have a kernel's two dimensions as well.
    """

    inputs: int | None = None
    outputs: int | None = None
    filters: bool = False


def parts(header: Header) -> Iterator[tuple[str, str, str]]:
    """(module, end, tensor's name) of each tensor that belongs to a LoRA.

    A module is in kohya's form: `lora_unet_...`, `lora_te_...` (`te1`, `te2` if there are several)
    or, for diffusers' names of transformers, `lora_transformer_...`. Ends are `DOWN`, `UP`, `ALPHA`
    or the last word of the name ("hada_w1_a").
    """
    first = "lora_te1_" if _several(header.tensors) else "lora_te_"
    known: dict[str, str] = {}
    for name in header.tensors:
        found = split_name(name)
        if found is None:
            continue
        module, end = found
        kohya = known.get(module)
        if kohya is None:
            kohya = known[module] = _kohya(module, first)
        yield kohya, end, name


def lora_tensors(header: Header) -> dict[str, str]:
    """Tensor names in kohya's form -> names in the file, of plain LoRAs.

    Kohya's form is `<module>.lora_down.weight`, `.lora_up.weight` and `.alpha`; see `parts`.
    """
    ends = (DOWN, UP, ALPHA)
    return {module + end: name for module, end, name in parts(header) if end in ends}


def plain_layers(header: Header) -> tuple[int, int, bool]:
    """(layers that are plain LoRAs, all that the file changes, whether a plain one has more to it,
    as those of a DoRA and of a LoCon with Tucker decomposition have).
    """
    ends: dict[str, set[str]] = {}
    for module, end, _ in parts(header):
        ends.setdefault(module, set()).add(end)
    plain = [found for found in ends.values() if {DOWN, UP} <= found]
    return len(plain), len(ends), any(found & OTHER_FORMULAS for found in ends.values())


def layers(
    found: Iterable[tuple[str, str, str]], tensors: Mapping[str, TensorInfo]
) -> dict[str, Layer]:
    """Module -> what of its layer is known, from what `parts` gives."""
    whole: dict[str, dict[str, tuple[int, ...]]] = {}
    for module, end, name in found:
        whole.setdefault(module, {})[end] = tensors[name].shape
    known = ((module, _layer(shapes)) for module, shapes in whole.items())
    return {module: layer for module, layer in known if layer is not None}


def split_name(name: str) -> tuple[str, str] | None:
    if not name.endswith(".weight"):
        module, _, end = name.rpartition(".")
        return (module, ALPHA if end == "alpha" else end) if end in _OTHER_ENDS else None
    at = name.rfind("lora") - 1
    if at > 0:
        end = _ENDS.get(name[at:])
        if end is not None:
            return name[:at], end
        match = _ADAPTER_END.search(name, at)
        if match:
            return name[:at], DOWN if match[1] == "A" else UP
    module, _, end = name[:-7].rpartition(".")
    if end in _WEIGHT_ENDS:
        return module, end
    # (IA)^3 has a bare weight beside `on_input`.
    return (name[:-7], "weight") if name.startswith(_KOHYA) else None


def _several(names: Iterable[str]) -> bool:
    return any(name.startswith(_FURTHER_ENCODERS) for name in names)


def _kohya(name: str, first_text_encoder: str) -> str:
    name = name.replace("base_model.model.", "", 1)
    if name.startswith(_KOHYA):
        return name
    if name.startswith(("text_model.encoder.", "encoder.layers.")):
        # PEFT around a text encoder alone, which is the first as far as anybody can tell.
        return _clip(first_text_encoder + name.replace(".", "_"))
    # The attention processors of old diffusers: "attn1.processor.to_out" is "attn1.to_out.0".
    if ".processor." in name:
        name = name.replace(".processor.", ".")
        name = name + ".0" if name.endswith(".to_out") else name
    for root in _FIRST_ENCODER:
        if name.startswith(root) and not name.startswith("lycoris_text_encoder_2_"):
            return _clip(first_text_encoder + name[len(root) :].replace(".", "_"))
    for root, replacement in _ROOTS:
        if name.startswith(root):
            return _clip(replacement + name[len(root) :].replace(".", "_"))
    return "lora_unet_" + name.replace(".", "_")


def _clip(kohya: str) -> str:
    """With the level that newer transformers dropped from CLIP's names."""
    return _DROPPED.sub(r"\1text_model_encoder_layers_", kohya)


_DROPPED = re.compile(r"\A(lora_te\d?_)encoder_layers_")


def _layer(shapes: Mapping[str, tuple[int, ...]]) -> Layer | None:
    """From one module's tensors; None if these are no LoRA's."""
    down, up = shapes.get(DOWN), shapes.get(UP)
    if down or up:
        return Layer(_at(down, 1), _at(up, 0), len(down or ()) == 4)
    if "hada_w1_a" in shapes:
        filters = "hada_t1" in shapes
        return Layer(_at(shapes.get("hada_w1_b"), 1), _loha_outputs(shapes, filters), filters)
    if "lokr_w1" in shapes or "lokr_w1_a" in shapes:
        first = shapes.get("lokr_w1") or (
            _at(shapes.get("lokr_w1_a"), 0) or 0,
            _at(shapes.get("lokr_w1_b"), 1) or 0,
        )
        low = shapes.get("lokr_w2_b")
        second = shapes.get("lokr_w2") or (
            _at(shapes.get("lokr_w2_a"), 1 if "lokr_t2" in shapes else 0) or 0,
            _at(low, 1) or 0,
        )
        inputs = (_at(first, -1) or 0) * (_at(second, 1) or 0)
        outputs = (_at(first, 0) or 0) * (_at(second, 0) or 0)
        return Layer(inputs or None, outputs or None, len(second) == 4 or "lokr_t2" in shapes)
    if "diff" in shapes:
        whole = shapes["diff"]
        return Layer(whole[1], whole[0], len(whole) == 4) if len(whole) > 1 else None
    for end in ("oft_blocks", "oft_diag"):
        if end in shapes:
            blocks = shapes[end]
            # Diagonal blocks (n, b, b); butterflies (factors, n, b, b).
            return Layer(None, blocks[-3] * blocks[-1] if len(blocks) > 2 else None)
    if "oft_R" in shapes:
        return Layer()
    if "on_input" in shapes and "weight" in shapes:
        weight = shapes["weight"]
        wide = max(weight, default=0) or None
        return Layer(wide, None) if weight[:1] == (1,) else Layer(None, wide)
    if "a2" in shapes and "b2" in shapes:
        return Layer(max(shapes["a2"], default=0) or None)
    return None


def _loha_outputs(shapes: Mapping[str, tuple[int, ...]], tucker: bool) -> int | None:
    return _at(shapes.get("hada_w1_a"), 1 if tucker else 0)


def _at(shape: tuple[int, ...] | None, place: int) -> int | None:
    return shape[place] if shape and len(shape) > place else None
