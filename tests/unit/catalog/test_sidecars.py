"""What other programs left beside a LoRA file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.formats.published_facts import Facts
from kizy.catalog.formats.sidecars import MAX_SIDECAR, read_sidecars, sidecar_names

A1111 = "ink.json"
LORA_MANAGER = "ink.metadata.json"
RGTHREE = "ink.safetensors.rgthree-info.json"
CIVITAI_HELPER = "ink.civitai.info"
DESCRIPTIONS = ("ink.txt", "ink.description.txt")

VERSION: dict[str, Any] = {
    "id": 22,
    "modelId": 11,
    "name": "v2",
    "baseModel": "Pony",
    "trainedWords": ["inkstyle"],
    "model": {"name": "Ink Wash", "type": "LORA", "nsfw": False},
    "images": [{"nsfwLevel": 1, "meta": {"prompt": "a heron, inkstyle <lora:ink:0.7>"}}],
}


def read(folder: Path, **files: Any) -> Facts | None:
    """`files`: name (dots as two underscores are not needed: given by position) -> content."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)
    return read_sidecars(folder, "ink.safetensors", list(files))


def said(folder: Path, name: str, content: Any) -> Facts:
    facts = read(folder, **{name: content})
    assert facts is not None
    return facts


def test_each_program_has_its_name() -> None:
    others = ("ink.cm-info.json", "ink.swarm.json")
    names = {A1111, LORA_MANAGER, RGTHREE, CIVITAI_HELPER, *DESCRIPTIONS, *others}
    assert set(sidecar_names("ink.safetensors")) == names


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a1111s_description_is_a_text_in_any_encoding(
    tmp_path: Path, name: str, encoding: str
) -> None:
    facts = said(tmp_path, name, "Black ínk, best at weight 0.7.".encode(encoding))
    assert (facts.about, facts.weight) == ("Black ínk, best at weight 0.7.", 0.7)


def test_windows_json_in_utf_16_is_read(tmp_path: Path) -> None:
    content = json.dumps({"activation text": "inkstyle"}).encode("utf-16")
    assert said(tmp_path, A1111, content).triggers == ("inkstyle",)


def test_civitai_helper_keeps_a_version(tmp_path: Path) -> None:
    facts = said(tmp_path, CIVITAI_HELPER, VERSION)
    assert (facts.title, facts.base_model, facts.triggers) == ("Ink Wash", "Pony", ("inkstyle",))
    assert facts.examples == ("a heron, inkstyle",)


def test_lora_manager_says_name_tags_and_weight(tmp_path: Path) -> None:
    content = {
        "file_name": "ink",
        "model_name": "Ink Wash",
        "base_model": "SDXL 1.0",
        "tags": ["Style", "ink"],
        "modelDescription": "<p>Black ink.</p>",
        "notes": "mine",
        "usage_tips": '{"strength": 0.7, "strength_min": 0.5, "strength_max": 0.9}',
        "civitai": {"id": 1, "trainedWords": ["inkstyle"], "baseModel": "Illustrious"},
    }
    facts = said(tmp_path, LORA_MANAGER, content)
    assert (facts.title, facts.base_model) == ("Ink Wash", "SDXL 1.0")
    assert (facts.tags, facts.triggers) == (("style", "ink"), ("inkstyle",))
    assert (facts.weight, facts.weight_range) == (0.7, (0.5, 0.9))
    assert "Black ink." in facts.about and "mine" in facts.about


def test_of_rgthrees_words_count_those_that_are_no_tags_of_the_data_set(tmp_path: Path) -> None:
    content = {
        "name": "Ink Wash - v2",
        "baseModel": "Flux.1 D",
        "strengthMin": 0.6,
        "strengthMax": 1.0,
        "trainedWords": [
            {"word": "inkstyle", "civitai": True, "count": 9, "metadata": True},
            {"word": "my word", "user": True},
            {"word": "outdoors", "count": 30, "metadata": True},
        ],
        "images": [
            {"positive": "a heron", "nsfwLevel": 1},
            {"positive": "something else", "nsfwLevel": 16},
        ],
        "raw": {"civitai": VERSION},
    }
    facts = said(tmp_path, RGTHREE, content)
    assert facts.triggers == ("inkstyle", "my word")
    assert (facts.weight, facts.weight_range) == (0.8, (0.6, 1.0))
    assert (facts.base_model, facts.examples) == ("Flux.1 D", ("a heron",))


def test_a1111_says_what_the_person_filled_in(tmp_path: Path) -> None:
    content = {
        "description": "Black ink",
        "sd version": "SDXL",
        "activation text": "inkstyle, wash",
        "preferred weight": 0.8,
        "notes": "for birds",
    }
    facts = said(tmp_path, A1111, content)
    assert (facts.triggers, facts.weight) == (("inkstyle, wash",), 0.8)
    assert (facts.base_model, facts.about) == ("SDXL 1.0", "Black ink\nfor birds")


def test_a_preferred_weight_of_zero_is_none(tmp_path: Path) -> None:
    content = {"activation text": "x", "preferred weight": 0, "sd version": "Unknown"}
    facts = said(tmp_path, A1111, content)
    assert (facts.weight, facts.base_model) == (None, None)


def test_what_the_person_wrote_goes_before_what_others_say(tmp_path: Path) -> None:
    own = {"activation text": "my words", "preferred weight": 0.4}
    facts = read(tmp_path, **{A1111: own, CIVITAI_HELPER: VERSION})
    assert facts is not None
    assert (facts.title, facts.triggers, facts.weight) == ("Ink Wash", ("my words",), 0.4)


@pytest.mark.parametrize("name", [A1111, LORA_MANAGER, RGTHREE, CIVITAI_HELPER])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe\x00",
        b"{}",
        b'{"a":' * 50_000,
        b" " * (MAX_SIDECAR + 1),
        {"trainedWords": 3, "images": "x", "raw": [], "tags": {"a": 1}, "civitai": 7},
        {"strengthMin": 10**400, "strengthMax": 1e308, "preferred weight": -(10**400)},
        {"strengthMin": "NaN", "usage_tips": [1], "preferred weight": "much", "notes": 4},
    ],
)
def test_a_broken_sidecar_says_nothing(tmp_path: Path, name: str, content: Any) -> None:
    facts = read(tmp_path, **{name: content})
    assert facts is None or facts == Facts(title="")


def test_control_characters_and_markup_are_left_out(tmp_path: Path) -> None:
    content = {"notes": "<b>bold</b>\x1b[2J\u202e", "activation text": "in\x00k\x1b[31m"}
    facts = said(tmp_path, A1111, content)
    assert facts.triggers == ("in k [31m",)
    assert facts.about == "bold [2J"


def test_stability_matrix_is_read(tmp_path: Path) -> None:
    told = {
        "ModelName": "Ink",
        "TrainedWords": ["ink wash"],
        "Tags": ["style"],
        "BaseModel": "SDXL 1.0",
        "ModelDescription": "<p>Loose brush</p>",
        "Nsfw": True,
    }
    (tmp_path / "ink.cm-info.json").write_text(json.dumps(told))
    ink = read_sidecars(tmp_path, "ink.safetensors", ["ink.cm-info.json"])
    assert ink is not None
    assert (ink.title, ink.triggers, ink.mature) == ("Ink", ("ink wash",), True)
    assert (ink.about, ink.base_model) == ("Loose brush", "SDXL 1.0")


def test_swarm_is_read(tmp_path: Path) -> None:
    told = {
        "modelspec.title": "Wash",
        "modelspec.trigger_phrase": "wash",
        "modelspec.tags": "a, b",
        "modelspec.lora_default_weight": "0.7",
    }
    (tmp_path / "wash.swarm.json").write_text(json.dumps(told))
    wash = read_sidecars(tmp_path, "wash.safetensors", ["wash.swarm.json"])
    assert wash is not None
    assert (wash.title, wash.triggers) == ("Wash", ("wash",))
    assert (wash.tags, wash.weight) == (("a", "b"), 0.7)
