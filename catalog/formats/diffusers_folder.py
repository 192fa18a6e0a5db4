"""Whether a folder is a diffusers model that Kizy draws, and whole. No weight is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...core.errors import ModelFileError, UnknownNameError
from ..families.family import DiffusersFacts, Family, load_families
from .safetensors_header import PICKLE_SUFFIXES, is_file, read_header

INDEX_FILE = "model_index.json"
MAX_JSON = 10_000_000
"""Bytes of a configuration file; the largest known (weight maps) have a few hundred thousand."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_SHARD_INDEX = re.compile(r"\.safetensors\.index(\.\w+)?\.json\Z")

# diffusers imports what model_index.json names; other names would be code from the folder.
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion", "stable_diffusion_xl")


def check_model_folder(path: Path) -> Family:
    """The family of a diffusers folder that Kizy can draw in its own process.

    Every component must be there, its weights as .safetensors with headers that fit the files.
    Raises UnknownNameError `file_missing`, ModelFileError `model_folder_invalid`,
    `model_file_pickled` (weights only as pickles) or `model_file_damaged`.
    """
    try:
        return _checked(path)
    except OSError as error:
        raise _invalid(path, "cannot be read") from error


def begins_with_noise_alone(path: Path) -> bool:
    """Whether a model's schedule was rescaled to zero terminal SNR, in a folder that was checked.

    Raises ModelFileError `model_folder_invalid`.
    """
    name = "scheduler/scheduler_config.json"
    return is_file(path / name) and _read_json(path, name).get("rescale_betas_zero_snr") is True


def _checked(path: Path) -> Family:
    if not path.is_dir():
        raise UnknownNameError("file_missing", f"There is no folder {path}.")
    if not is_file(path / INDEX_FILE):
        raise _invalid(path, f"has no {INDEX_FILE}")
    index = _read_json(path, INDEX_FILE)
    _check_index(path, index)
    family, facts = _recognized(path, index)
    for component in (*facts.weights, *facts.others):
        if not _is_used(index, component) or not (path / component).is_dir():
            raise _invalid(path, f"lacks the component {component}")
    for component in facts.weights:
        _check_weights(path, component)
    return family


def _check_index(path: Path, index: dict[str, Any]) -> None:
    """Refuse names that lead out of the folder, and classes that are no library's."""
    if not isinstance(index.get("_class_name"), str):
        raise _invalid(path, "names no pipeline class")
    for key, value in index.items():
        if key.startswith("_"):
            continue
        if not _IDENTIFIER.match(key):
            raise _invalid(path, f"names a component {key[:60]!r}")
        if not isinstance(value, list):
            continue
        if len(value) != 2 or not all(part is None or _is_name(part) for part in value):
            raise _invalid(path, f"is wrong about the component {key[:60]}")
        if value[0] not in (None, *_LIBRARIES):
            raise _invalid(path, f"wants code of its own for the component {key[:60]}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _IDENTIFIER.match(value) is not None


def _is_used(index: dict[str, Any], component: str) -> bool:
    value = index.get(component)
    return isinstance(value, list) and value[0] is not None


def _recognized(path: Path, index: dict[str, Any]) -> tuple[Family, DiffusersFacts]:
    pipeline = index["_class_name"]
    candidates = [
        (family, family.diffusers)
        for family in load_families().values()
        if family.embedded and family.diffusers and family.diffusers.pipeline == pipeline
    ]
    if not candidates:
        raise _invalid(path, f"is a {pipeline[:60]}, which Kizy does not draw by itself")
    for family, facts in candidates:
        if not is_file(path / facts.denoiser / "config.json"):
            raise _invalid(path, f"lacks {facts.denoiser}/config.json")
        config = _read_json(path, f"{facts.denoiser}/config.json")
        if all(config.get(key) == value for key, value in facts.config.items()):
            return family, facts
    raise _invalid(path, f"is a {pipeline} of another kind than Kizy draws")


def _check_weights(path: Path, component: str) -> None:
    folder = path / component
    if not is_file(folder / "config.json"):
        raise _invalid(path, f"lacks {component}/config.json")
    names = sorted(child.name for child in folder.iterdir() if is_file(child))
    wanted = {name for name in names if name.endswith(".safetensors")}
    for name in names:
        if _SHARD_INDEX.search(name):
            wanted |= _shards(path, f"{component}/{name}")
    if not wanted:
        if any(name.lower().endswith(PICKLE_SUFFIXES) for name in names):
            message = f"{path.name}/{component} has its weights only as pickled files."
            raise ModelFileError("model_file_pickled", message)
        raise _invalid(path, f"has no weights for {component}")
    for name in sorted(wanted):
        if not is_file(folder / name):
            raise _invalid(path, f"lacks {component}/{name}")
        read_header(folder / name)


def _shards(path: Path, name: str) -> set[str]:
    weight_map = _read_json(path, name).get("weight_map")
    files = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
    if not files:
        raise _invalid(path, f"has no weight map in {name}")
    for file in files:
        if not _FILE_NAME.match(file) or not file.endswith(".safetensors"):
            raise _invalid(path, f"names the weights {file[:60]!r} in {name}")
    return files


def _read_json(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    try:
        if file.stat().st_size > MAX_JSON:
            raise _invalid(path, f"has a {name} that is far too long")
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid(path, f"has a {name} that cannot be read") from error
    if not isinstance(values, dict):
        raise _invalid(path, f"has a {name} that is no JSON object")
    return values


def _invalid(path: Path, what: str) -> ModelFileError:
    return ModelFileError("model_folder_invalid", f"The folder {path.name} {what}.")
