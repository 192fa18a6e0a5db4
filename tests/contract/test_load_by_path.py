"""The folder as ComfyUI loads it: by path, under a name of ComfyUI's, among strangers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAKES = Path(__file__).parents[1] / "fakes"
HEAVY = {"torch", "diffusers", "transformers", "peft", "accelerate", "numpy", "PIL"}
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "*.safetensors", "build", "dist", "tests"
)

# What `load_custom_node` of ComfyUI's nodes.py does (0.3.64).
LOAD = """
import asyncio, importlib.util, json, os, sys
module_path = sys.argv[1]
name = module_path.replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, os.path.join(module_path, "__init__.py"))
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
before = sorted(sys.modules)
extension = asyncio.run(module.comfy_entrypoint())
from comfy_api.latest import ComfyExtension, io
assert isinstance(extension, ComfyExtension)
asyncio.run(extension.on_load())
nodes = asyncio.run(extension.get_node_list())
assert isinstance(nodes, list)
assert all(issubclass(node, io.ComfyNode) for node in nodes)
print(json.dumps({
    "before": before,
    "after": sorted(sys.modules),
    "v1": hasattr(module, "NODE_CLASS_MAPPINGS"),
    "own": [n for n in sys.modules if n.startswith(name)],
}))
"""


@pytest.fixture
def pack(root: Path, tmp_path: Path) -> Path:
    """The folder in `custom_nodes/`, with a hyphen in its name and a dot in its path."""
    folder = tmp_path / "comfy.ui" / "custom_nodes" / "ComfyUI-Kizy"
    return Path(shutil.copytree(root, folder, ignore=LEFT_OUT))


@pytest.fixture
def strangers(root: Path, package_folders: list[Path], tmp_path: Path) -> Path:
    """A folder of modules that are called like our rooms and must not be taken for them."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    names = {path.relative_to(root).parts[0] for path in package_folders if path != root}
    assert "nodes" in names
    for name in names:
        (folder / f"{name}.py").write_text('raise AssertionError(f"{__name__} was imported")\n')
    return folder


@pytest.fixture
def loaded(run_python: Callable[..., Any], pack: Path, strangers: Path) -> dict[str, Any]:
    """What came of loading the pack where `kizy` is not installed."""
    finished = run_python(LOAD, str(pack), isolated=True, hidden=["kizy"], path=[strangers, FAKES])
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def tops(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_entry_point_gives_an_extension_with_a_list_of_nodes(loaded: dict[str, Any]) -> None:
    assert any(name.endswith(".nodes.extension") for name in loaded["own"])
    assert not loaded["v1"], "with NODE_CLASS_MAPPINGS ComfyUI ignores the entry point"


def test_nothing_is_imported_before_the_entry_point_is_called(loaded: dict[str, Any]) -> None:
    assert "comfy_api" not in loaded["before"]
    assert not any("nodes" in name.split(".")[-2:] for name in loaded["before"])


def test_no_heavy_library_is_imported(loaded: dict[str, Any]) -> None:
    assert tops(loaded["after"]) & HEAVY == set()


def test_no_module_is_called_kizy(loaded: dict[str, Any]) -> None:
    assert "kizy" not in tops(loaded["after"])


def test_no_source_imports_the_package_by_its_installed_name(
    root: Path, package_folders: list[Path]
) -> None:
    found = [
        f"{file.relative_to(root)}: {line.strip()}"
        for folder in package_folders
        for file in folder.glob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(("import kizy", "from kizy"))
    ]
    assert found == []
