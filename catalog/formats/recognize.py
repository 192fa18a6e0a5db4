"""Which family a file belongs to: by tensor names and shapes first, by metadata second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from ..families.family import ANY, Family, TensorFact, TensorRule, Variant
from .lora_layers import fit, lora_model
from .lora_names import Layer, layers, lora_tensors, parts
from .safetensors_header import Header, read_scalar, readable

Shapes = Mapping[str, tuple[int, ...]]

# Where a checkpoint keeps its denoiser; the empty one: the file is the denoiser alone.
_CHECKPOINT_ROOTS = ("model.diffusion_model.", "diffusion_model.", "model.", "")


_BLOCKS = re.compile(
    r"(?:model\.)?(?:diffusion_model\.)?(?:(?:input|output|down|up|joint|double|single)_blocks"
    r"|(?:single_|joint_)?transformer_blocks|blocks|layers|(?:double|single)_layers)\.\d"
)
"""How the names of a denoiser's blocks begin."""


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
    """What a LoRA's tensors say. `family`: proven by them; `refuted`: ids that they rule out.

    `other`: the model that it was made for, in plain words, where it is none of Kizy's families.
    `doubts`: ids of other models (see `lora_layers`) that would fit as well.
    """

    family: str | None
    refuted: frozenset[str] = frozenset()
    other: str | None = None
    doubts: frozenset[str] = frozenset()


UNKNOWN = Verdict(None)
"""Tensors that say nothing."""


def checkpoint_family(header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family of a checkpoint, or of a denoiser alone; None if no family fits."""
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    proven = checkpoint_by_tensors(shapes, families)
    if proven is not None:
        return checkpoint_twin(header, families, proven) or proven
    if shows_denoiser(shapes):
        # The denoiser is there to see, and it is none of Kizy's: metadata that say so lie.
        return None
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


def shows_denoiser(names: Iterable[str]) -> bool:
    """Whether the blocks of a denoiser are among a checkpoint's tensors."""
    return any(_BLOCKS.match(name) for name in names)


def is_nunchaku(names: Collection[str]) -> bool:
    """Whether these are tensors of a model that was quantised for Nunchaku (SVDQuant)."""
    ends = {name.rpartition(".")[2] for name in names}
    return {"qweight", "wscales"} <= ends


def other_checkpoint(shapes: Shapes, families: Mapping[str, Family]) -> str | None:
    """The model that a checkpoint of none of Kizy's families is, in plain words."""
    for root in _CHECKPOINT_ROOTS:
        found = {
            f"lora_unet_{name[len(root) : -7].replace('.', '_')}": Layer(shape[1], shape[0])
            for name, shape in shapes.items()
            if name.startswith(root) and name.endswith(".weight") and len(shape) > 1
        }
        model = fit(found).model
        if model is not None:
            # Blocks of a family, but something else goes in: inpainting, pix2pix.
            changed = "changed for another use, such as inpainting"
            return model.name or f"{families[model.id].name} {changed}"
    return None


def lora_family(header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family that a LoRA was trained on; None if no family fits."""
    changed = layers(parts(header), header.tensors)
    return decide(judge(changed, families), header, families)


def judge(changed: Mapping[str, Layer], families: Mapping[str, Family]) -> Verdict:
    """What the layers that a LoRA changes (see `lora_names.layers`) prove and refute, whatever
    its metadata say.
    """
    found = fit(changed)
    if found.possible is None:
        return UNKNOWN
    # A twin's tensors are those of the other one.
    alike = {f.id: f.lora.twin_of or f.id for f in families.values()}
    refuted = frozenset(id_ for id_, same in alike.items() if same not in found.possible)
    doubts = found.possible - families.keys()
    if found.model is None:
        return Verdict(None, refuted, doubts=doubts)
    if found.model.id in families:
        return Verdict(found.model.id, refuted, doubts=doubts)
    return Verdict(None, refuted, found.model.name)


def decide(verdict: Verdict, header: Header, families: Mapping[str, Family]) -> Family | None:
    """The family, now that the metadata and the file's name are heard as well."""
    said = _lora_metadata(header)
    if made_for(verdict, said) is not None:
        return None
    if verdict.family is None:
        plausible = [f for f in families.values() if f.id not in verdict.refuted]
        return _named_by_metadata(said, plausible)
    proven = families[verdict.family]
    twins = [f for f in families.values() if f.lora.twin_of == proven.id]
    return _named_by_metadata(said, twins) or _named_by_files(header, twins) or proven


def made_for(verdict: Verdict, said: Iterable[str]) -> str | None:
    """The model that none of Kizy's families is, in plain words: proven, or one that would fit as
    well and that somebody names. `said`: words of the metadata, or of Civitai.
    """
    if verdict.other is not None:
        return verdict.other
    words = {letters(word) for word in said}
    for id_ in sorted(verdict.doubts):
        model = lora_model(id_)
        if model is not None and words & set(model.metadata):
            return model.name
    return None


def other_model(verdict: Verdict, header: Header) -> str | None:
    """As `made_for`, with the file's own metadata."""
    return made_for(verdict, _lora_metadata(header))


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


def checkpoint_twin(
    header: Header, families: Mapping[str, Family], proven: Family
) -> Family | None:
    """The family with the same tensors that metadata or the file's name tell."""
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
