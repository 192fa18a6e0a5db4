from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.formats.diffusers_folder import check_model_folder
from kizy.catalog.index.models import find_model, list_models, look_through
from kizy.core.errors import KizyError, ModelFileError, UnknownNameError

SD15_CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}


def change_index(folder: Path, **changes: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def code_of(folder: Path) -> str:
    with pytest.raises(KizyError) as caught:
        check_model_folder(folder)
    return caught.value.code


@pytest.fixture
def folder(tmp_path: Path, write_diffusers) -> Path:
    return write_diffusers(tmp_path / "my-model")


def test_without_a_folder_only_the_starter_is_listed(home: Path) -> None:
    (starter,) = list_models()
    assert (starter.name, starter.kind, starter.drawable_here) == ("starter", "builtin", True)


def test_a_diffusers_folder_is_listed_below_its_subfolder(home: Path, write_diffusers) -> None:
    write_diffusers(home / "models" / "photo" / "Real")
    entry = list_models()[1]
    assert (entry.name, entry.family, entry.kind) == ("photo/Real", "sd15", "diffusers")
    assert entry.drawable_here
    assert entry.size > 0


def test_a_broken_folder_is_listed_with_its_problem(home: Path, write_diffusers) -> None:
    broken = write_diffusers(home / "models" / "broken")
    (broken / "model_index.json").write_text("{")
    entry = list_models()[1]
    assert not entry.drawable_here
    assert "model_index.json" in (entry.problem or "")


def test_a_checkpoint_is_listed_but_not_drawable_here(home: Path, write_tensors) -> None:
    write_tensors(home / "models" / "dream.safetensors", SD15_CHECKPOINT)
    entry = list_models()[1]
    assert (entry.name, entry.family, entry.kind) == ("dream", "sd15", "checkpoint")
    assert not entry.drawable_here
    assert "ComfyUI" in (entry.problem or "")


def test_a_pickled_checkpoint_is_listed_with_its_problem(home: Path) -> None:
    (home / "models").mkdir(parents=True)
    (home / "models" / "old.ckpt").write_bytes(b"PK")
    assert "pickled" in (list_models()[1].problem or "")


@pytest.mark.parametrize("name", ["starter", " Starter "])
def test_the_starter_is_found_by_name(name: str, home: Path) -> None:
    assert find_model(name).kind == "builtin"


def test_a_model_is_found_by_name_in_any_case(home: Path, write_diffusers) -> None:
    path = write_diffusers(home / "models" / "Real")
    assert find_model("real").path == path


def test_a_model_is_found_by_its_folder(folder: Path, home: Path) -> None:
    entry = find_model(str(folder))
    assert (entry.name, entry.family, entry.path) == ("my-model", "sd15", folder)


def test_a_checkpoint_is_found_by_path_but_not_drawable_here(
    tmp_path: Path, home: Path, write_tensors
) -> None:
    path = write_tensors(tmp_path / "dream.safetensors", SD15_CHECKPOINT)
    assert not find_model(str(path)).drawable_here


def test_a_pickled_checkpoint_is_refused(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "old.ckpt"
    path.write_bytes(b"anything")
    with pytest.raises(ModelFileError) as caught:
        find_model(str(path))
    assert caught.value.code == "model_file_pickled"


def test_an_unknown_model_is_answered_with_the_nearest(home: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r'called "startr". Did you mean "starter"'
    ) as caught:
        find_model("startr")
    assert caught.value.code == "model_unknown"


def test_a_path_to_nothing_is_missing(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_model(str(tmp_path / "nothing"))
    assert caught.value.code == "file_missing"


@pytest.mark.parametrize("name", ["\0", "x" * 5000, "stabilityai/sdxl"])
def test_a_strange_name_is_unknown(name: str, home: Path) -> None:
    with pytest.raises(UnknownNameError):
        find_model(name)


def test_a_whole_folder_is_of_its_family(folder: Path) -> None:
    assert check_model_folder(folder).id == "sd15"


def test_a_folder_without_an_index_is_no_model(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "model_folder_invalid"


def test_a_missing_folder_is_missing(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nothing") == "file_missing"


def test_a_unet_of_another_width_is_no_model_to_draw(tmp_path: Path, write_diffusers) -> None:
    assert code_of(write_diffusers(tmp_path / "sd2", width=1024)) == "model_folder_invalid"


@pytest.mark.parametrize("name", ["FluxPipeline", "../x", ["pipeline", "Mine"], None])
def test_another_pipeline_is_no_model_to_draw(name: Any, folder: Path) -> None:
    change_index(folder, _class_name=name)
    assert code_of(folder) == "model_folder_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"../../elsewhere": ["diffusers", "UNet2DConditionModel"]},
        {"/etc": ["diffusers", "AutoencoderKL"]},
        {"vae": ["../evil", "AutoencoderKL"]},
        {"vae": ["evil", "AutoencoderKL"]},
        {"vae": ["diffusers", "../AutoencoderKL"]},
        {"vae": ["diffusers"]},
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(changes: dict[str, Any], folder: Path) -> None:
    change_index(folder, **changes)
    assert code_of(folder) == "model_folder_invalid"


@pytest.mark.parametrize("text", ["[]", "{", '{"a":' * 100_000, "\xff"])
def test_an_index_that_is_no_json_object_is_refused(text: str, folder: Path) -> None:
    (folder / "model_index.json").write_text(text, encoding="latin-1")
    assert code_of(folder) == "model_folder_invalid"


@pytest.mark.parametrize("component", ["vae", "text_encoder"])
def test_a_component_without_weights_is_refused(component: str, folder: Path) -> None:
    next((folder / component).glob("*.safetensors")).unlink()
    assert code_of(folder) == "model_folder_invalid"


@pytest.mark.parametrize("component", ["vae", "tokenizer"])
def test_a_component_that_the_index_lacks_is_refused(component: str, folder: Path) -> None:
    change_index(folder, **{component: [None, None]})
    assert code_of(folder) == "model_folder_invalid"


def test_weights_only_as_pickles_are_refused(folder: Path) -> None:
    next((folder / "vae").glob("*.safetensors")).unlink()
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"PK")
    assert code_of(folder) == "model_file_pickled"


def test_weights_cut_short_are_damaged(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    assert code_of(folder) == "model_file_damaged"


@pytest.mark.parametrize("suffix", ["index.json", "index.fp16.json"])
@pytest.mark.parametrize("shard", ["model-2-of-2.safetensors", "../../x.safetensors", "x.bin"])
def test_a_shard_that_is_missing_or_elsewhere_is_refused(
    shard: str, suffix: str, folder: Path
) -> None:
    index = folder / "unet" / f"diffusion_pytorch_model.safetensors.{suffix}"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    assert code_of(folder) == "model_folder_invalid"


def test_a_model_in_many_folders_is_listed(home: Path, write_diffusers) -> None:
    write_diffusers(home / "models" / "a" / "b" / "c" / "d" / "tiny")
    assert "a/b/c/d/tiny" in [entry.name for entry in list_models()]


def test_what_the_look_at_models_passes_over_is_told(home: Path) -> None:
    deep = (home / "models").joinpath(*(str(level) for level in range(18)))
    deep.mkdir(parents=True)
    (home / "models" / "gone").symlink_to(home / "nothing")
    (home / "models" / "loop").symlink_to(home / "models")
    deeper, dead = look_through().notes
    assert deeper.startswith("1 folder deeper than 16 levels")
    assert str(home / "models" / "gone") in dead
