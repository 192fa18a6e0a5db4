"""Where LoRA files lie: Kizy's own folder, ComfyUI's (extra_model_paths.yaml too), A1111's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...core.home import loras_folder

Origin = Literal["kizy", "comfyui", "a1111", "folder"]

EXTRA_PATHS = "extra_model_paths.yaml"
MAX_YAML = 1_000_000
"""Bytes of a file of extra paths that is still read."""


@dataclass(frozen=True)
class LoraFolder:
    """A folder that is looked through, with all below it. It need not exist."""

    path: Path
    origin: Origin = "folder"


def lora_folders(
    *,
    comfyui: Path | None = None,
    comfyui_arguments: Sequence[str] = (),
    a1111: Path | None = None,
    more: Iterable[Path] = (),
) -> tuple[LoraFolder, ...]:
    """Kizy's own folder, then those of the programs in these folders, then `more`; each once.

    `comfyui`: the folder with main.py; `comfyui_arguments`: what it is started with. `a1111`: the
    folder with webui.py (or Forge's).
    """
    found = [LoraFolder(loras_folder(), "kizy")]
    if comfyui is not None:
        folders = comfyui_lora_folders(comfyui, comfyui_arguments)
        found += [LoraFolder(path, "comfyui") for path in folders]
    if a1111 is not None:
        found += [LoraFolder(path, "a1111") for path in a1111_lora_folders(a1111)]
    found += [LoraFolder(path) for path in more]
    first: dict[str, LoraFolder] = {}
    for folder in found:
        first.setdefault(_real(folder.path), folder)
    return tuple(first.values())


def comfyui_lora_folders(folder: Path, arguments: Sequence[str] = ()) -> tuple[Path, ...]:
    """Where a ComfyUI finds LoRAs, its default folder first.

    Source: ComfyUI, folder_paths.py, main.py and comfy/cli_args.py: `models/loras` below
    `--base-directory`, and `loras` of extra_model_paths.yaml and of each
    `--extra-model-paths-config`.
    """
    bases = list(_values(arguments, "--base-directory"))
    paths = [(_expanded(bases[-1]) if bases else folder) / "models" / "loras"]
    extra = _values(arguments, "--extra-model-paths-config")
    for file in (folder / EXTRA_PATHS, *map(_expanded, extra)):
        for path, is_default in extra_paths(file, "loras"):
            paths.insert(0 if is_default else len(paths), path)
    return tuple(dict.fromkeys(paths))


def a1111_lora_folders(folder: Path) -> tuple[Path, ...]:
    """Where A1111 and Forge keep LoRAs (extensions-builtin/Lora: `--lora-dir`, LyCORIS)."""
    return (folder / "models" / "Lora", folder / "models" / "LyCORIS")


def extra_paths(file: Path, kind: str) -> tuple[tuple[Path, bool], ...]:
    """The folders of a kind ("loras", ...) in a file of extra paths, and whether it is a default.

    As ComfyUI reads it (utils/extra_config.py): `base_path` may hold `~` and variables and counts
    from the file's folder; a value may name several folders, one a line. A file that is missing
    or broken names none.
    """
    config = _load(file)
    found: list[tuple[Path, bool]] = []
    for section in config.values():
        if not isinstance(section, dict):
            continue
        base, folders = section.get("base_path"), section.get(kind)
        root = file.absolute().parent
        if isinstance(base, str):
            root = root / _expanded(base)
        for line in folders.split("\n") if isinstance(folders, str) else ():
            if line.strip() and "\0" not in line:
                path = Path(os.path.normpath(root / line.strip()))
                found.append((path, section.get("is_default") is True))
    return tuple(found)


def _load(file: Path) -> dict[Any, Any]:
    import yaml

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_YAML + 1)
        values = yaml.safe_load(data) if len(data) <= MAX_YAML else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _values(arguments: Sequence[str], option: str) -> Iterator[str]:
    """The values of an option that is given as `--option value ...` or `--option=value`."""
    taking = False
    for argument in arguments:
        if argument.startswith("--"):
            name, _, value = argument.partition("=")
            taking = name == option
            if taking and value:
                yield value
        elif taking:
            yield argument


def _expanded(text: str) -> Path:
    """With `~` and variables, which stay as they are if nobody has set them."""
    return Path(os.path.expandvars(os.path.expanduser(text)))  # noqa: PTH111 (raises for ~nobody)


def _real(path: Path) -> str:
    try:
        return os.path.normcase(path.resolve())
    except (OSError, RuntimeError, ValueError):
        return os.path.normcase(path.absolute())
