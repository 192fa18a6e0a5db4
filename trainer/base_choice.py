"""Which model is trained on, and the files that belong to one in several files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..catalog.families.family import family
from ..catalog.formats.safetensors_header import read_header
from ..catalog.index.models import (
    STARTER,
    ModelEntry,
    find_model,
    list_models,
    model_at,
    named_model,
)
from ..core.errors import InputError, KizyError
from ..core.home import models_folder
from ..core.plan import ModelFile
from .engines.builtin import FAMILIES as BUILTIN_FAMILIES
from .memory import GIB, SMALL_GIB, Machine
from .table import load_rules

_PARTS = {"clip_l": "clip_l", "clip_g": "clip_g", "t5xxl": "t5xxl", "ae": "ae", "flux_vae": "ae"}
"""How a part's file name begins -> sd-scripts' option for it."""

_BESIDE = (".", "..", "../text_encoders", "../clip", "../vae", "../../text_encoders", "../../vae")
"""Where ComfyUI's folders lie, seen from a model's."""


def choose_base(
    name: str, preferred: str | None, machine: Machine, kohya: Callable[[], bool]
) -> tuple[ModelEntry, str]:
    """The base and why. `name`: of an installed model, or an absolute path. `preferred`: what the
    settings draw with; `kohya`: whether it can be used.

    Raises UnknownNameError, InputError `name_ambiguous`, ModelFileError.
    """
    if name != "auto":
        named = model_at(Path(name)) if Path(name).is_absolute() else named_model(name)
        return named, "you named it"
    if preferred is not None:
        entry = find_model(preferred)
        if _trainable(entry, kohya):
            return entry, "your settings draw with it"
    starter = find_model(STARTER)
    if machine.device == "cpu":
        return starter, "trained in minutes on a machine without GPU; --base names another"
    fitting = [
        entry
        for entry in list_models()
        if entry.kind != "builtin" and _trainable(entry, kohya) and _fits(entry, machine)
    ]
    if not fitting:
        return starter, "no other model is installed that could be trained here"
    best = max(fitting, key=lambda entry: (entry.size, entry.name))
    return best, "the largest installed model that can be trained here; --base names another"


def find_parts(base: ModelEntry, free: int) -> dict[str, ModelFile]:
    """Text encoders and VAE of a base that lies in several files; {} where it is complete.

    `free`: bytes of the GPU's memory. Raises InputError `base_part_missing`, ModelFileError.
    """
    if base.path is None or base.path.is_dir() or base.family in (None, *BUILTIN_FAMILIES):
        return {}
    facts = family(base.family)
    split = facts.comfyui.split
    if split is None:
        return {}
    names = read_header(base.path).tensors
    if base.family.startswith("sd35") and any(x.startswith("text_encoders.") for x in names):
        return {}
    if any(x.startswith("model.diffusion_model.") for x in names) and "flux" in base.family:
        message = f"{base.path.name} is one file with everything, which sd-scripts cannot train."
        raise InputError("trainer_cannot", message, fix=f"Give {split.diffusion_model}.")
    wanted = list(split.text_encoders)
    if base.family.startswith("flux"):
        wanted.append(split.vae)
    folders = list(_folders(base.path))
    found: dict[str, ModelFile] = {}
    gone: list[str] = []
    for name in wanted:
        known = [name, *split.alternatives.get(name, ()), "t5xxl_fp8_e4m3fn.safetensors"]
        # The scaled form is read by ComfyUI alone.
        known = [x for x in dict.fromkeys(known) if "scaled" not in x and _part(x) == _part(name)]
        if free < SMALL_GIB * GIB:
            known.sort(key=lambda x: "fp8" not in x)
        path = next((p for x in known for f in folders if (p := f / x).is_file()), None)
        if path is None:
            gone.append(name)
        else:
            found[_part(name)] = ModelFile(name=path.name, path=str(path.resolve()))
    if gone:
        be = "it is" if len(gone) == 1 else "they are"
        message = f"To train {facts.name}, sd-scripts needs {' and '.join(gone)}; {be} not there."
        raise InputError("base_part_missing", message)
    return found


def _part(name: str) -> str:
    return next((part for begin, part in _PARTS.items() if name.startswith(begin)), name)


def _folders(base: Path) -> Iterable[Path]:
    for beside in _BESIDE:
        yield (base.parent / beside).resolve()
    top = models_folder()
    yield top
    if top.is_dir():
        yield from sorted(path for path in top.glob("*") if path.is_dir())
        yield from sorted(path for path in top.glob("*/*") if path.is_dir())


def _trainable(entry: ModelEntry, kohya: Callable[[], bool]) -> bool:
    if entry.family not in load_rules().family:
        return False
    if entry.family in BUILTIN_FAMILIES and entry.kind in ("builtin", "diffusers"):
        return True
    return entry.kind == "checkpoint" and kohya()


def _fits(entry: ModelEntry, machine: Machine) -> bool:
    tiers = load_rules().family[entry.family or ""].gpu
    if tiers[-1].least_gib * GIB > machine.free:
        return False
    try:
        find_parts(entry, machine.free)
    except KizyError:
        return False
    return True
