from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from kizy.catalog.index.loras import file_sha256, find_lora, list_loras, triggers
from kizy.core.errors import ModelFileError, UnknownNameError

MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
SD15 = {f"{MODULE}.lora_down.weight": (8, 768), f"{MODULE}.lora_up.weight": (320, 8)}


@pytest.fixture
def loras(home: Path, write_tensors) -> Path:
    """Three LoRAs: one whole, one in a subfolder, one cut short."""
    folder = home / "loras"
    write_tensors(folder / "Ink.safetensors", SD15, {"modelspec.trigger_phrase": "inkstyle"})
    write_tensors(folder / "people" / "mia.safetensors", SD15)
    broken = write_tensors(folder / "broken.safetensors", SD15)
    broken.write_bytes(broken.read_bytes()[:-1])
    return folder


def test_a_listing_has_every_file_by_name(loras: Path) -> None:
    assert [entry.name for entry in list_loras()] == ["broken", "Ink", "mia"]


def test_a_listing_gives_family_rank_and_triggers(loras: Path) -> None:
    ink = list_loras()[1]
    assert (ink.family, ink.rank, ink.triggers, ink.problem) == ("sd15", 8, ("inkstyle",), None)


def test_a_broken_file_is_listed_with_its_problem(loras: Path) -> None:
    problem = list_loras()[0].problem
    assert problem is not None
    assert "cut short" in problem


def test_without_a_folder_the_listing_is_empty(home: Path) -> None:
    assert list_loras() == []


def test_a_file_name_that_is_no_unicode_is_listed(home: Path, write_tensors) -> None:
    try:
        write_tensors(home / "loras" / os.fsdecode(b"caf\xe9.safetensors"), SD15)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert [entry.name for entry in list_loras()] == ["caf?"]


@pytest.mark.parametrize("name", ["ink", "INK", "Ink.safetensors"])
def test_a_lora_is_found_by_name_in_any_case(name: str, loras: Path) -> None:
    assert find_lora(name).path == loras / "Ink.safetensors"


def test_a_lora_is_found_by_path(tmp_path: Path, home: Path, write_tensors) -> None:
    path = write_tensors(tmp_path / "elsewhere.safetensors", SD15)
    assert find_lora(str(path)).name == "elsewhere"


def test_an_unknown_lora_is_answered_with_the_nearest(loras: Path) -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "mia"') as caught:
        find_lora("mya")
    assert caught.value.code == "lora_unknown"


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "../../etc/passwd"])
def test_a_strange_name_is_unknown(name: str, loras: Path) -> None:
    with pytest.raises(UnknownNameError):
        find_lora(name)


def test_a_broken_lora_is_refused_when_it_is_picked(loras: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        find_lora("broken")
    assert caught.value.code == "model_file_damaged"


def test_a_pickled_lora_is_refused_when_it_is_picked(loras: Path) -> None:
    (loras / "old.pt").write_bytes(b"\x80\x02")
    with pytest.raises(ModelFileError) as caught:
        find_lora("old")
    assert caught.value.code == "model_file_pickled"


def test_a_file_without_lora_tensors_is_refused(tmp_path: Path, home: Path, write_tensors) -> None:
    path = write_tensors(tmp_path / "vae.safetensors", {"decoder.weight": (2, 2)})
    with pytest.raises(ModelFileError, match="holds no LoRA"):
        find_lora(str(path))


def test_several_triggers_are_parted_at_the_commas() -> None:
    assert triggers({"modelspec.trigger_phrase": "a cat, tabby,, a cat "}) == ("a cat", "tabby")


def test_a_trigger_loses_control_characters_and_length() -> None:
    said = "in\x1b[31mk\n\u202estyle" + "x" * 500
    (trigger,) = triggers({"modelspec.trigger_phrase": said})
    assert trigger.startswith("in [31mk style")
    assert len(trigger) == 100


def test_a_dominating_tag_is_the_trigger() -> None:
    tags = {"10_mia": {"mia": 20, "smiling": 7}, "5_mia": {"mia": 10, "hat": 2}}
    assert triggers({"ss_tag_frequency": json.dumps(tags)}) == ("mia",)


def test_a_tag_that_does_not_dominate_is_no_trigger() -> None:
    tags = {"10_x": {"solo": 20, "outdoors": 18}}
    assert triggers({"ss_tag_frequency": json.dumps(tags)}) == ()


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 1}', '{"a": {"b": "c"}}', "[" * 100_000])
def test_wrong_tag_counts_give_no_trigger(text: str) -> None:
    assert triggers({"ss_tag_frequency": text}) == ()


def test_the_sha256_is_that_of_the_whole_file(loras: Path) -> None:
    path = loras / "Ink.safetensors"
    assert find_lora("ink").sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_sha256_follows_a_change_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = file_sha256(path)
    path.write_bytes(b"three")
    assert file_sha256(path) != before
