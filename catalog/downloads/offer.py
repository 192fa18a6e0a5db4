"""What a download would bring, told before it begins: the person decides with this in hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...core.errors import InputError
from ...core.home import loras_folder, models_folder
from ...core.request import Frozen
from ..families.family import Family, load_families
from ..formats.published_facts import Facts, RemoteFile
from ..words.civitai_words import family_of_base
from .download import SPARE, safe_name

Fit = Literal["yes", "slowly", "no", "unknown"]

_NAMES = {"civitai": "Civitai", "huggingface": "Hugging Face"}


@dataclass(frozen=True)
class Machine:
    """What it is offered for. Bytes; None: not known. `gpu`: of the graphics card, all of it."""

    gpu: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Folders:
    """Where LoRAs and models go; Kizy's own unless given. `free`: bytes free in a folder."""

    loras: Path | None = None
    models: Path | None = None
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(_existing(folder)).free

    def of(self, kind: str) -> Path:
        """The folder for "lora" or "checkpoint"."""
        if kind == "lora":
            return self.loras or loras_folder()
        return self.models or models_folder()


class Offer(Frozen):
    """A download that the person may accept. `kind`: what it is said to be.

    `files` will lie in `folder`, under `names`. `size` in bytes; None if nobody says. `licence`:
    in plain words; `base_licence`: of the model that it builds on. `family`, `variant`: as told;
    the file's tensors decide after the download. `fits`: whether the machine's memory suffices to
    draw with it, said in `fits_why`. `free`: bytes free on the disk. `notes`: what else to know.
    """

    title: str
    version: str
    author: str
    source: Literal["civitai", "huggingface"]
    url: str | None
    kind: Literal["lora", "checkpoint"]
    files: tuple[RemoteFile, ...]
    names: tuple[str, ...]
    folder: Path
    size: int | None
    licence: str
    base_licence: str | None
    base_model: str | None
    family: str | None
    variant: str | None
    fits: Fit
    fits_why: str
    free: int
    enough_space: bool
    mature: bool
    notes: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """The offer in plain words, a sentence or two each."""
        what = "LoRA" if self.kind == "lora" else "model"
        by = f" by {self.author}" if self.author else ""
        # Hugging Face's versions are commits, which tell a person nothing.
        told = self.source == "civitai" and self.version not in ("", self.title)
        version = f", {self.version}" if told else ""
        base = f" for {self.base_model}" if self.base_model else ""
        size = "of unknown size" if self.size is None else in_bytes(self.size)
        files = f" in {len(self.files)} files" if len(self.files) > 1 else ""
        space = "" if self.enough_space else " That is not enough."
        found = [
            f"{self.title}{version}{by}: a {what}{base}.",
            f"{size[0].upper()}{size[1:]}{files}, from {_NAMES[self.source]}"
            f"{f' ({self.url})' if self.url else ''}.",
            f"Goes to {self.folder}, where {in_bytes(self.free)} are free.{space}",
            f"Licence: {self.licence}",
        ]
        if self.base_licence:
            found.append(f"The model that it builds on: {self.base_licence}")
        return (*found, self.fits_why, *self.notes)


def make_offer(
    facts: Facts,
    *,
    adult: bool = False,
    folders: Folders | None = None,
    machine: Machine | None = None,
) -> Offer:
    """The offer for what facts tell of, or a refusal. Nothing is downloaded.

    `adult`: whether the settings allow adult content. Raises InputError `adult_content` or
    `download_refused`.
    """
    files = _files(facts)
    _refuse(facts, files, adult)
    folders = folders or Folders()
    kind = "lora" if facts.kind == "lora" else "checkpoint"
    family_id, variant = family_of_base(facts.base_model)
    family = load_families().get(family_id) if family_id else None
    folder = folders.of(kind)
    if len(files) > 1:
        folder = folder / safe_name(facts.title + ".safetensors").removesuffix(".safetensors")
    sizes = [file.size for file in files]
    known = [size for size in sizes if size is not None]
    size = sum(known) if len(known) == len(sizes) else None
    free = folders.free(folder)
    fits, why = memory_fit(family, machine or Machine())
    return Offer(
        title=facts.title,
        version=facts.version,
        author=facts.author,
        source=facts.source,
        url=facts.url,
        kind=kind,
        files=files,
        names=tuple(_name(file) for file in files),
        folder=folder,
        size=size,
        licence=facts.licence or "not told; see its page.",
        base_licence=_base_licence(family),
        base_model=facts.base_model,
        family=family_id,
        variant=variant,
        fits=fits,
        fits_why=why,
        free=free,
        enough_space=size is None or size + SPARE <= free,
        mature=facts.mature,
        notes=tuple(_notes(facts, files, family_id)),
    )


def memory_fit(family: Family | None, machine: Machine) -> tuple[Fit, str]:
    """Whether the memory suffices to draw with a family's models, and that as a sentence."""
    if family is None:
        return "unknown", "Whether it fits this machine is not known."
    need, least = family.memory.gb, family.memory.offload_gb
    said = f"{family.name} wants about {need:g} GB of graphics memory"
    if machine.gpu is None:
        return "unknown", f"{said}; what this machine has is not known."
    if machine.gpu == 0:
        return _without_gpu(family, machine.memory)
    has = machine.gpu / 1e9
    if has >= need:
        return "yes", f"It fits this machine: {said}, and there are {has:.0f} GB."
    if has >= least:
        why = f"It fits this machine, but draws slowly: {said}, and there are {has:.0f} GB."
        return "slowly", why
    why = f"{said}, at the very least {least:g} GB, and there are {has:.0f} GB."
    return "no", f"It does not fit this machine: {why}"


def _without_gpu(family: Family, memory: int | None) -> tuple[Fit, str]:
    """On the processor alone, where everything is held in float32: twice the family's facts."""
    none = "This machine has no graphics card that Kizy can use"
    if memory is not None and memory / 1e9 < 2 * family.memory.gb:
        has, need = f"{memory / 1e9:.0f} GB", f"{2 * family.memory.gb:g} GB"
        return "no", f"{none}, and {family.name} on its processor wants {need} of its {has} memory."
    slow = "its processor can draw, which takes seconds" if family.memory.gb < 1 else ""
    slow = slow or "its processor would draw, which takes many minutes for each picture"
    return "slowly", f"{none}; {slow}."


def in_bytes(size: int) -> str:
    """A size as people say it."""
    for unit, word in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {word}" if size < 100 * unit else f"{size / unit:.0f} {word}"
    return f"{size} bytes"


def _files(facts: Facts) -> tuple[RemoteFile, ...]:
    if facts.source == "huggingface":
        return facts.files
    return tuple(file for file in facts.files if file.primary)[:1] or facts.files[:1]


def _refuse(facts: Facts, files: tuple[RemoteFile, ...], adult: bool) -> None:
    if facts.minor and facts.mature:
        message = f"{facts.title} is marked as adult content with somebody young."
        raise InputError("download_refused", message, fix="Kizy never downloads that.")
    if facts.mature and not adult:
        raise InputError("adult_content", f"{facts.title} is marked as adult content.")
    if facts.held_back:
        fix = "Choose another one."
        raise InputError("download_refused", f"{facts.title}: {facts.held_back}", fix=fix)
    if facts.kind not in (None, "lora", "checkpoint"):
        message = f"{facts.title} is neither a LoRA nor a model that draws ({facts.kind})."
        raise InputError("download_refused", message)
    if not files:
        raise InputError("download_refused", f"{facts.title} has no file to download.")
    for file in files:
        _name(file)
        if file.flagged:
            message = f"{facts.title}: a scanner found something dangerous in {file.name}."
            raise InputError("download_refused", message, fix="Choose another one.")
        if file.kind not in ("lora", "checkpoint", "config"):
            message = f"{file.name} is neither a LoRA nor a model that draws ({file.kind})."
            raise InputError("download_refused", message)


def _name(file: RemoteFile) -> str:
    """Where the file goes below the folder. Raises InputError `download_refused`."""
    suffix = Path(file.name).suffix.lower() if file.format == "text" else ".safetensors"
    parts = [part for part in file.folder.split("/") if part not in ("", ".")]
    if len(parts) > 2 or any(part.startswith(".") for part in parts):
        raise InputError("download_refused", "Its files lie in folders that Kizy does not trust.")
    folders = [safe_name(part + ".safetensors").removesuffix(".safetensors") for part in parts]
    return "/".join((*folders, safe_name(file.name, suffix)))


def _base_licence(family: Family | None) -> str | None:
    if family is None:
        return None
    licence = family.licence
    use = "free for business, too" if licence.commercial else "not for business"
    return f"{family.name}, {licence.name}: {use}. {licence.note}".rstrip()


def _notes(facts: Facts, files: tuple[RemoteFile, ...], family: str | None) -> list[str]:
    found = []
    if facts.mature:
        found.append("It is marked as adult content.")
    if facts.real_person:
        found.append("It shows a real person: ask them before you show what you make with it.")
    if facts.early_access:
        found.append(f"It is in early access {facts.early_access}.")
    if facts.base_model and family is None:
        found.append(f"Kizy knows no family {facts.base_model}: it cannot draw with this.")
    if any(file.sha256 is None for file in files if file.format != "text"):
        found.append("Its source tells no sha256: damage can be noticed from its header alone.")
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
