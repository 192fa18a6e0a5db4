"""How much of a LoRA ComfyUI's LoraLoader reads, and the names under which it reads all of it.

ComfyUI looks for names that it makes up from its own model and passes over all others: a LoRA in
PEFT's names changes nothing there, and only its log tells. Which names it makes up: comfy/lora.py
(model_lora_keys_unet, model_lora_keys_clip), comfy/utils.py (unet_to_diffusers, mmdit_to_diffusers,
flux_to_diffusers), comfy/weight_adapter; what 0.3.64 and 0.33.0 have in common counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from .families.family import load_families
from .formats.lora_layers import layer_names, lora_model
from .formats.lora_names import ALPHA, DOWN, UP, parts, split_name
from .formats.safetensors_header import Header, TensorInfo

MAGNITUDE, DORA = "lora_magnitude_vector", "dora_scale"

ENOUGH = 0.9
"""A LoRA of which less than this share is drawn with is told of."""

_ENDS = frozenset(
    (
        *(".lora_down.weight", ".lora_up.weight", ".lora_mid.weight"),
        *("_lora.down.weight", "_lora.up.weight", ".lora.down.weight", ".lora.up.weight"),
        *(".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.default.weight"),
        *(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        *(".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight", ".alpha", ".dora_scale"),
        *(".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1", ".hada_t2"),
        *(".lokr_w1", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"),
        *(".lokr_t2", ".oft_blocks", ".diff"),
    )
)
"""What follows a layer's name in ComfyUI's forms of LoRAs."""
_UNREAD = frozenset(("oft_diag", "oft_R", "on_input", "weight"))
"""Ends of forms that ComfyUI has no formula for."""

_OURS = re.compile(
    r"(?:down_blocks|up_blocks|mid_block|time_embedding|add_embedding|conv_in$|conv_out$"
    r"|transformer_blocks|single_transformer_blocks|x_embedder$|context_embedder$|pos_embed"
    r"|time_text_embed|norm_out|proj_out$)"
)
"""Names of diffusers' layers; all others are those of the first code."""
_UNET_ENDS = ("conv_in", "conv_out", "input_blocks_0_0", "out_2")
_FLUX_ENDS = (
    *("x_embedder", "context_embedder", "norm_out_linear", "proj_out", "img_in", "txt_in"),
    *(f"time_text_embed_{x}_embedder_linear_{i}" for x in ("timestep", "text", "guidance")
      for i in (1, 2)),
    *(f"{x}_in_{y}_layer" for x in ("time", "vector", "guidance") for y in ("in", "out")),
    *("final_layer_linear", "final_layer_adaLN_modulation_1"),
)  # fmt: skip
_MMDIT_ENDS = (
    *("pos_embed_proj", "context_embedder", "norm_out_linear", "proj_out", "x_embedder_proj"),
    *(f"time_text_embed_{x}_embedder_linear_{i}" for x in ("timestep", "text") for i in (1, 2)),
    *(f"{x}_embedder_mlp_{i}" for x in ("t", "y") for i in (0, 2)),
    *("final_layer_linear", "final_layer_adaLN_modulation_1"),
)
_CLIP = re.compile(
    r"text_model_encoder_layers_\d+_(?:self_attn_(?:q|k|v|out)_proj|mlp_fc[12])|text_projection"
)
_T5 = re.compile(r"encoder_block_\d+_layer_\d+_\w+")
_TEXT = re.compile(r"(lora_te\d?)_(.+)", re.DOTALL)
_RAW_CLIP = re.compile(
    r"text_encoder(_2)?\.text_model\.encoder\.layers\.\d+\."
    r"(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])"
)
_PROCESSED = re.compile(r"\.processor\.to_(?:q|k|v|out)\Z")
_ATTENTION = re.compile(r"\.to_(?:q|k|v|out)(?:\.0)?\Z")


@dataclass(frozen=True)
class ComfyForm:
    """A LoRA file as ComfyUI sees it. `layers`: how many it changes; `read`: of these, how many
    ComfyUI reads as the file stands; `readable`: how many under `names`.

    `names`: tensor in the file -> its name in the readable form; every tensor has one.
    """

    layers: int
    read: int
    readable: int
    names: Mapping[str, str]

    @property
    def converts(self) -> bool:
        """Whether other names would let it read more."""
        return self.readable > self.read

    @property
    def share(self) -> float:
        """How much of the LoRA is drawn with, under the better of both names."""
        return max(self.read, self.readable) / self.layers if self.layers else 0.0


def comfy_form(header: Header, family: str | None) -> ComfyForm | None:
    """How ComfyUI reads a LoRA of that family; None for a family that Kizy does not draw."""
    if family is None or _kind(family) is None:
        return None
    model = _model_id(family)
    names = {name: name for name in header.tensors}
    changed: dict[str, str] = {}
    layers = read = readable = 0
    for module, tensors in groupby(sorted(parts(header)), key=lambda part: part[0]):
        found = [(end, name) for _, end, name in tensors]
        layers += 1
        if any(end in _UNREAD for end, _ in found):
            continue
        raw = _raw(found)
        target = _target(module, model)
        if target is None:
            continue
        read += _reads(raw, target, found, model)
        readable += 1
        for end, name in found:
            names[name] = target + _end(end, name)
            changed.setdefault(name[: len(raw[0])] if len(raw) == 1 else "", target)
    changed.pop("", None)
    for name in header.tensors:
        # What belongs to a layer and is no part of the product, such as `.diff_b`.
        module = name.rpartition(".")[0]
        if names[name] == name and module in changed:
            names[name] = changed[module] + name[len(module) :]
    if len(set(names.values())) < len(names):
        # Two layers in two namings would become one.
        return ComfyForm(layers, read, read, {name: name for name in header.tensors})
    return ComfyForm(layers, read, readable, names)


def shape_there(name: str, tensors: Mapping[str, TensorInfo]) -> tuple[int, ...]:
    """The shape of a tensor in the readable form.

    PEFT's magnitudes of a DoRA, one number for each output, get the dimensions of the weight
    (comfy/weight_adapter/base.py, weight_decompose).
    """
    shape, split = tensors[name].shape, split_name(name)
    if split is None or split[1] != MAGNITUDE:
        return shape
    downs = (f"{split[0]}.lora_A{a}.weight" for a in ("", ".default"))
    down = next((tensors[one].shape for one in downs if one in tensors), ())
    return (max(shape, default=1), *(1,) * max(1, len(down) - 1))


def _raw(found: list[tuple[str, str]]) -> list[str]:
    """The names that the file has for one layer: more than one if it mixes namings."""
    raw = (split_name(name) for _, name in found)
    return list(dict.fromkeys(one[0] for one in raw if one is not None))


def _kind(family: str | None) -> str | None:
    model = lora_model(_model_id(family)) if family else None
    if model is None or model.name is not None:
        return None
    return next((kind for kind in ("unet", "mmdit", "flux") if getattr(model, kind)), None)


@lru_cache(maxsize=32)
def _encoders(model: str) -> tuple[frozenset[str], frozenset[str]]:
    """Numbers in kohya's names of its CLIPs and of its T5; "" is the first one."""
    found = lora_model(model)
    kinds = set(found.text_encoders or ()) if found is not None else set()
    clips = {"", "1"} if kinds & {"clip-l", "clip-h"} else set()
    clips |= {"2"} if "clip-g" in kinds else set()
    t5 = {"3"} | ({"2"} - clips) if "t5" in kinds else set()
    return frozenset(clips), frozenset(t5)


def _model_id(family: str) -> str:
    known = load_families().get(family)
    return (known.lora.twin_of if known is not None else None) or family


@lru_cache(maxsize=32)
def _known(model: str) -> frozenset[str]:
    """All layers of the denoiser, in both namings."""
    ends = {"unet": _UNET_ENDS, "mmdit": _MMDIT_ENDS, "flux": _FLUX_ENDS}
    return layer_names(model) | frozenset(ends.get(_kind(model) or "", ()))


def _target(module: str, model: str) -> str | None:
    """The layer's name in the form that every ComfyUI reads; None if it has no such layer."""
    text = _TEXT.fullmatch(module)
    if text is not None:
        number, rest = text[1].removeprefix("lora_te"), text[2]
        clips, t5s = _encoders(model)
        clip = number in clips and _CLIP.fullmatch(rest) is not None
        return module if clip or (number in t5s and _T5.fullmatch(rest)) else None
    for prefix in ("lora_unet_", "lora_transformer_"):
        bare = module.removeprefix(prefix)
        if bare != module and bare in _known(model):
            theirs = _kind(model) != "unet" and _OURS.match(bare) is not None
            return ("lora_transformer_" if theirs else "lora_unet_") + bare
    return None


def _reads(raw: list[str], target: str, found: list[tuple[str, str]], model: str) -> bool:
    """Whether ComfyUI reads a layer as the file names it."""
    if len(raw) != 1 or any(name[len(raw[0]) :] not in _ENDS for _, name in found):
        return False
    name = raw[0]
    if name == target:
        return True
    if target.startswith("lora_te"):
        return _RAW_CLIP.fullmatch(name) is not None or name.startswith("text_encoders.")
    bare = target.removeprefix("lora_unet_").removeprefix("lora_transformer_")
    ours = _OURS.match(bare) is not None
    if name.startswith("diffusion_model."):
        return not ours
    if name.startswith("lycoris_"):
        return ours
    kind = _kind(model)
    if kind == "unet":
        plain = ours and _OURS.match(name.removeprefix("unet.")) is not None
        return plain and (not _ATTENTION.search(name) or _PROCESSED.search(name) is not None)
    beginnings = ("transformer.", "base_model.model.") if kind == "mmdit" else ("transformer.",)
    return ours and name.startswith(beginnings) and ".base_model." not in name


def _end(end: str, name: str) -> str:
    if end in (DOWN, UP, ALPHA):
        return end
    if end == MAGNITUDE:
        return "." + DORA
    raw = split_name(name)
    return name[len(raw[0]) :] if raw is not None else "." + end
