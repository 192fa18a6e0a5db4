"""Where LoRA files lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from kizy.catalog.index.folders import comfyui_lora_folders, extra_paths, lora_folders


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_kizys_own_folder_comes_first(home: Path, tmp_path: Path) -> None:
    found = lora_folders(comfyui=tmp_path / "comfy", a1111=tmp_path / "webui")
    assert [(f.origin, f.path) for f in found] == [
        ("kizy", home / "loras"),
        ("comfyui", tmp_path / "comfy" / "models" / "loras"),
        ("a1111", tmp_path / "webui" / "models" / "Lora"),
        ("a1111", tmp_path / "webui" / "models" / "LyCORIS"),
    ]


def test_a_folder_that_is_named_twice_is_listed_once(home: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = lora_folders(more=[tmp_path / "real", tmp_path / "link", home / "loras"])
    assert [f.path for f in found] == [home / "loras", tmp_path / "real"]


def test_extra_paths_may_be_several_lines_and_a_default(tmp_path: Path) -> None:
    config = """
    a111:
        base_path: webui/
        checkpoints: models/Stable-diffusion
        loras: |
             models/Lora
             models/LyCORIS
    mine:
        is_default: true
        base_path: /data/models
        loras: loras
    nothing:
    """
    file = write(tmp_path / "comfy" / "extra_model_paths.yaml", config)
    assert extra_paths(file, "loras") == (
        (tmp_path / "comfy" / "webui" / "models" / "Lora", False),
        (tmp_path / "comfy" / "webui" / "models" / "LyCORIS", False),
        (Path("/data/models/loras"), True),
    )
    assert comfyui_lora_folders(tmp_path / "comfy") == (
        Path("/data/models/loras"),
        tmp_path / "comfy" / "models" / "loras",
        tmp_path / "comfy" / "webui" / "models" / "Lora",
        tmp_path / "comfy" / "webui" / "models" / "LyCORIS",
    )


def test_home_and_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path / "m"))
    monkeypatch.setenv("HOME", str(tmp_path / "h"))
    file = write(
        tmp_path / "a.yaml", "a: {base_path: $MODELS, loras: x}\nb: {base_path: ~, loras: y}"
    )
    assert extra_paths(file, "loras") == ((tmp_path / "m" / "x", False), (tmp_path / "y", False))
    file = write(tmp_path / "b.yaml", 'b: {base_path: "~/z", loras: y}\nc: {base_path: "~nobody9"}')
    assert extra_paths(file, "loras") == ((tmp_path / "h" / "z" / "y", False),)


def test_without_a_base_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "a:\n  loras: ../loras\n")
    assert extra_paths(file, "loras") == ((tmp_path.parent / "loras", False),)


def test_the_arguments_of_comfyui_count(tmp_path: Path) -> None:
    extra = write(tmp_path / "extra.yaml", "a: {base_path: /data, loras: l}")
    arguments = ("--base-directory", "/base", f"--extra-model-paths-config={extra}", "--lowvram")
    assert comfyui_lora_folders(tmp_path / "comfy", arguments) == (
        Path("/base/models/loras"),
        Path("/data/l"),
    )


@pytest.mark.parametrize(
    "text",
    ["", "[", "- a\n- b", "a: 3", "a: {loras: 7}", "a: {base_path: 5, loras: [x]}", "a: !!py/x 1"],
)  # fmt: skip
def test_a_broken_file_names_no_folders(tmp_path: Path, text: str) -> None:
    assert extra_paths(write(tmp_path / "a.yaml", text), "loras") == ()


def test_a_missing_file_names_no_folders(tmp_path: Path) -> None:
    assert extra_paths(tmp_path / "a.yaml", "loras") == ()
