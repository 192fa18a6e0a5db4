"""What a ComfyUI that Kizy starts is told: Kizy's folders, and Kizy itself as a node pack.

ComfyUI reads both from a file of extra model paths (its utils/extra_config.py: tables of
`kind: path`, one path a line). The kind `custom_nodes` adds a folder of node packs; Kizy writes
one that holds a single small package, which hands over the Kizy that wrote it, wherever it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .....core import launch
from .....core.files import replacing, storage_errors
from .....core.home import loras_folder, models_folder

PACK = "ComfyUI-Kizy"

_PACK_SOURCE = '''"""Written by Kizy: hands this ComfyUI the Kizy that started it."""

import importlib.util
import os
import sys

_root = {root}
_name = __name__ + "_root"
_spec = importlib.util.spec_from_file_location(
    _name, os.path.join(_root, "__init__.py"), submodule_search_locations=[_root]
)
_module = importlib.util.module_from_spec(_spec)
sys.modules[_name] = _module
_spec.loader.exec_module(_module)

comfy_entrypoint = _module.comfy_entrypoint
if getattr(_module, "WEB_DIRECTORY", None) is not None:
    WEB_DIRECTORY = os.path.join(_root, _module.WEB_DIRECTORY)
'''


def write_extra_paths(folder: Path, *, with_pack: bool) -> Path:
    """Write what ComfyUI reads at its start into `folder`; returns the file's path.

    Raises StorageError.
    """
    paths = {"checkpoints": models_folder(), "loras": loras_folder()}
    for path in paths.values():
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    if with_pack:
        paths["custom_nodes"] = _write_pack(folder / "custom_nodes")
    target = folder / "extra_model_paths.yaml"
    with replacing(target) as temporary:
        temporary.write_text(_yaml(paths), encoding="ascii")
    return target


def _write_pack(custom_nodes: Path) -> Path:
    with replacing(custom_nodes / PACK / "__init__.py") as temporary:
        source = _PACK_SOURCE.format(root=ascii(str(launch.ROOT)))
        temporary.write_text(source, encoding="ascii")
    return custom_nodes


def _yaml(paths: Mapping[str, Path]) -> str:
    lines = ["# Written by Kizy at every start.", "kizy:"]
    lines += [f"  {kind}: {quoted(str(path.absolute()))}" for kind, path in paths.items()]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """`text` as a double-quoted YAML scalar in ASCII (YAML 1.1, 5.7 Escaped Characters)."""
    characters = (
        f"\\{character}"
        if character in '\\"'
        else character
        if " " <= character <= "~"
        else f"\\U{ord(character):08x}"
        for character in text
    )
    return f'"{"".join(characters)}"'
