"""Which family a file belongs to: by tensor names and shapes first, by metadata second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from .family import ANY, Family, TensorFact, TensorRule, Variant
from .safetensors_header import Header, read_scalar, readable

Shapes = Mapping[str, tuple[int, ...]]

DENOISER = ("lora_unet_", "lora_transformer_")
"""What the module names of a LoRA for the denoiser begin with."""

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
_PART_ENDS = tuple(suffix for suffix, _ in _PARTS)
_KOHYA = ("lora_", "lycoris_")
_KOHYA_ENDS = (".lora_down.weight", ".lora_up.weight", ".alpha")
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


@dataclass(frozen=True)
class Verdict:
    """What a LoRA's tensors say. `family`: proven by them; `refuted`: ids that they rule out."""

    family: str | None
    refuted: frozenset[str] = frozenset()


UNKNOWN = Verdict(None)
"""Tensors that say nothing."""


def checkpoint_family(header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family of a checkpoint, or of a denoiser alone; None if no family fits."""
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    proven = checkpoint_by_tensors(shapes, families)
    if proven is not None:
        return _checkpoint_twin(header, families, proven) or proven
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    for family in families.values():
        if architecture in family.checkpoint.architectures:
            return family
    return None


def checkpoint_by_tensors(shapes: Shapes, families: Mapping[str, Family]) -> Family | None:
    """The family that a checkpoint's tensors prove; of twins the first one."""
    for root in _CHECKPOINT_ROOTS:
        tensors = _Tensors(
            {name[len(root) :]: shape for name, shape in shapes.items() if name.startswith(root)}
        )
        for family in families.values():
            if tensors.fit_any(family.checkpoint.rules):
                return family
    return None


def lora_family(header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family that a LoRA was trained on; None if no family fits."""
    return decide(judge(module_shapes(header), families), header, families)


def judge(shapes: Shapes, families: Mapping[str, Family]) -> Verdict:
    """What a LoRA's shapes (see `module_shapes`) prove and refute, whatever its metadata say."""
    tensors = _Tensors(shapes)
    for family in families.values():
        if tensors.fit_any(family.lora.rules):
            return Verdict(family.id)
    # A twin's tensors are those of the other one.
    alike = {f.id: families.get(f.lora.twin_of or "", f) for f in families.values()}
    refuted = {id_ for id_, family in alike.items() if _refutes(tensors, family)}
    return Verdict(None, frozenset(refuted))


def decide(verdict: Verdict, header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family, now that the metadata and the file's name are heard as well."""
    said = _lora_metadata(header)
    if verdict.family is None:
        plausible = [f for f in families.values() if f.id not in verdict.refuted]
        return _named_by_metadata(said, plausible)
    proven = families[verdict.family]
    if said & set(proven.lora.strangers):
        return None
    twins = [f for f in families.values() if f.lora.twin_of == proven.id]
    return _named_by_metadata(said, twins) or _named_by_files(header, twins) or proven


def variant_of(header: Header, family: Family, more: Iterable[str] = ()) -> Variant | None:
    """The family's variant that metadata or the file's name tell; `more`: further base models.

    In this order: what the file was trained on, what others say of it, its own name, tags of its
    data set.
    """
    if not family.variants:
        return None
    for said in (header.metadata.get("ss_sd_model_name", ""), *more, _stem(header)):
        found = variant_named(said, family.variants)
        if found is not None:
            return found
    tags = header.metadata.get("ss_tag_frequency", "")
    for variant in family.variants:
        if any(f'"{tag}"' in tags for tag in variant.telling_tags):
            return variant
    return None


def module_shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """Tensor names in kohya's form -> shapes, also of LoHa, LoKr and full differences.

    For these a `lora_down.weight` of the same input width stands; LyCORIS, lycoris/modules.
    """
    found = {name: header.tensors[source].shape for name, source in lora_tensors(header).items()}
    for name, tensor in header.tensors.items():
        if name in found:
            continue
        module, _, part = name.rpartition(".")
        if part == "hada_w1_b" and len(tensor.shape) == 2:
            width = tensor.shape[1]
        elif part in ("lokr_w1", "lokr_w1_b"):
            width = tensor.shape[-1] * _lokr_second(header, module) if tensor.shape else 0
        elif part == "diff" and len(tensor.shape) > 1:
            width = tensor.shape[1]
        else:
            continue
        down = f"{_kohya_module(module, 'lora_te_')}.lora_down.weight"
        found.setdefault(down, (tensor.shape[0], width))
    return found


def _lokr_second(header: Header, module: str) -> int:
    """Input width of a LoKr module's second factor; the product of both is the layer's."""
    for part in ("lokr_w2", "lokr_w2_b"):
        tensor = header.tensors.get(f"{module}.{part}")
        if tensor is not None and len(tensor.shape) > 1:
            return tensor.shape[1]
    return 0


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
        if name.startswith(_KOHYA) and name.endswith(_KOHYA_ENDS):
            found[name] = name
            continue
        if not name.endswith(_PART_ENDS):
            continue
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
    if name.startswith(_KOHYA):
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


def _named_by_metadata(said: set[str], families: Iterable[Family]) -> Family | None:
    for family in families:
        if said & {*family.lora.architectures, *family.lora.base_versions}:
            return family
    return None


def _named_by_files(header: Header, families: Sequence[Family]) -> Family | None:
    """The family whose name is part of the trained model's name or of the file's own."""
    for said in (header.metadata.get("ss_sd_model_name", ""), _stem(header)):
        text = letters(said)
        for family in families:
            if any(part in text for part in family.comfyui.names):
                return family
    return None


def _checkpoint_twin(
    header: Header, families: Mapping[str, Family], proven: Family
) -> Family | None:
    twins = [f for f in families.values() if f.checkpoint.twin_of == proven.id]
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    for twin in twins:
        if architecture in twin.checkpoint.architectures:
            return twin
    return _named_by_files(header, twins)


def variant_named(said: str, variants: Sequence[Variant]) -> Variant | None:
    """By the longest part of a name that fits, else by a whole word."""
    text = letters(said)
    found = [(len(part), v) for v in variants for part in v.names if part in text]
    if found:
        return max(found, key=lambda pair: pair[0])[1]
    words = set(re.split(r"[^a-z0-9]+", said.casefold()))
    return next((v for v in variants if words & set(v.words)), None)


def letters(text: str) -> str:
    """The text in lower case with nothing but letters and digits: how names are compared."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def _stem(header: Header) -> str:
    return readable(header.path.stem)


def _refutes(tensors: _Tensors, family: Family) -> bool:
    """Whether the LoRA changes a denoiser, and it is not this family's."""
    facts = family.lora
    if not any(name.startswith(DENOISER) for name in tensors.shapes):
        return False
    if facts.modules and not any(tensors.any_named(pattern) for pattern in facts.modules):
        return True
    known = [*facts.shapes, *(fact for rule in facts.rules for fact in rule.present)]
    return any(tensors.any_named(f.name) and not tensors.holds(f) for f in known)


class _Tensors:
    """Names and shapes, with a quick search: the patterns look through all names at once."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._text = "\n".join(shapes)

    def fit_any(self, rules: Iterable[TensorRule]) -> bool:
        return any(self._fit(rule) for rule in rules)

    def holds(self, fact: TensorFact) -> bool:
        """Whether a tensor of that name has that shape."""
        return any(_shape_fits(fact.shape, self.shapes[name]) for name in self._named(fact.name))

    def any_named(self, pattern: str) -> bool:
        return any(True for _ in self._named(pattern))

    def _fit(self, rule: TensorRule) -> bool:
        return all(map(self.holds, rule.present)) and not any(map(self.any_named, rule.absent))

    def _named(self, pattern: str) -> Iterable[str]:
        head, tail, whole = _compiled(pattern)
        if whole is None:
            return (pattern,) if pattern in self.shapes else ()
        if head not in self._text or tail not in self._text:
            return ()
        return (
            name
            for name in self.shapes
            if name.endswith(tail) and name.startswith(head) and whole.fullmatch(name)
        )


def _shape_fits(pattern: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    if len(pattern) != len(shape):
        return False
    return all(wanted in (ANY, length) for wanted, length in zip(pattern, shape, strict=True))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> tuple[str, str, re.Pattern[str] | None]:
    """What fitting names begin and end with, and the whole pattern; None: it is a plain name."""
    literals = re.split(r"[*?]|\[[^\]]+\]", pattern)
    if len(literals) == 1:
        return pattern, pattern, None
    return literals[0], literals[-1], re.compile(translate(pattern))
