"""ComfyUI's folder, its GPUs, and what a ComfyUI that Kizy starts is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import EngineError, InputError
from kizy.orchestrator.backends.comfyui.launcher.extra_paths import PACK, quoted, write_extra_paths
from kizy.orchestrator.backends.comfyui.launcher.installation import (
    custom_nodes_folder,
    default_interpreter,
    devices,
    find_installation,
    has_kizy,
)

from tests.fakes.standin import Standin, launch


@pytest.fixture
def comfyui(tmp_path: Path) -> Standin:
    return Standin(tmp_path / "Comfy UI")


# The folder


def test_a_folder_without_main_py_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_installation(tmp_path)
    assert caught.value.code == "comfyui_folder_invalid"


def test_the_folder_around_comfyui_is_refused_with_the_right_one(tmp_path: Path) -> None:
    Standin(tmp_path / "portable" / "ComfyUI")
    with pytest.raises(InputError) as caught:
        find_installation(tmp_path / "portable")
    assert str(tmp_path / "portable" / "ComfyUI") in caught.value.fix


def test_the_version_is_read(comfyui: Standin) -> None:
    assert find_installation(comfyui.folder).version == "0.3.64"


def test_an_interpreter_that_is_not_there_is_refused(comfyui: Standin) -> None:
    with pytest.raises(EngineError) as caught:
        find_installation(comfyui.folder, comfyui.folder / "python")
    assert caught.value.code == "launch_failed"


@pytest.mark.skipif(os.name == "nt", reason="environments lie elsewhere on Windows")
@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ([".venv/bin/python", "venv/bin/python"], ".venv/bin/python"),
        (["venv/bin/python", "../python_embeded/python.exe"], "venv/bin/python"),
        (["../python_embeded/python.exe"], "../python_embeded/python.exe"),
    ],
)
def test_the_folders_own_python_is_taken(comfyui: Standin, there: list[str], taken: str) -> None:
    for name in there:
        path = comfyui.folder / name
        path.resolve().parent.mkdir(parents=True)
        path.touch()
    assert default_interpreter(comfyui.folder).samefile(comfyui.folder / taken)


def test_without_an_environment_this_python_is_taken(comfyui: Standin) -> None:
    assert default_interpreter(comfyui.folder) == Path(sys.executable)


def pack_in(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "kizy"\n')


def test_an_installed_kizy_is_seen_under_any_folder_name(tmp_path: Path) -> None:
    pack_in(tmp_path / "my-kizy")
    assert has_kizy(tmp_path)


def test_a_disabled_kizy_and_other_packs_do_not_count(tmp_path: Path) -> None:
    pack_in(tmp_path / "kizy.disabled")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").write_text("no toml = = at all")
    assert not has_kizy(tmp_path)


@pytest.mark.parametrize("words", [["--base-directory", "/b"], ["--base-directory=/b"]])
def test_packs_lie_in_the_base_directory_if_one_is_given(words: list[str]) -> None:
    assert custom_nodes_folder(Path("/c"), words) == Path("/b/custom_nodes")
    assert custom_nodes_folder(Path("/c"), []) == Path("/c/custom_nodes")


# GPUs


def asked(answers: dict[str, str | None]) -> Callable[[Any, float], str | None]:
    return lambda words, seconds: answers.get(Path(words[0]).name)


PYTHON = Path("/p/python")
TWO = {"nvidia-smi": "0\n1\n"}


@pytest.mark.parametrize(
    ("gpus", "answers", "environment", "found"),
    [
        ("auto", TWO, {}, ("cuda:0", "cuda:1")),
        ("auto", TWO, {"CUDA_VISIBLE_DEVICES": "1"}, ("cuda:1",)),
        ("auto", TWO, {"CUDA_VISIBLE_DEVICES": "GPU-12ab"}, ("cuda:GPU-12ab",)),
        ("auto", TWO, {"CUDA_VISIBLE_DEVICES": ""}, ("cpu",)),
        ("auto", {"python": "False\n"}, {}, ("cpu",)),
        ("auto", {"python": "True\n"}, {}, ("any",)),
        ("auto", {"nvidia-smi": "NVIDIA-SMI has failed\n", "python": "False"}, {}, ("cpu",)),
        ("auto", {}, {}, ("any",)),
        ("none", TWO, {}, ("cpu",)),
        ((1, 3), {}, {}, ("cuda:1", "cuda:3")),
    ],
)
def test_which_devices_get_a_process(
    gpus: Any, answers: dict[str, str | None], environment: dict[str, str], found: tuple[str, ...]
) -> None:
    assert devices(gpus, PYTHON, environment=environment, run=asked(answers)) == found


# What ComfyUI is told


def test_each_gpu_has_a_process_that_sees_it_alone(comfyui: Standin) -> None:
    environment = launch(comfyui, device="cuda:1").environment({"PATH": "p", "PYTHONPATH": "x"})
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["PATH"] == "p" and "PYTHONPATH" not in environment


def test_only_without_a_gpu_the_cpu_is_forced(comfyui: Standin) -> None:
    paths = Path("paths.yaml")
    assert "--cpu" in launch(comfyui, device="cpu").words(paths)
    assert "--cpu" not in launch(comfyui, device="cuda:0").words(paths)
    assert "--cpu" not in launch(comfyui, device="any").words(paths)
    assert launch(comfyui, arguments=("--cpu",)).words(paths).count("--cpu") == 1


def test_two_processes_share_no_folder_that_they_write_to(comfyui: Standin) -> None:
    one, two = (launch(comfyui, port=port).words(Path("p")) for port in (1, 2))
    for option in ("--output-directory", "--temp-directory", "--database-url"):
        assert one[one.index(option) + 1] != two[two.index(option) + 1]


def test_the_persons_arguments_come_last_and_win(comfyui: Standin) -> None:
    words = launch(comfyui, arguments=("--output-directory", "/o")).words(Path("p"))
    assert words[-2:] == ["--output-directory", "/o"]


@pytest.mark.parametrize(
    "text", ["plain", "a: b # c", "q\"uo'te", "C:\\new\\x", "tab\t", "Füchse 🦊", "\u2028\x7f"]
)
def test_any_path_survives_yaml(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(f"k: {quoted(text)}") == {"k": text}


def test_comfyui_gets_kizys_folders_as_its_own_reader_wants_them(kizy_home: Path) -> None:
    yaml = pytest.importorskip("yaml")
    tables = yaml.safe_load(write_extra_paths(kizy_home / "c", with_pack=True).read_text())
    assert tables == {
        "kizy": {
            "checkpoints": str(kizy_home / "models"),
            "loras": str(kizy_home / "loras"),
            "custom_nodes": str(kizy_home / "c" / "custom_nodes"),
        }
    }


def test_an_installed_pack_is_not_given_a_second_time(kizy_home: Path) -> None:
    assert "custom_nodes" not in write_extra_paths(kizy_home / "c", with_pack=False).read_text()


def test_the_written_pack_hands_over_kizy_itself(kizy_home: Path) -> None:
    write_extra_paths(kizy_home, with_pack=True)
    folder = kizy_home / "custom_nodes" / PACK
    assert [path.name for path in folder.iterdir()] == ["__init__.py"]
    code = (
        "import importlib.util, inspect, sys\n"
        f"file = {str(folder / '__init__.py')!r}\n"
        "spec = importlib.util.spec_from_file_location('a_x_b', file)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['a_x_b'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert inspect.iscoroutinefunction(module.comfy_entrypoint)\n"
        "assert not hasattr(module, 'NODE_CLASS_MAPPINGS')\n"
        "print(module.comfy_entrypoint.__module__)\n"
    )
    words = [sys.executable, "-I", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout == "a_x_b_root\n", done.stderr
