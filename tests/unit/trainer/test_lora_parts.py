"""Names, metadata and publishing of a finished LoRA, and what the catalog reads from it."""

from __future__ import annotations

import base64
import io
import json
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from kizy.catalog.index.folders import LoraFolder
from kizy.catalog.index.lora_index import Index
from kizy.catalog.index.loras import read_lora
from kizy.core.errors import ModelFileError
from kizy.core.home import loras_folder
from kizy.trainer import dataset
from kizy.trainer.best import Best, Check
from kizy.trainer.lora_file import (
    Pair,
    check,
    hash_of,
    kohya_module,
    kohya_tensors,
    read,
    tensor_hash,
    write,
)
from kizy.trainer.metadata import Facts, metadata
from kizy.trainer.publish import NOTE, RESULT, publish
from PIL import Image

from tests.unit.trainer.run_builders import run_folder, training_plan

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"


def starter_lora(rank: int = 4, alpha: float = 2.0) -> dict[str, torch.Tensor]:
    pair = Pair(down=torch.ones(rank, 384), up=torch.ones(64, rank))
    return kohya_tensors({("unet", ATTENTION): pair}, "starter", alpha, torch.float32)


def facts(tensors: dict[str, torch.Tensor]) -> Facts:
    return Facts(
        started="2026-01-02T03:04:05+00:00",
        hash=hash_of(tensors),
        modules=1,
        best=Best(4, "the last one"),
        checks=[Check(2, 0.5), Check(4, 0.4)],
        thumbnail=Image.new("RGB", (512, 512), "red"),
    )


def finished(tmp_path: Path, **changes) -> tuple[Path, dict[str, str]]:
    """A finished LoRA for the starter in a run's folder, and what it says."""
    plan = training_plan(None, **changes)
    folder = run_folder(tmp_path / "run", plan)
    tensors = starter_lora()
    said = metadata(plan, dataset.load(folder), facts(tensors))
    write(folder / RESULT, tensors, said)
    return folder, said


@pytest.mark.parametrize(
    ("part", "module", "family", "name"),
    [
        (
            "unet",
            "mid_block.attentions.0.proj_in",
            "sd15",
            "lora_unet_mid_block_attentions_0_proj_in",
        ),
        ("unet", "mid_block.attentions.0.proj_in", "sdxl", "lora_unet_middle_block_1_proj_in"),
        (
            "text_encoder",
            "text_model.encoder.layers.0.mlp.fc1",
            "sd15",
            "lora_te_text_model_encoder_layers_0_mlp_fc1",
        ),
        (
            "text_encoder_2",
            "encoder.layers.31.self_attn.q_proj",
            "sdxl",
            "lora_te2_text_model_encoder_layers_31_self_attn_q_proj",
        ),
    ],
)
def test_modules_are_named_as_kohya_names_them(part, module: str, family: str, name: str) -> None:
    assert kohya_module(part, module, family) == name


def test_a_key_without_a_place_in_the_base_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    write(path, starter_lora(), {})
    name = kohya_module("unet", ATTENTION, "starter")
    assert check(path, {name: torch.zeros(64, 384)}, "starter") == 1
    with pytest.raises(ModelFileError):
        check(path, {name: torch.zeros(64, 768)}, "starter")


def test_the_hash_is_of_the_weights_whatever_is_said_of_them(tmp_path: Path) -> None:
    tensors = starter_lora()
    found = set()
    for index, said in enumerate(({}, {"modelspec.title": "Mimi"})):
        write(tmp_path / f"{index}.safetensors", tensors, said)
        found.add(tensor_hash((tmp_path / f"{index}.safetensors").read_bytes()))
    assert found == {hash_of(tensors)}


def test_every_kind_of_number_comes_back_as_it_was(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    tensors = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    tensors |= {"one": torch.tensor(0.5), "none": torch.zeros(0, 4), "turned": torch.rand(3, 5).T}
    write(tmp_path / "a.safetensors", tensors, {"title": "Mïmi"})
    found, said = read(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys() and said == {"title": "Mïmi"}
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value)


def test_writing_holds_no_second_copy(tmp_path: Path) -> None:
    tensors = {name: torch.rand(1000, 1000) for name in "ab"}
    tracemalloc.start()
    try:
        write(tmp_path / "a.safetensors", tensors, {})
        hash_of(tensors)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_the_catalog_reads_name_triggers_kind_weight_and_description(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path)
    path = publish(folder, training_plan(None))
    index = Index(tmp_path / "catalog.sqlite")
    index.scan([LoraFolder(loras_folder(), "kizy")])
    (card,) = index.cards()
    assert (card.name, card.family, card.kind) == ("Mimi the cat", "starter", "subject")
    assert (card.triggers, card.weight, card.source) == (("mimicat",), 0.8, "kizy")
    assert card.about == "A grey cat with a red collar."
    entry = read_lora(path)
    assert (entry.rank, entry.alpha) == (4, 2.0)


@pytest.mark.parametrize(("goal", "kind"), [("style", "style"), ("object", "subject")])
def test_the_goal_is_the_cards_kind(tmp_path: Path, goal: str, kind: str) -> None:
    folder, _ = finished(tmp_path, goal=goal)
    publish(folder, training_plan(None, goal=goal))
    index = Index(tmp_path / "catalog.sqlite")
    index.scan([LoraFolder(loras_folder(), "kizy")])
    assert index.cards()[0].kind == kind


def test_tools_find_what_they_look_for(tmp_path: Path) -> None:
    _, said = finished(tmp_path)
    assert said["ss_network_module"] == "networks.lora"
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("4", "2")
    assert said["ss_base_model_version"] == "kizy-starter"
    assert json.loads(said["ss_tag_frequency"])["2_mimicat"]["mimicat"] == 3
    assert json.loads(said["ss_dataset_dirs"])["2_mimicat"] == {"n_repeats": 2, "img_count": 3}
    sizes = [b["resolution"] for b in json.loads(said["ss_bucket_info"])["buckets"].values()]
    assert sizes == [[64, 64], [96, 32]]
    assert said["modelspec.architecture"] == "kizy-starter/lora"
    assert said["modelspec.trigger_phrase"] == "mimicat"
    assert said["modelspec.hash_sha256"] == "0x" + hash_of(starter_lora())
    assert all(isinstance(value, str) for value in said.values())


def test_the_thumbnail_is_a_small_jpeg(tmp_path: Path) -> None:
    _, said = finished(tmp_path)
    head, _, data = said["modelspec.thumbnail"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert (picture.format, max(picture.size)) == ("JPEG", 256)


def test_no_path_of_this_machine_is_in_the_file(tmp_path: Path) -> None:
    folder, said = finished(tmp_path)
    assert str(tmp_path) not in json.dumps(said)
    assert "0001.png" not in json.dumps(said)
    assert folder.exists()


def test_another_file_of_that_name_is_never_overwritten(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path)
    loras_folder().mkdir(parents=True)
    for name in ("mimi-the-cat", "mimi-the-cat-2"):
        (loras_folder() / f"{name}.safetensors").write_bytes(b"of somebody else")
    assert publish(folder, training_plan(None)).name == "mimi-the-cat-3.safetensors"
    assert (loras_folder() / "mimi-the-cat.safetensors").read_bytes() == b"of somebody else"


def test_publishing_twice_leaves_one_file(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path)
    plan = training_plan(None)
    assert publish(folder, plan) == publish(folder, plan)
    write(folder / RESULT, starter_lora(alpha=1.0), {})
    path = publish(folder, plan)
    assert [p.name for p in loras_folder().iterdir()] == ["mimi-the-cat.safetensors"]
    assert path.read_bytes() == (folder / RESULT).read_bytes()


def test_what_somebody_changed_since_is_left_alone(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path)
    plan = training_plan(None)
    publish(folder, plan).write_bytes(b"changed by hand")
    assert publish(folder, plan).name == "mimi-the-cat-2.safetensors"


def test_killed_before_its_note_it_is_not_published_twice(tmp_path: Path) -> None:
    folder, _ = finished(tmp_path)
    plan = training_plan(None)
    path = publish(folder, plan)
    (folder / NOTE).unlink()
    assert publish(folder, plan) == path
    assert [file.name for file in loras_folder().glob("*.safetensors")] == [path.name]


def test_nothing_half_written_is_left_when_writing_fails(tmp_path: Path) -> None:
    without_values = torch.empty(4, device="meta")
    with pytest.raises(NotImplementedError):
        write(tmp_path / "lora.safetensors", starter_lora() | {"z": without_values}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(struct.pack("<Q", 100) + b"{}")
    with pytest.raises(ModelFileError):
        read(path)
