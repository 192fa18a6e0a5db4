"""The LoRA files of this person: what each is for, without reading its weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...core.errors import KizyError, ModelFileError, UnknownNameError, nearest
from ...core.home import loras_folder
from ...core.request import Frozen
from ..families.family import load_families
from ..formats.lora_reader import Reader, Reading
from ..formats.safetensors_header import PICKLE_SUFFIXES, is_file, readable
from ..formats.training_metadata import triggers
from .hashes import file_sha256

__all__ = [
    "SUFFIX",
    "LoraEntry",
    "file_sha256",
    "find_lora",
    "list_loras",
    "read_lora",
    "triggers",
    "what_it_is",
]

SUFFIX = ".safetensors"

_READER = Reader()
_WORDS = {
    "controlnet": "a ControlNet",
    "embedding": "an embedding (textual inversion)",
    "vae": "a VAE",
    "text_encoder": "a text encoder",
    "adapter": "an adapter of another kind (such as IP-Adapter)",
    "xlabs_lora": (
        "a LoRA for FLUX.1 in XLabs' form, which neither Kizy nor ComfyUI's own LoRA nodes load: "
        "XLabs' nodes for ComfyUI (x-flux-comfyui) do, and diffusers"
    ),
    "nunchaku_lora": (
        "a LoRA that was converted for Nunchaku (SVDQuant), whose nodes alone load it: "
        "get the LoRA as it was before"
    ),
    "nunchaku_model": (
        "a model that was quantised to 4 bits for Nunchaku (SVDQuant), whose nodes for ComfyUI "
        "(ComfyUI-nunchaku) alone load it"
    ),
}
_PLACES = {
    "model": "checkpoints",
    "controlnet": "controlnet",
    "embedding": "embeddings",
    "vae": "vae",
    "text_encoder": "text_encoders",
    "nunchaku_model": "diffusion_models",
}
"""What it is -> ComfyUI's folder for it."""


class LoraEntry(Frozen):
    """A LoRA file. `triggers` come from the file: text to show or to put into a prompt.

    `family` None: not one that Kizy knows. `alpha` None: the file gives none, which means
    alpha = rank. `size` in bytes. `problem`: why it cannot be used.
    """

    name: str
    path: Path
    family: str | None = None
    rank: int | None = None
    alpha: float | None = None
    triggers: tuple[str, ...] = ()
    size: int = 0
    problem: str | None = None

    def sha256(self) -> str:
        """Of the whole file; see `file_sha256`."""
        return file_sha256(self.path)


def list_loras(folders: Iterable[Path] | None = None) -> list[LoraEntry]:
    """Every .safetensors file below the folders (default: Kizy's), by name; broken ones too."""
    return [_listed(path) for path in _paths(folders, (SUFFIX,))]


def find_lora(name: str, folders: Iterable[Path] | None = None) -> LoraEntry:
    """A LoRA by its file's name, with or without extension and in any case, or by path.

    Raises UnknownNameError `lora_unknown`; ModelFileError `model_file_damaged` or
    `model_file_pickled` if the file is there but cannot be used.
    """
    suffixes = (SUFFIX, *PICKLE_SUFFIXES)
    path = Path(name)
    if path.suffix.lower() in suffixes and is_file(path):
        return read_lora(path)
    paths = _paths(folders, suffixes)
    paths.sort(key=lambda path: path.suffix.lower() != SUFFIX)  # the usable twin first
    wanted = name.strip().casefold()
    for known in paths:
        if wanted in (known.name.casefold(), known.stem.casefold()):
            return read_lora(known)
    hint = nearest(name, (known.stem for known in paths))
    raise UnknownNameError("lora_unknown", f'No LoRA is called "{name}". {hint}'.strip())


def read_lora(path: Path) -> LoraEntry:
    """What a LoRA file says about itself.

    Raises UnknownNameError `file_missing`, ModelFileError `model_file_pickled` or
    `model_file_damaged` (also for a safetensors file that holds no LoRA).
    """
    reading = _READER.read(path)
    if reading.what != "lora":
        message = f"{path.name} holds no LoRA: {what_it_is(reading)}"
        raise ModelFileError("model_file_damaged", message, fix="Choose a LoRA file.")
    return LoraEntry(
        name=readable(path.stem),
        path=path,
        family=reading.family,
        rank=reading.rank,
        alpha=reading.alpha,
        triggers=reading.triggers,
        size=reading.size,
    )


def what_it_is(reading: Reading) -> str:
    """Plain words for a file that is no LoRA, such as "it is a VAE"; where it belongs."""
    if reading.what == "model":
        family = load_families().get(reading.family or "")
        words = f"a whole model ({family.name})" if family else "a whole model"
    else:
        words = _WORDS.get(reading.what, "")
    if not words:
        return "its tensors are of another kind."
    place = _PLACES.get(reading.what)
    return f"it is {words}" + (f" and belongs into the folder {place}." if place else ".")


def _paths(folders: Iterable[Path] | None, suffixes: tuple[str, ...]) -> list[Path]:
    found = [
        path
        for folder in ([loras_folder()] if folders is None else folders)
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and is_file(path)
    ]
    return sorted(found, key=lambda path: (path.stem.casefold(), str(path)))


def _listed(path: Path) -> LoraEntry:
    try:
        return read_lora(path)
    except KizyError as error:
        return LoraEntry(name=readable(path.stem), path=path, problem=readable(error.message))
