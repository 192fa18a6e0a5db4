"""`kizy models`: the list as it was, and what is found, chosen and checked."""

from __future__ import annotations

from pathlib import Path

import pytest

SD15 = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}


@pytest.fixture
def checkpoint(kizy_home: Path, write) -> Path:
    return write(kizy_home / "models" / "dreamy_v1.safetensors", SD15)


def test_the_list_needs_no_subcommand(kizy) -> None:
    assert "starter" in kizy("models").out
    (starter,) = kizy("models", "--json").json["models"]
    assert (starter["name"], starter["drawable_here"]) == ("starter", True)


def test_a_checkpoint_is_listed_with_why_it_is_not_drawn_here(kizy, checkpoint: Path) -> None:
    words = kizy("models").words
    assert "dreamy_v1 Stable Diffusion 1.5" in words and "drawn by ComfyUI" in words


@pytest.mark.parametrize("words", [["dreamy"], ["stable", "diffusion", "1.5"], ["DREAMY", "sd15"]])
def test_a_model_is_found_by_name_and_family(kizy, checkpoint: Path, words: list[str]) -> None:
    found = kizy("models", "search", *words, "--json").json["found"]
    assert [model["name"] for model in found] == ["dreamy_v1"]


def test_no_model_found_is_said(kizy) -> None:
    assert "No model here is called" in kizy("models", "search", "submarine").words


def test_the_choice_is_explained(kizy, checkpoint: Path) -> None:
    words = kizy("models", "why", "a fox sticker").words
    assert "starter (Kizy Starter, on this machine)" in words
    assert "dreamy_v1" in words and "drawn by ComfyUI" in words


def test_the_model_of_the_settings_is_said(kizy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZY_MODEL", "starter")
    assert "your settings name it" in kizy("models", "why", "a photo of a street").words
    document = kizy("models", "why", "a fox", "--json").json
    assert document["settings_model"] == document["model"]["name"] == "starter"


def test_a_model_of_the_settings_that_is_not_there_is_refused_as_when_drawing(
    kizy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIZY_MODEL", "mine")
    assert kizy("models", "why", "a fox", "--json").json["error"]["code"] == "model_unknown"


def test_a_check_tells_family_and_licence(kizy, checkpoint: Path) -> None:
    document = kizy("models", "check", checkpoint, "--json").json
    assert (document["family"], document["tensors"], document["health"]) == ("sd15", 3, "ok")
    assert "Licence" in kizy("models", "check", "dreamy_v1").words


def test_a_check_of_a_broken_model_says_why_and_fails(kizy, tmp_path: Path, write) -> None:
    path = write(tmp_path / "cut.safetensors", SD15, cut=9)
    outcome = kizy("models", "check", path)
    assert outcome.status == 1 and "9 bytes are missing" in outcome.words
    assert kizy("models", "check", path, "--json").json["health"] == "broken"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["why", ""], "prompt_empty"),
        (["search", " "], "request_invalid"),
        (["search", "x", "--family", "none"], "family_unknown"),
        (["check", "none"], "model_unknown"),
        (["check", "./none.safetensors"], "file_missing"),
        (["paint"], "request_invalid"),
    ],
)
def test_what_cannot_be_understood_is_refused(kizy, arguments: list[str], code: str) -> None:
    outcome = kizy("models", *arguments, "--json")
    assert (outcome.status, outcome.json["error"]["code"]) == (2, code)


def test_why_says_what_the_starter_was_not_taught(kizy) -> None:
    notes = kizy("models", "why", "three cats", "--json").json["notes"]
    assert any("whatever the number" in note for note in notes)


BLOCK = "a knight, ink wash\nNegative prompt: blurry\nSteps: 20, Seed: 1, Model: gone_v5"


def test_a_pasted_model_that_is_not_here_is_told_and_another_is_explained(kizy) -> None:
    document = kizy("models", "why", BLOCK, "--json").json
    assert "error" not in document
    assert any("gone_v5" in note for note in document["notes"])
