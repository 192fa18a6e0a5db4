"""Which model a LoRA was made for, by the layers that it changes and their widths.

A LoRA may change few layers or all of them: a model fits if it has each of these layers, as wide
as the LoRA has it. The models and their layers stand in `families/_layers.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

from pydantic import Field

from ...core.request import Frozen
from ..families.family import FAMILIES_FOLDER
from .lora_names import DENOISER, TEXT_ENCODERS, Layer
from .unet_layers import Entry, UnetFacts, unet_layers

LAYERS_FILE = FAMILIES_FOLDER / "_layers.toml"

STRANGE = 0.08
"""Part of a LoRA's layers that may be none that the tables know (embedders, last layers)."""

WRONG = 0.5
"""A model is out if more than this part of a LoRA's layers put out another width than its own."""
FEW = 4
"""With fewer layers than this, other widths put out do not count against a model."""

_NUMBER = re.compile(r"\d+")
_CLIPS = {768: "clip-l", 1024: "clip-h", 1280: "clip-g"}


class MmditFacts(Frozen):
    """SD 3's transformer. `dual`: blocks from the first one that have a second attention."""

    width: int
    blocks: int
    dual: int = 0


class FluxFacts(Frozen):
    """FLUX's transformer. `modulation`: each block has its own. `fc`: musubi-tuner's names, too.

    `mlp_in`, `mlp_out`: widths within the MLP, in widths of the model.
    """

    width: int
    double: int
    single: int
    modulation: bool = True
    fc: bool = False
    mlp_in: int = 4
    mlp_out: int = 4


class LayerGroup(Frozen):
    """Layers of the same widths (in, out) that each of `blocks` blocks has; "#" is its number."""

    blocks: int = Field(ge=1)
    widths: tuple[int, int]
    names: tuple[str, ...]


class Telling(Frozen):
    """A layer that only one model has. `name` may hold `*`; no width fits any."""

    name: str
    inputs: int | None = None
    outputs: int | None = None


class LoraModel(Frozen):
    """A model that LoRAs are made for. `id`: its family's, or `name` if Kizy does not draw it.

    `text_encoders`: kinds that it has; None: not told. `telling`: of a family they are asked last.
    `metadata`: what trainers and Civitai call it, letters and digits only. `usual_before`: models
    over which it is taken where nothing else tells.
    """

    id: str
    name: str | None = None
    text_encoders: tuple[str, ...] | None = None
    metadata: tuple[str, ...] = ()
    usual_before: tuple[str, ...] = ()
    telling: tuple[Telling, ...] = ()
    unet: UnetFacts | None = None
    mmdit: MmditFacts | None = None
    flux: FluxFacts | None = None
    layers: tuple[LayerGroup, ...] = ()


@dataclass(frozen=True)
class Fit:
    """`model`: the one that fits, None if none or several do. `possible`: ids of those that fit.

    `possible` None: what the LoRA changes says nothing.
    """

    model: LoraModel | None
    possible: frozenset[str] | None = frozenset()


@dataclass
class _Score:
    hits: int = 0
    wrong: int = 0
    out: bool = False
    blocks: dict[str, set[int]] = field(default_factory=dict)


def fit(changed: Mapping[str, Layer]) -> Fit:
    """The model that has these layers. `changed`: module in kohya's form -> its layer."""
    tables = _tables()
    denoiser = {_bare(name): layer for name, layer in changed.items() if name.startswith(DENOISER)}
    kinds = _text_encoders(changed)
    if not denoiser:
        possible = [m for m in tables.models if _has(m, kinds, sure=True)]
        return _chosen(possible, {}) if kinds else Fit(None, None)
    stranger = _told(denoiser, (m for m in tables.models if m.name is not None))
    if stranger is not None:
        return Fit(stranger, frozenset((stranger.id,)))
    scores = tables.scores(denoiser)
    possible = [m for at, m in enumerate(tables.models) if _fits(scores[at], len(denoiser))]
    possible = [m for m in possible if _has(m, kinds)] or possible
    if possible:
        return _chosen(possible, {m.id: scores[at] for at, m in enumerate(tables.models)})
    own = _told(denoiser, (m for m in tables.models if m.name is None))
    return Fit(own, frozenset((own.id,)) if own is not None else frozenset())


def lora_model(id_: str) -> LoraModel | None:
    """The model of that id."""
    return next((model for model in _tables().models if model.id == id_), None)


def layer_names(id_: str) -> frozenset[str]:
    """Names of the layers of that model's denoiser, in all namings, with underscores."""
    model = lora_model(id_)
    return frozenset(entry.name for entry in _entries(model)) if model is not None else frozenset()


def _chosen(possible: Sequence[LoraModel], scores: Mapping[str, _Score]) -> Fit:
    ids = frozenset(model.id for model in possible)
    if len(possible) > 1 and scores:
        least = min(scores[m.id].wrong for m in possible)
        possible = [m for m in possible if scores[m.id].wrong == least]
        # A LoRA for all blocks of one model changes too few or too many for the others.
        whole = [m for m in possible if _is_whole(m, scores[m.id])]
        possible = whole or possible
        ids = frozenset(model.id for model in possible)
    if len(possible) == 1:
        return Fit(possible[0], ids)
    usual = [m for m in possible if ids <= {m.id, *m.usual_before}]
    return Fit(usual[0] if usual else None, ids)


def _fits(score: _Score, layers: int) -> bool:
    if score.out or not score.hits or layers - score.hits > max(1, STRANGE * layers):
        return False
    return score.hits < FEW or score.wrong <= WRONG * score.hits


def _is_whole(model: LoraModel, score: _Score) -> bool:
    blocks = _tables().blocks[model.id]
    touched = [(group, numbers) for group, numbers in score.blocks.items() if group in blocks]
    return bool(touched) and all(len(numbers) == blocks[group] for group, numbers in touched)


def _has(model: LoraModel, kinds: set[str], *, sure: bool = False) -> bool:
    if model.text_encoders is None:
        return not sure
    return kinds <= set(model.text_encoders)


def _text_encoders(changed: Mapping[str, Layer]) -> set[str]:
    """The kinds of text encoders that are changed, as far as names and widths show them."""
    found = set()
    for name, (inputs, _, _) in changed.items():
        if not name.startswith(TEXT_ENCODERS):
            continue
        if "_encoder_block_" in name:
            found.add("t5")
        elif "_text_model_encoder_layers_" in name and inputs is not None:
            found.add(_CLIPS.get(inputs // 4 if name.endswith("_fc2") else inputs, "other"))
    return found


def _told(layers: Mapping[str, Layer], models: Iterable[LoraModel]) -> LoraModel | None:
    text = "\n".join(layers)
    for model in models:
        for fact in model.telling:
            head, literals, whole = _compiled(fact.name)
            if not all(literal in text for literal in literals):
                continue
            for name, layer in layers.items():
                if name.startswith(head) and _agrees(fact, layer) and whole.match(name):
                    return model
    return None


def _agrees(fact: Telling, layer: Layer) -> bool:
    return (fact.inputs is None or fact.inputs == layer.inputs) and (
        fact.outputs is None or fact.outputs == layer.outputs
    )


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> tuple[str, tuple[str, ...], re.Pattern[str]]:
    """What fitting names begin with, what all they hold, and the whole pattern."""
    literals = re.split(r"[*?]|\[[^\]]+\]", pattern)
    return literals[0], tuple(literals), re.compile(translate(pattern))


def _bare(name: str) -> str:
    for root in DENOISER:
        if name.startswith(root):
            return name[len(root) :]
    return name


class _Tables:
    """All models' layers at once: name -> which models have it, and how wide."""

    def __init__(self, models: Sequence[LoraModel]) -> None:
        self.models = tuple(models)
        self.blocks: dict[str, dict[str, int]] = {}
        known: dict[str, list[tuple[int, Entry]]] = {}
        shapes: dict[str, set[int]] = {}
        for at, model in enumerate(models):
            counted = self.blocks.setdefault(model.id, {})
            for entry in _entries(model):
                known.setdefault(entry.name, []).append((at, entry))
                shapes.setdefault(_NUMBER.sub("#", entry.name), set()).add(at)
                if entry.group:
                    counted[entry.group] = max(counted.get(entry.group, 0), entry.number + 1)
        self._known = {name: tuple(entries) for name, entries in known.items()}
        # The models that have such layers, but not one of this number.
        self._lacking = {
            name: tuple(shapes[_NUMBER.sub("#", name)] - {at for at, _ in entries})
            for name, entries in known.items()
        }
        self._shapes = {shape: tuple(having) for shape, having in shapes.items()}

    def scores(self, layers: Mapping[str, Layer]) -> list[_Score]:
        found = [_Score() for _ in self.models]
        for name, layer in layers.items():
            entries = self._known.get(name)
            if entries is None:
                lacking = self._shapes.get(_NUMBER.sub("#", name), ())
            else:
                lacking = self._lacking[name]
                for at, entry in entries:
                    if not found[at].out:
                        _count(found[at], entry, layer)
            for at in lacking:
                found[at].out = True
        return found


def _count(score: _Score, entry: Entry, layer: Layer) -> None:
    inputs, outputs, filters = layer
    wide = inputs in (None, entry.inputs) or (entry.kernel == 3 and inputs == 9 * entry.inputs)
    if not wide or (filters and not entry.kernel):
        score.out = True
        return
    score.hits += 1
    score.wrong += outputs not in (None, entry.outputs)
    if entry.group:
        score.blocks.setdefault(entry.group, set()).add(entry.number)


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    values = tomllib.loads(LAYERS_FILE.read_text(encoding="utf-8"))
    return _Tables([LoraModel.model_validate(model) for model in values["models"]])


def _entries(model: LoraModel) -> Iterator[Entry]:
    if model.unet is not None:
        yield from unet_layers(model.unet)
    if model.mmdit is not None:
        yield from _mmdit(model.mmdit)
    if model.flux is not None:
        for blocks, layers in _flux(model.flux):
            for name, widths in layers.items():
                yield from _rows(name, blocks, widths)
    for group in model.layers:
        for name in group.names:
            yield from _rows(name, group.blocks, group.widths)


def _rows(name: str, blocks: int, widths: tuple[int, int]) -> Iterator[Entry]:
    for i in range(blocks):
        yield Entry(name.replace("#", str(i)), *widths, 0, name.partition("#")[0], i)


def _mmdit(facts: MmditFacts) -> Iterator[Entry]:
    w = facts.width
    for i in range(facts.blocks):
        dual, last = i < facts.dual, i == facts.blocks - 1
        parts = {"x": (9 if dual else 6) * w, "context": (2 if last else 6) * w}
        for part, modulation in parts.items():
            block = f"joint_blocks_{i}_{part}_block"
            found = {"adaLN_modulation_1": (w, modulation), "attn_qkv": (w, 3 * w)}
            found |= {"attn_proj": (w, w), "mlp_fc1": (w, 4 * w), "mlp_fc2": (4 * w, w)}
            if part == "x" and dual:
                found |= {"attn2_qkv": (w, 3 * w), "attn2_proj": (w, w)}
            for name, (inputs, outputs) in found.items():
                yield Entry(f"{block}_{name}", inputs, outputs, 0, "joint_blocks_", i)
        block = f"transformer_blocks_{i}"
        found = {f"attn_{name}": (w, w) for name in _ATTENTION}
        for part in ("ff", "ff_context"):
            found |= {f"{part}_net_0_proj": (w, 4 * w), f"{part}_net_2": (4 * w, w)}
        found |= {"norm1_linear": (w, parts["x"]), "norm1_context_linear": (w, parts["context"])}
        if dual:
            found |= {f"attn2_{name}": (w, w) for name in ("to_q", "to_k", "to_v", "to_out_0")}
        for name, (inputs, outputs) in found.items():
            yield Entry(f"{block}_{name}", inputs, outputs, 0, "transformer_blocks_", i)


_ATTENTION = (
    *("to_q", "to_k", "to_v", "to_out_0"),
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
)


def _flux(facts: FluxFacts) -> list[tuple[int, dict[str, tuple[int, int]]]]:
    """(blocks, name with "#" -> widths) of the double and single blocks, in both namings."""
    w, wide_in, wide_out = facts.width, facts.mlp_in * facts.width, facts.mlp_out * facts.width
    double: dict[str, tuple[int, int]] = {}
    single: dict[str, tuple[int, int]] = {}
    for mlp, modulation in (("0 2", "lin"), *((("fc1 fc2", "linear"),) if facts.fc else ())):
        first, second = mlp.split()
        for part in ("img", "txt"):
            block = f"double_blocks_#_{part}"
            double |= {f"{block}_attn_qkv": (w, 3 * w), f"{block}_attn_proj": (w, w)}
            double |= {f"{block}_mlp_{first}": (w, wide_in), f"{block}_mlp_{second}": (wide_out, w)}
            if facts.modulation:
                double[f"{block}_mod_{modulation}"] = (w, 6 * w)
        single["single_blocks_#_linear1"] = (w, 3 * w + wide_in)
        single["single_blocks_#_linear2"] = (w + wide_out, w)
        if facts.modulation:
            single[f"single_blocks_#_modulation_{modulation}"] = (w, 3 * w)
    theirs = {f"transformer_blocks_#_attn_{name}": (w, w) for name in _ATTENTION}
    lone: dict[str, tuple[int, int]] = {}
    if facts.mlp_in == facts.mlp_out:
        for part in ("ff", "ff_context"):
            theirs[f"transformer_blocks_#_{part}_net_0_proj"] = (w, wide_in)
            theirs[f"transformer_blocks_#_{part}_net_2"] = (wide_out, w)
        block = "single_transformer_blocks_#"
        lone = {f"{block}_attn_{name}": (w, w) for name in ("to_q", "to_k", "to_v")}
        lone |= {f"{block}_proj_mlp": (w, wide_in), f"{block}_proj_out": (w + wide_out, w)}
        if facts.modulation:
            theirs |= {
                f"transformer_blocks_#_{n}_linear": (w, 6 * w) for n in ("norm1", "norm1_context")
            }
            lone[f"{block}_norm_linear"] = (w, 3 * w)
    double |= theirs
    single |= lone
    return [(facts.double, double), (facts.single, single)]
