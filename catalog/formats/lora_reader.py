"""What a LoRA file says about itself, from its header alone.

Many files of a library have the same tensors (one trainer, one rank), only other metadata. So the
tensors' part of a header is worked out once for each text of it: a `Layout`.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from ..families.family import load_families
from ..words.descriptions import one_line, text_of_html
from .lora_names import ALPHA, DOWN, TEXT_ENCODERS, layers, parts
from .own_metadata import KEY, Own, own_metadata
from .recognize import (
    UNKNOWN,
    Verdict,
    checkpoint_by_tensors,
    checkpoint_family,
    checkpoint_twin,
    decide,
    is_nunchaku,
    judge,
    other_checkpoint,
    other_model,
    shows_denoiser,
    variant_of,
)
from .safetensors_header import (
    Header,
    TensorInfo,
    header_start,
    parse_header,
    read_scalar,
    scalar_of,
)
from .training_metadata import sensible_weight, words_of

What = Literal[
    "lora", "model", "controlnet", "embedding", "vae", "text_encoder", "adapter", "other",
    "xlabs_lora", "nunchaku_lora", "nunchaku_model",
]  # fmt: skip
Form = Literal["lora", "dora", "loha", "lokr", "glora", "ia3", "oft", "full"]

MAX_ABOUT = 4000
MAX_TITLE = 200
MAX_LAYOUTS = 2000

_FIRST_LOOK = 1 << 15
"""Bytes in which the metadata mostly end; the tensors of a large LoRA take ten times as much."""

_NAME = b'"__metadata__"'
_COLON = re.compile(rb"\s*:\s*")
_DECODER = json.JSONDecoder()

# Ends of names (see `lora_names.parts`) -> the form, the first one that is there counts.
_FORMS: Mapping[str, Form] = {
    "dora_scale": "dora",
    "lora_magnitude_vector": "dora",
    DOWN: "lora",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "hada_w1_a": "loha",
    "b2": "glora",
    "oft_blocks": "oft",
    "oft_diag": "oft",
    "oft_R": "oft",
    "on_input": "ia3",
    "diff": "full",
}
# The ends whose first width is the rank; source: LyCORIS, lycoris/modules.
_RANKS = (DOWN, "hada_w1_b", "lokr_w2_b", "b2")
# Beginnings of names; ComfyUI: comfy/controlnet.py, comfy/sd.py and comfy/model_detection.py.
_OTHERS: tuple[tuple[What, tuple[str, ...]], ...] = (
    (
        "controlnet",
        (
            *("control_model.", "controlnet_", "input_hint_block.", "zero_convs."),
            *("lora_controlnet", "lllite_"),
        ),
    ),
    ("adapter", ("ip_adapter.", "image_proj.", "adapter.body.", "motion_modules.")),
    ("model", ("model.diffusion_model.", "double_blocks.", "joint_blocks.", "input_blocks.")),
    ("vae", ("first_stage_model.", "decoder.conv_in.", "encoder.conv_in.", "taesd_")),
    ("text_encoder", ("text_model.", "encoder.block.", "cond_stage_model.", "model.layers.")),
    ("embedding", ("emb_params", "string_to_param", "clip_l", "clip_g")),
)
# XLabs' LoRAs for FLUX.1 (github.com/XLabs-AI/x-flux; diffusers, lora_conversion_utils.py).
_XLABS = re.compile(
    r"(?:.*\.)?(?:double|single)_blocks\.\d+\.processor\.(?:qkv|proj)_lora[12]?\.(?:down|up)\.weight"
)
# Nunchaku's 4-bit models, and LoRAs as it converts them (github.com/nunchaku-tech/nunchaku).
_NUNCHAKU_LORA = re.compile(r"(?:.*\.)?(?:single_)?transformer_blocks\.\d+\..+\.lora_(?:down|up)")
# What trainers call a LoRA that nobody gave a name.
_NAMELESS = ("lora", "last", "model", "output", "pytorch_lora_weights", "adapter_model", "untitled")


@dataclass(frozen=True)
class Layout:
    """What the tensors alone tell. `alpha`: where the first one lies, from the data's start on.

    `length`: bytes of all tensors. `model`: family whose checkpoint this is; `shown`: the tensors
    show its denoiser.
    """

    what: What
    length: int
    verdict: Verdict = UNKNOWN
    model: str | None = None
    shown: bool = False
    form: Form | None = None
    rank: int | None = None
    text_encoder: bool = False
    alpha: TensorInfo | None = None


@dataclass(frozen=True)
class Reading:
    """What a file is and says. Texts are plain, without control characters, and not to be trusted.

    `family`: id, None if unknown; `refuted`: ids that the tensors rule out. `made_for`: the model
    that it was made for, in plain words, if Kizy has no such family; `doubts`: ids of models that
    Kizy does not draw either, and that the tensors do not rule out. `alpha` None: the file
    gives none, which means alpha = rank. `text_encoder`: it changes text encoders, too. `title`
    None: nobody gave it one; `aliases`: further ones. `digest`: of the whole header. `weight`: what
    its author recommends (SwarmUI's field). `own`: what Kizy's trainer noted.
    """

    what: What
    family: str | None
    size: int
    digest: bytes
    variant: str | None = None
    refuted: frozenset[str] = frozenset()
    made_for: str | None = None
    doubts: frozenset[str] = frozenset()
    form: Form | None = None
    rank: int | None = None
    alpha: float | None = None
    text_encoder: bool = False
    title: str | None = None
    aliases: tuple[str, ...] = ()
    about: str = ""
    triggers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    weight: float | None = None
    own: Own | None = None


class Reader:
    """Reads headers; keeps the layouts it has seen. May be used by several threads."""

    def __init__(self) -> None:
        self._layouts: dict[bytes, Layout] = {}
        self._lock = Lock()

    def read(self, path: Path) -> Reading:
        """What the file at `path` says, whatever it is. No weight is read but one alpha.

        Raises UnknownNameError `file_missing`, ModelFileError `model_file_pickled` or
        `model_file_damaged`.
        """
        text, size, first = header_start(path)
        apart = _apart(text)
        if apart is None:
            header = parse_header(path, text, size)
            return _reading(
                header, _layout(header, text), sha256(text).digest(), 8 + len(text), first
            )
        metadata, start, end = apart
        told = memoryview(text)
        tensors = sha256(told[:start])
        tensors.update(b"\0")
        tensors.update(told[end:])
        key = tensors.digest()
        digest = sha256(key + told[start:end]).digest()
        # One thread works it out: it is pure computing, and the others may want the same one.
        with self._lock:
            layout = self._layouts.get(key)
            if layout is None or 8 + len(text) + layout.length != size:
                header = parse_header(path, text, size)
                layout = _layout(header, text)
                if len(self._layouts) < MAX_LAYOUTS:
                    self._layouts[key] = layout
        return _reading(Header(path, {}, metadata, size), layout, digest, 8 + len(text), first)


def _apart(text: bytes) -> tuple[dict[str, str], int, int] | None:
    """The metadata, and where in the text they stand; None if that is not plain to see."""
    at = text.find(_NAME)
    if at < 0:
        return {}, 0, 0
    colon = _COLON.match(text, at + len(_NAME))
    if colon is None or text[at - 1 : at] == b"\\":
        return None
    start = colon.end()
    for length in (_FIRST_LOOK, len(text)):
        try:
            words = getincrementaldecoder("utf-8")().decode(text[start : start + length])
            metadata, end = _DECODER.raw_decode(words)
            break
        except (ValueError, RecursionError):
            continue
    else:
        return None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        return None
    end = start + (end if words.isascii() else len(words[:end].encode()))
    return (metadata, start, end) if text.find(_NAME, end) < 0 else None


def _layout(header: Header, text: bytes) -> Layout:
    length = header.size - 8 - len(text)
    strange = _strange(header.tensors)
    if strange is not None:
        return Layout(strange, length)
    found = list(parts(header))
    changed = layers(found, header.tensors)
    families = load_families()
    ends = {end: name for _, end, name in reversed(found)}
    form: Form | None = None
    if changed:
        form = next((_FORMS[end] for end in _FORMS if end in ends), None)
    if form is None:
        plain = {name: tensor.shape for name, tensor in header.tensors.items()}
        model = checkpoint_by_tensors(plain, families)
        if model is not None:
            return Layout("model", length, model=model.id)
        what = _other(plain)
        if what not in ("model", "other"):
            return Layout(what, length)
        shown = shows_denoiser(plain)
        other = Verdict(None, other=other_checkpoint(plain, families)) if shown else UNKNOWN
        return Layout("model" if shown else what, length, other, shown=shown)
    alpha = header.tensors[ends[ALPHA]] if ALPHA in ends else None
    if alpha is not None:
        alpha = alpha._replace(offset=alpha.offset - 8 - len(text))
    return Layout(
        "lora",
        length,
        verdict=judge(changed, families),
        form=form,
        rank=_rank(header, found),
        text_encoder=any(name.startswith(TEXT_ENCODERS) for name in changed),
        alpha=alpha,
    )


def _rank(header: Header, found: Iterable[tuple[str, str, str]]) -> int | None:
    """The commonest one; None for forms without."""
    shapes = (header.tensors[name].shape for _, end, name in found if end in _RANKS)
    ranks = Counter(shape[0] for shape in shapes if shape and shape[0])
    return ranks.most_common(1)[0][0] if ranks else None


def _strange(names: Collection[str]) -> What | None:
    """LoRAs and models in a form that only other programs read; None for all others."""
    if any(_XLABS.fullmatch(name) for name in names):
        return "xlabs_lora"
    if is_nunchaku(names):
        return "nunchaku_model"
    return "nunchaku_lora" if any(_NUNCHAKU_LORA.fullmatch(name) for name in names) else None


def _other(names: Iterable[str]) -> What:
    for what, beginnings in _OTHERS:
        if any(name.startswith(beginnings) for name in names):
            return what
    return "other"


def _reading(
    header: Header, layout: Layout, digest: bytes, start: int, first: bytes = b""
) -> Reading:
    """`start`: where the data begin; `first`: some bytes of them."""
    families = load_families()
    metadata = header.metadata
    if layout.what != "lora":
        family = None
        if layout.model is not None:
            proven = families[layout.model]
            family = checkpoint_twin(header, families, proven) or proven
        elif layout.what == "model" and not layout.shown:
            family = checkpoint_family(header, families)
        made_for = layout.verdict.other
        known = family.id if family else None
        title = _title(header)
        return Reading(layout.what, known, header.size, digest, made_for=made_for, title=title)
    spoken, tags = words_of(metadata)
    family = decide(layout.verdict, header, families)
    variant = variant_of(header, family) if family else None
    return Reading(
        what="lora",
        family=family.id if family else None,
        size=header.size,
        digest=digest,
        variant=variant.id if variant else None,
        refuted=layout.verdict.refuted,
        made_for=other_model(layout.verdict, header),
        doubts=layout.verdict.doubts,
        form=layout.form,
        rank=layout.rank,
        alpha=_alpha(header, layout, start, first),
        text_encoder=layout.text_encoder,
        title=_title(header),
        aliases=_titles(header)[1:],
        about=_about(metadata),
        triggers=spoken,
        tags=tags,
        weight=sensible_weight(metadata.get("modelspec.lora_default_weight")),
        own=own_metadata(metadata),
    )


def _alpha(header: Header, layout: Layout, start: int, first: bytes) -> float | None:
    alpha = layout.alpha
    if alpha is None:
        return _finite(header.metadata.get("ss_network_alpha"))
    if alpha.offset + 8 <= len(first):
        return _finite(scalar_of(alpha, lambda size: first[alpha.offset : alpha.offset + size]))
    tensor = alpha._replace(offset=alpha.offset + start)
    return _finite(read_scalar(Header(header.path, {"alpha": tensor}), "alpha"))


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e6 else None


def _title(header: Header) -> str | None:
    return next(iter(_titles(header)), None)


def _titles(header: Header) -> tuple[str, ...]:
    """What somebody called it; not what a trainer makes up ("LoRA@1690000000.0", "last")."""
    found: dict[str, None] = {}
    for key in ("modelspec.title", "ss_output_name"):
        title = one_line(header.metadata.get(key), MAX_TITLE)
        if title and title != "None" and "@" not in title and title.casefold() not in _NAMELESS:
            found[title] = None
    return tuple(found)


def _about(metadata: dict[str, str]) -> str:
    keys = ("modelspec.description", "modelspec.usage_hint", "ss_training_comment")
    # What Kizy's trainer adds to the description speaks of no picture.
    keys = keys[:1] if KEY in metadata else keys
    texts = [text_of_html(metadata.get(key), MAX_ABOUT) for key in keys]
    kept = dict.fromkeys(text for text in texts if text and text != "None")
    return "\n".join(kept)[:MAX_ABOUT]
