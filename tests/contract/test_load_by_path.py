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


# What `nodes/_host.py` takes of ComfyUI besides comfy_api, as far as loading the pack needs it.
COMFYUI = """
import sys, types

def module(name, **values):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(values)

def base(name):
    return type(name, (), {})

def add_model_folder_path(kind, folder, is_default=False):
    if folder not in folders.setdefault(kind, []):
        folders[kind].append(folder)

folders, known = {}, [base("SD15")]
module("comfy")
class KSampler:
    SAMPLERS, SCHEDULERS = ["euler"], ["simple"]

module("comfy.samplers", KSampler=KSampler)
module("comfy.latent_formats", LatentFormat=base("LatentFormat"))
module("comfy.model_base", ModelType=base("ModelType"))
module("comfy.sd1_clip", **{
    name: base(name) for name in ("SD1ClipModel", "SD1Tokenizer", "SDClipModel", "SDTokenizer")
})
module("comfy.supported_models", models=known)
module("comfy.supported_models_base", BASE=base("BASE"), ClipTarget=base("ClipTarget"))
module("comfy.text_encoders")
module("comfy.text_encoders.bert", BertModel=base("BertModel"))
module(
    "folder_paths",
    add_model_folder_path=add_model_folder_path,
    get_filename_list=lambda kind: ["people/nadia.safetensors", "b.safetensors"],
)
module("nodes", NODE_CLASS_MAPPINGS={})
"""
# What it does then: the page's lists are made of these.
SCHEMAS = """
schemas = [node.GET_SCHEMA() for node in nodes]
print(json.dumps({
    "nodes": {schema.node_id: schema.category for schema in schemas},
    "choices": {
        f"{schema.node_id}.{one.id}": one.about["options"]
        for schema in schemas for one in schema.inputs if "options" in one.about
    },
    "after": sorted(sys.modules),
}))
"""
OFFERED = """
asyncio.run(module.comfy_entrypoint())
print(json.dumps({"families": [family.__name__ for family in known], "folders": folders}))
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
def load(run_python: Callable[..., Any], pack: Path, strangers: Path) -> Callable[[str], Any]:
    """load(code): run code that loads the pack where `kizy` is not installed."""

    def run(code: str) -> Any:
        paths = [strangers, FAKES]
        finished = run_python(code, str(pack), isolated=True, hidden=["kizy"], path=paths)
        assert finished.returncode == 0, finished.stderr
        return finished

    return run


@pytest.fixture
def loaded(load: Callable[[str], Any]) -> dict[str, Any]:
    """What came of loading the pack, among comfy_api alone."""
    return json.loads(load(LOAD).stdout)


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


@pytest.fixture
def described(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the nodes say of themselves, in a ComfyUI that Kizy has never run in."""
    monkeypatch.setenv("KIZY_HOME", str(tmp_path / "never"))
    return json.loads(load(COMFYUI + LOAD + SCHEMAS).stdout.splitlines()[1])


def test_these_are_the_nodes(described: dict[str, Any]) -> None:
    names = ("KizyLoraByIntent", "KizyTrainLora", "KizyDetailer", "KizySave")
    assert described["nodes"] == dict.fromkeys(names, "Kizy")


def test_their_lists_show_what_comfyui_has(described: dict[str, Any]) -> None:
    choices = described["choices"]
    assert choices["KizyLoraByIntent.scope"] == ["everything", "folder: people"]
    assert choices["KizyTrainLora.base"][:2] == ["auto", "starter"]
    assert "b.safetensors" in choices["KizyTrainLora.base"]


def test_describing_them_imports_nothing_heavy(described: dict[str, Any]) -> None:
    # pydantic's models take longer than all else that the pack needs at the start.
    assert tops(described["after"]) & (HEAVY | {"pydantic", "aiohttp", "yaml"}) == set()


def test_the_starter_the_enlarger_and_trained_loras_are_offered_once(
    load: Callable[[str], Any], pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIZY_HOME", str(tmp_path / "home"))
    first, offered = map(json.loads, load(COMFYUI + LOAD + OFFERED).stdout.splitlines())
    assert offered["families"] == ["SD15", "KizyStarter"]
    weights = pack / "starter" / "weights"
    assert offered["folders"] == {
        "checkpoints": [str(weights / "checkpoints")],
        "upscale_models": [str(weights / "upscale_models")],
        "loras": [str(tmp_path / "home" / "loras")],
    }
    assert tops(first["after"]) & HEAVY == set()


def test_where_comfyui_is_another_the_pack_loads_and_says_so_in_one_sentence(
    load: Callable[[str], Any],
) -> None:
    written = load(LOAD).stderr.splitlines()
    assert [line for line in written if "Kizy's own model cannot be offered" in line]
    assert not [line for line in written if "Traceback" in line]


def test_weights_that_are_missing_are_named(load: Callable[[str], Any]) -> None:
    assert "kizy-starter.safetensors and kizy-enlarger-x4" in load(COMFYUI + LOAD).stderr


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
