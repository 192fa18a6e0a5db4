"""Which family a file belongs to: by tensor names and shapes first, by metadata second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from .family import ANY, Family, TensorFact, TensorRule
from .safetensors_header import Header, read_scalar

Shapes = Mapping[str, tuple[int, ...]]

# Where a checkpoint keeps its denoiser; the empty one: the file is the denoiser alone.
_CHECKPOINT_ROOTS = ("model.diffusion_model.", "diffusion_model.", "")

_DOWN = (
    ".lora_down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora.down.weight",
    ".lora_linear_layer.down.weight",
    "_lora.down.weight",
)
_UP = (
    ".lora_up.weight",
    ".lora_B.weight",
    ".lora_B.default.weight",
    ".lora.up.weight",
    ".lora_linear_layer.up.weight",
    "_lora.up.weight",
)
_PARTS = (
    *((suffix, ".lora_down.weight") for suffix in _DOWN),
    *((suffix, ".lora_up.weight") for suffix in _UP),
    (".alpha", ".alpha"),
)
_KOHYA_ROOTS = (
    ("unet.", "lora_unet_"),
    ("diffusion_model.", "lora_unet_"),
    ("transformer.", "lora_transformer_"),
    ("transformer_blocks.", "lora_transformer_transformer_blocks_"),
    ("single_transformer_blocks.", "lora_transformer_single_transformer_blocks_"),
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder_3.", "lora_te3_"),
)


@dataclass(frozen=True)
class LoraModules:
    """What a LoRA changes. `names`: kohya's module names, such as
    `lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k`.

    `rank`: the commonest; None if there are no modules. `alpha`: the commonest, None if the file
    gives none, which means alpha = rank.
    """

    names: frozenset[str]
    rank: int | None
    alpha: float | None


def checkpoint_family(header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family of a checkpoint, or of a denoiser alone; None if no family fits."""
    for root in _CHECKPOINT_ROOTS:
        shapes = {
            name[len(root) :]: tensor.shape
            for name, tensor in header.tensors.items()
            if name.startswith(root)
        }
        for family in families.values():
            if _fits_any(family.checkpoint.rules, shapes):
                return family
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    for family in families.values():
        if architecture in family.checkpoint.architectures:
            return family
    return None


def lora_family(header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family that a LoRA was trained on; None if no family fits."""
    shapes = {name: header.tensors[source].shape for name, source in lora_tensors(header).items()}
    by_tensors = [f for f in families.values() if _fits_any(f.lora.rules, shapes)]
    if not by_tensors:
        return _named_by_metadata(header, families.values())
    fits = by_tensors[0]
    if _lora_metadata(header) & set(fits.lora.strangers):
        return None
    twins = [f for f in families.values() if f.lora.twin_of == fits.id]
    return _named_by_metadata(header, twins) or fits


def lora_tensors(header: Header) -> dict[str, str]:
    """Tensor names in kohya's form -> names in the file.

    Kohya's form is `<module>.lora_down.weight`, `.lora_up.weight` and `.alpha`, where a module is
    `lora_unet_...`, `lora_te_...` (`te1`, `te2` if there are several) or, for diffusers' names of
    transformers, `lora_transformer_...` (as OneTrainer writes and ComfyUI reads them).
    """
    several = any(
        name.startswith(("text_encoder_2.", "text_encoder_3.")) for name in header.tensors
    )
    first_text_encoder = "lora_te1_" if several else "lora_te_"
    found: dict[str, str] = {}
    for name in header.tensors:
        for suffix, part in _PARTS:
            if name.endswith(suffix):
                module = _kohya_module(name[: -len(suffix)], first_text_encoder)
                found[module + part] = name
                break
    return found


def lora_modules(header: Header) -> LoraModules:
    """The modules, rank and alpha of a LoRA; reads one alpha from the file, no other weight."""
    names = lora_tensors(header)
    downs = {
        name.removesuffix(".lora_down.weight"): header.tensors[source].shape
        for name, source in names.items()
        if name.endswith(".lora_down.weight")
    }
    ranks = Counter(shape[0] for shape in downs.values() if shape)
    rank = ranks.most_common(1)[0][0] if ranks else None
    return LoraModules(frozenset(downs), rank, _alpha(header, names))


def _alpha(header: Header, names: Mapping[str, str]) -> float | None:
    for name, source in names.items():
        if name.endswith(".alpha"):
            return read_scalar(header, source)
    try:
        return float(header.metadata["ss_network_alpha"])
    except (KeyError, ValueError):
        return None


def _kohya_module(name: str, first_text_encoder: str) -> str:
    name = name.removeprefix("base_model.model.")
    if name.startswith(("lora_", "lycoris_")):
        return name
    # The attention processors of old diffusers: "attn1.processor.to_out" is "attn1.to_out.0".
    if ".processor." in name:
        name = name.replace(".processor.", ".")
        name = name + ".0" if name.endswith(".to_out") else name
    for root, replacement in (*_KOHYA_ROOTS, ("text_encoder.", first_text_encoder)):
        if name.startswith(root):
            return replacement + name[len(root) :].replace(".", "_")
    return "lora_unet_" + name.replace(".", "_")


def _lora_metadata(header: Header) -> set[str]:
    architecture = header.metadata.get("modelspec.architecture", "").lower().partition("/")[0]
    return {architecture, header.metadata.get("ss_base_model_version", "").lower()} - {""}


def _named_by_metadata(header: Header, families: Iterable[Family]) -> Family | None:
    said = _lora_metadata(header)
    for family in families:
        if said & {*family.lora.architectures, *family.lora.base_versions}:
            return family
    return None


def _fits_any(rules: Iterable[TensorRule], shapes: Shapes) -> bool:
    return any(_fits(rule, shapes) for rule in rules)


def _fits(rule: TensorRule, shapes: Shapes) -> bool:
    return all(_holds(fact, shapes) for fact in rule.present) and not any(
        True for pattern in rule.absent for _ in _named(pattern, shapes)
    )


def _holds(fact: TensorFact, shapes: Shapes) -> bool:
    return any(_shape_fits(fact.shape, shapes[name]) for name in _named(fact.name, shapes))


def _shape_fits(pattern: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    if len(pattern) != len(shape):
        return False
    return all(wanted in (ANY, length) for wanted, length in zip(pattern, shape, strict=True))


def _named(pattern: str, shapes: Shapes) -> Iterable[str]:
    if not any(letter in pattern for letter in "*?["):
        return (pattern,) if pattern in shapes else ()
    matches = _compiled(pattern)
    return (name for name in shapes if matches.match(name))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
