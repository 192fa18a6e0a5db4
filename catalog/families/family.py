"""A family's facts, read from `families/*.toml`: the one place where they stand."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, model_validator

from ...core.errors import UnknownNameError, nearest
from ...core.request import Frozen

FAMILIES_FOLDER = Path(__file__).parent

Quality = Literal["draft", "balanced", "best"]
SizeWord = Literal["square", "portrait", "landscape", "wide", "tall"]

QUALITIES: tuple[Quality, ...] = ("draft", "balanced", "best")
SIZE_WORDS: tuple[SizeWord, ...] = ("square", "portrait", "landscape", "wide", "tall")

KEPT = 0.8
"""The share of a denoiser that has to be in the GPU's memory for ComfyUI to draw well."""

ANY = -1
"""In a shape: this dimension may have any length."""


class Licence(Frozen):
    """`commercial`: a business may use the model, within what `note` says."""

    name: str
    url: str
    commercial: bool
    note: str = ""


class Memory(Frozen):
    """Estimated GPU memory in GB (10^9 bytes) to draw at native size in fp16 or bf16.

    `offload_gb`: with the parts that are not at work in the computer's memory; of families that
    only ComfyUI draws, also with a fifth of the part that is at work: what does not fit waits there
    and is fetched at each step (comfy/model_management.py, load_models_gpu), which costs less than
    the step itself. `denoiser_gb`: what its weights take of that.
    """

    gb: float = Field(gt=0)
    offload_gb: float = Field(gt=0)
    denoiser_gb: float | None = Field(default=None, gt=0)

    def for_file(self, name: str) -> Memory:
        """The same for a file of that name: where it tells of 8 bits a weight, half the weights."""
        if self.denoiser_gb is None or not _in_8_bits(name):
            return self
        saved = self.denoiser_gb / 2
        return Memory(
            gb=round(self.gb - saved, 1),
            offload_gb=round(self.offload_gb - KEPT * saved, 1),
            denoiser_gb=saved,
        )


class TensorFact(Frozen):
    """A tensor that must be there. `name` may hold `*`; -1 in `shape` fits any length."""

    name: str
    shape: tuple[int, ...]


class TensorRule(Frozen):
    """A file fits if every `present` is in it and no name fits one of `absent`."""

    present: tuple[TensorFact, ...] = Field(min_length=1)
    absent: tuple[str, ...] = ()


class CheckpointFacts(Frozen):
    """How a checkpoint is recognised; names count from the denoiser's root in the file.

    `architectures`: values of the metadata `modelspec.architecture`. `twin_of`: a family whose
    checkpoints have the same tensors, so that only metadata or the file's name can tell.
    """

    rules: tuple[TensorRule, ...] = ()
    twin_of: str | None = None
    architectures: tuple[str, ...] = ()


class LoraFacts(Frozen):
    """What the metadata of a LoRA say; its tensors are told by `lora_layers`.

    `architectures` and `base_versions` are values of the metadata `modelspec.architecture`
    (before the slash) and `ss_base_model_version`. `twin_of`: a family whose LoRAs have the same
    tensors, so that only the metadata or the file's name can tell.
    """

    twin_of: str | None = None
    architectures: tuple[str, ...] = ()
    base_versions: tuple[str, ...] = ()


class DiffusersFacts(Frozen):
    """How a diffusers folder is recognised and what has to lie in it.

    `config`: values that the denoiser's config.json must have. `weights`: the components with
    weights; `others`: those without (tokenizers, scheduler).
    """

    pipeline: str
    denoiser: Literal["unet", "transformer"]
    config: dict[str, int | bool]
    weights: tuple[str, ...]
    others: tuple[str, ...]


class SourceFile(Frozen):
    """A file for ComfyUI: its folder below `models/`, its name there, and where it comes from.

    `repo` and `path` are on Hugging Face, or `pack` is the node pack that brings the file; `size`
    in bytes and `sha256` where they are known.
    """

    folder: str
    name: str
    repo: str | None = None
    path: str | None = None
    pack: str | None = None
    size: int | None = Field(default=None, gt=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _from_somewhere(self) -> SourceFile:
        hosted = self.repo is not None and self.path is not None
        if hosted == (self.pack is not None):
            raise ValueError(f"{self.name}: name either repo and path, or the pack")
        return self


class CheckpointForm(Frozen):
    """One file with everything, for CheckpointLoaderSimple. `file`: the family's own.

    `bare`: well-known files that hold denoiser and VAE, but no text encoders.
    """

    file: str
    bare: tuple[str, ...] = ()


class SplitForm(Frozen):
    """Denoiser, text encoders and VAE as files of their own. `clip_loader`: node class.

    `clip_type`: its `type`, where it takes one. `alternatives`: a file's name -> other well-known
    names of the same network (or of a smaller precision of it), the best first.
    """

    diffusion_model: str
    text_encoders: tuple[str, ...]
    clip_loader: str
    clip_type: str | None = None
    vae: str
    alternatives: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class ControlForm(Frozen):
    """How ControlNet files of the family are known.

    `names`: patterns (with `*`) of which one fits a word of the file's name or folder. `vae`:
    ControlNetApplyAdvanced needs the VAE. `union`: kind of map -> `type` of
    SetUnionControlNetType, where a union model has to be told.
    """

    names: tuple[str, ...]
    vae: bool = False
    union: dict[str, str] = Field(default_factory=dict)


class ComfyFacts(Frozen):
    """What ComfyUI's graphs need. `latent_node`: node class of the empty latent.

    `control` None: the family has no ControlNets. `names`: parts of model files' names, in lower
    case and without anything but letters and digits, that speak of the family. `reference`: a start
    picture is shown to the model (ReferenceLatent), which changes it as the prompt says.
    """

    latent_node: str
    reference: bool = False
    names: tuple[str, ...] = ()
    checkpoint: CheckpointForm | None = None
    split: SplitForm | None = None
    control: ControlForm | None = None


class Variant(Frozen):
    """A fine-tune with the tensors of its family, and LoRAs of its own.

    It is told by parts of names of files in lower case and without anything but letters and digits
    (`names`), by whole words of such names (`words`, where a part would fit by accident), or by
    tags that only its data sets have (`telling_tags`). `quality_tags`: what its prompts begin with.
    None: as its family.
    """

    id: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    name: str
    aliases: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    telling_tags: tuple[str, ...] = ()
    prompt_style: Literal["tags"] = "tags"
    quality_tags: str = ""
    default_negative: str = ""
    clip_skip: int | None = Field(default=None, ge=1, le=12)
    sampler: str | None = None
    scheduler: str | None = None
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    licence: Licence | None = None


class Family(Frozen):
    """Everything that holds for all models of a family.

    Sizes are pixels of the draw stage and multiples of `multiple`. `sampler` and `scheduler` are
    ComfyUI's names. `guidance` is the scale of classifier-free guidance if `guidance_kind` is
    "cfg"; "distilled": the model takes it as an input and cfg stays 1; "none": cfg stays 1.
    `latent_factor`: pixels to a latent, a side.
    `prompt_tokens`: what the text encoders read at once, or were trained on. `long_prompts`: what
    is longer is left out ("cut"), goes on in further rows of so many ("rows"), or is read as a
    whole, though the model was made for no more ("whole"). BREAK parts rows alone. `enlarge`:
    factor that a picture is saved at unless asked otherwise. `embedded`: Kizy draws it in its own
    process.
    `variants`: well-known fine-tunes, which need other prompts. `quality_tags`: what its prompts
    begin with.
    """

    id: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    name: str
    aliases: tuple[str, ...] = ()
    embedded: bool
    licence: Licence
    native_width: int = Field(ge=8)
    native_height: int = Field(ge=8)
    multiple: int = Field(ge=8)
    sizes: dict[SizeWord, tuple[int, int]]
    sampler: str
    scheduler: str
    steps: dict[Quality, int]
    guidance: float = Field(ge=0)
    guidance_kind: Literal["cfg", "distilled", "none"]
    negative_prompt: bool
    default_negative: str = ""
    prompt_style: Literal["caption", "phrases", "sentences", "tags"]
    quality_tags: str = ""
    prompt_tokens: int = Field(ge=1)
    long_prompts: Literal["cut", "rows", "whole"] = "whole"
    text_encoders: tuple[str, ...]
    latent_channels: int = Field(ge=1)
    latent_factor: int = Field(ge=1)
    enlarge: float | None = Field(default=None, gt=1)
    memory: Memory
    checkpoint: CheckpointFacts = CheckpointFacts()
    lora: LoraFacts = LoraFacts()
    diffusers: DiffusersFacts | None = None
    comfyui: ComfyFacts
    files: tuple[SourceFile, ...] = ()
    variants: tuple[Variant, ...] = ()

    def variant(self, name: str) -> Variant | None:
        """The variant of that id, name or alias, in any case; None if there is none."""
        wanted = name.strip().casefold()
        for known in self.variants:
            if wanted in (word.casefold() for word in (known.id, known.name, *known.aliases)):
                return known
        return None

    def as_variant(self, name: str | None) -> Family:
        """The family with what its variant of that name does otherwise; itself without one."""
        variant = self.variant(name) if name else None
        if variant is None:
            return self
        changes = {
            key: value
            for key, value in variant.model_dump(
                include={"sampler", "scheduler", "guidance", "licence"}
            ).items()
            if value is not None
        }
        if variant.licence is not None:
            changes["licence"] = variant.licence
        if variant.steps is not None:
            share = variant.steps / self.steps["balanced"]
            changes["steps"] = {word: round(steps * share) for word, steps in self.steps.items()}
        changes |= {
            "name": variant.name,
            "prompt_style": variant.prompt_style,
            "quality_tags": variant.quality_tags,
            "default_negative": variant.default_negative or self.default_negative,
        }
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _complete(self) -> Family:
        if set(self.sizes) != set(SIZE_WORDS) or set(self.steps) != set(QUALITIES):
            raise ValueError(f"{self.id}: sizes and steps must name every word")
        for size in (*self.sizes.values(), (self.native_width, self.native_height)):
            if any(side % self.multiple for side in size):
                raise ValueError(f"{self.id}: {size} is no multiple of {self.multiple}")
        if self.default_negative and not self.negative_prompt:
            raise ValueError(f"{self.id}: a default for a negative prompt that it does not read")
        return self


def _in_8_bits(name: str) -> bool:
    """Whether a file's name says that its denoiser has 8 bits a weight, or fewer.

    "t5xxlfp8" says it of the text encoder in the same file.
    """
    words = re.split(r"[^a-z0-9]+", name.casefold())
    marks = r"fp8|f8e|e4m3|e5m2|int8|nf4|fp4|q[2-8](k|0|1)?$"
    return any(re.search(marks, w) and not re.search("t5|clip", w) for w in words)


@lru_cache(maxsize=1)
def load_families() -> Mapping[str, Family]:
    """Id -> family, by id. Read once; a file that is wrong raises pydantic's ValidationError."""
    found: dict[str, Family] = {}
    for path in sorted(FAMILIES_FOLDER.glob("[!_]*.toml")):
        read = Family.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        if read.id != path.stem:
            raise ValueError(f"{path.name} holds the family {read.id}")
        found[read.id] = read
    return MappingProxyType(found)


def family(name: str) -> Family:
    """The family of that id, name or alias, in any case.

    Raises UnknownNameError `family_unknown`.
    """
    wanted = name.strip().casefold()
    families = load_families()
    for known in families.values():
        if wanted in (word.casefold() for word in (known.id, known.name, *known.aliases)):
            return known
    hint = nearest(name, families)
    raise UnknownNameError("family_unknown", f'No family is called "{name}". {hint}'.strip())
