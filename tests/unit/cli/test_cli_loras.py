"""`kizy loras`: what is listed, found, chosen and checked, in words and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

XL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
FLUX = "lora_unet_double_blocks_0_img_attn_qkv"
TEXT = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture
def folder(kizy_home: Path) -> Path:
    return kizy_home / "loras"


@pytest.fixture
def ink(folder: Path, write) -> Path:
    said = {
        "modelspec.title": "Ink Wash",
        "modelspec.description": "Loose black ink drawings with washes.",
        "modelspec.trigger_phrase": "inkwash",
    }
    return write(folder / "ink.safetensors", **said)


@pytest.fixture
def pony(folder: Path, write) -> Path:
    base = {"ss_sd_model_name": "ponyDiffusionV6XL.safetensors"}
    return write(folder / "people" / "Mia_Torres.safetensors", ss_output_name="Mia_Torres", **base)


@pytest.fixture
def broken(folder: Path, write) -> Path:
    return write(folder / "cut.safetensors", cut=9)


# The list.


def test_without_any_lora_it_says_where_it_looked_and_what_to_do(kizy, folder: Path) -> None:
    outcome = kizy("loras")
    assert outcome.status == 0
    assert str(folder) in outcome.words and "kizy loras add" in outcome.words


def test_a_lora_is_listed_with_what_it_is_for_and_its_triggers(kizy, ink: Path) -> None:
    (row,) = [line for line in kizy("loras").out.splitlines() if line.startswith("Ink Wash")]
    assert "Stable Diffusion XL" in row and "inkwash" in row and " 4 " in row and "ok" in row


def test_a_fine_tune_is_named(kizy, pony: Path) -> None:
    assert "Stable Diffusion XL (Pony Diffusion)" in kizy("loras").words


def test_broken_files_are_listed_with_the_reason(kizy, ink: Path, broken: Path) -> None:
    outcome = kizy("loras")
    assert outcome.status == 0
    assert str(broken) in outcome.out and "9 bytes are missing" in outcome.words
    assert "1 LoRA," in outcome.words and "1 cannot be used" in outcome.words


def test_what_one_training_left_behind_is_one_entry_with_versions(
    kizy, folder: Path, write
) -> None:
    for end in ("", "-000010", "-000020"):
        write(folder / f"mystyle{end}.safetensors", ss_output_name="mystyle")
    lines = kizy("loras").out.splitlines()
    names = [line.split("  ")[0] if line[0] != " " else line.split("   ")[0] for line in lines[1:4]]
    assert names == ["mystyle", "  + mystyle-000020", "  + mystyle-000010"]
    (entry,) = kizy("loras", "--json").json["loras"]
    assert (entry["name"], entry["versions"]) == ("mystyle", ["mystyle-000020", "mystyle-000010"])
    (found,) = kizy("loras", "search", "mystyle", "--json").json["found"]
    assert (found["name"], found["versions"]) == ("mystyle", entry["versions"])
    assert "1 LoRA," in kizy("loras").words


def test_a_check_takes_a_name_by_the_same_rule(kizy, folder: Path, write) -> None:
    for name in ("same", "folder/same", "A/dup", "B/dup"):
        write(folder / f"{name}.safetensors")
    for name in ("same", "folder/same", "A/dup"):
        document = kizy("loras", "check", name, "--json").json
        assert document["path"] == str(folder / f"{name}.safetensors")
    refused = kizy("loras", "check", "dup")
    assert refused.status == 2 and "A/dup, B/dup" in refused.words


@pytest.mark.parametrize(
    ("family", "names"), [("sdxl", ["Ink Wash", "Mia_Torres"]), ("Pony", ["Mia_Torres"])]
)
def test_the_list_may_be_of_one_family_or_fine_tune(
    kizy, ink: Path, pony: Path, family: str, names: list[str]
) -> None:
    document = kizy("loras", "--family", family, "--json").json
    assert sorted(lora["name"] for lora in document["loras"]) == names


def test_a_family_that_nobody_knows_is_refused_with_the_nearest(kizy) -> None:
    outcome = kizy("loras", "--family", "ilustrious")
    assert outcome.status == 2
    assert "family_unknown" in outcome.err and 'Did you mean "illustrious"?' in outcome.words


def test_the_list_in_json_tells_everything(kizy, ink: Path, broken: Path) -> None:
    document = kizy("loras", "--json").json
    by_path = {lora["path"]: lora for lora in document["loras"]}
    good, bad = by_path[str(ink)], by_path[str(broken)]
    assert (good["family"], good["rank"], good["triggers"]) == ("sdxl", 4, ["inkwash"])
    assert (good["health"], good["problem"]) == ("ok", None)
    assert bad["health"] == "damaged" and "9 bytes" in bad["problem"]


def test_names_are_shown_as_text(kizy, folder: Path, write) -> None:
    said = {"modelspec.title": "[bold]Red[/] \x1b[31mred\u202e", "modelspec.description": "x"}
    write(folder / "a\x9b31m.safetensors", **said)
    for command in (["loras"], ["loras", "search", "red"], ["loras", "check", "a\x9b31m"]):
        out = kizy(*command).out
        assert "[bold]Red[/]" in out
        assert not {"\x1b", "\x9b", "\u202e"} & set(out)


def test_a_folder_of_the_settings_is_listed_too(
    kizy, kizy_home: Path, write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIZY_LORAS__FOLDERS", str(kizy_home / "more"))
    write(kizy_home / "more" / "extra.safetensors")
    assert "extra" in kizy("loras").out


# The search.


@pytest.mark.parametrize("words", [["ink", "drawing"], ["INKW"], ["black ink"], ["sumi-e"]])
def test_a_lora_is_found_by_words_and_by_part_of_a_name(kizy, ink: Path, pony, words) -> None:
    found = kizy("loras", "search", *words, "--json").json["found"]
    assert [hit["name"] for hit in found][:1] == ["Ink Wash"]


def test_what_matched_is_said(kizy, ink: Path) -> None:
    words = kizy("loras", "search", "ink").words
    assert "Ink Wash (Stable Diffusion XL)" in words and "ink" in words


def test_nothing_found_is_said(kizy, ink: Path) -> None:
    outcome = kizy("loras", "search", "submarine")
    assert outcome.status == 0 and "No LoRA here is about" in outcome.words


def test_a_broken_file_is_found_with_its_reason(kizy, broken: Path) -> None:
    (hit,) = kizy("loras", "search", "cut", "--json").json["found"]
    assert "9 bytes are missing" in hit["why"]


def test_the_search_may_be_of_one_fine_tune(kizy, ink: Path, pony: Path) -> None:
    found = kizy("loras", "search", "ink", "--family", "pony", "--json").json["found"]
    assert found == []


def test_adult_loras_are_not_found_while_they_are_off(kizy, ink: Path, monkeypatch) -> None:
    told = {"id": 1, "model": {"name": "Ink Wash", "type": "LORA", "nsfw": True}}
    ink.with_name("ink.civitai.info").write_text(json.dumps(told))
    assert "1 adult LoRA not shown" in kizy("loras", "search", "ink").words
    monkeypatch.setenv("KIZY_LORAS__ADULT", "true")
    assert "Ink Wash" in kizy("loras", "search", "ink").out


# The choice.


def test_the_choice_is_explained(kizy, ink: Path) -> None:
    words = kizy("loras", "why", "a knight, ink wash", "--family", "sdxl").words
    assert "Ink Wash (strength 0.8)" in words
    assert "Adds to your prompt: inkwash" in words
    assert "Its author says" in words


def test_no_choice_is_explained(kizy, ink: Path) -> None:
    words = kizy("loras", "why", "a submarine", "--family", "sdxl").words
    assert "No LoRA is used" in words and "about what you asked for" in words


def test_the_choice_in_json(kizy, ink: Path) -> None:
    document = kizy("loras", "why", "a knight, ink wash", "--family", "sdxl", "--json").json
    (picked,) = document["picked"]
    assert (picked["name"], picked["model_weight"], picked["inserted"]) == (
        "Ink Wash",
        0.8,
        ["inkwash"],
    )
    assert document["by_words_only"] and document["why_none"] is None


def test_the_model_is_the_one_that_would_draw_and_loras_for_others_are_told(
    kizy, ink: Path
) -> None:
    document = kizy("loras", "why", "a knight, ink wash", "--json").json
    assert document["family"] == "starter" and document["picked"] == []
    assert 'with "starter"' in document["because"] and "--family sdxl" in document["because"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--max", "0"], []),
        (["--folder", "people"], []),
        (["--tag", "nothing"], []),
        (["--max", "1"], ["Ink Wash"]),
    ],
)
def test_the_choice_keeps_to_its_scope(kizy, ink: Path, options: list[str], names) -> None:
    call = ["loras", "why", "a knight, ink wash", "--family", "sdxl", "--json", *options]
    assert [picked["name"] for picked in kizy(*call).json["picked"]] == names


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["why", " "], "prompt_empty"),
        (["why", "a fox", "--model", "none"], "model_unknown"),
        (["why", "a fox", "--family", "none"], "family_unknown"),
        (["why", "a fox", "--family", "sdxl", "--model", "starter"], "request_invalid"),
        (["why", "a fox", "--max", "-1"], "request_invalid"),
        (["search", " "], "request_invalid"),
        (["search"], "request_invalid"),
        (["check", "nothing.safetensors"], "file_missing"),
        (["check", "nothing"], "lora_unknown"),
        (["paint"], "request_invalid"),
    ],
)
def test_what_cannot_be_understood_is_refused(kizy, arguments: list[str], code: str) -> None:
    outcome = kizy("loras", *arguments, "--json")
    assert outcome.status == 2
    assert outcome.json["error"]["code"] == code


# The check.


def test_a_check_tells_what_the_header_says(kizy, folder: Path, write) -> None:
    shapes = {
        f"{XL}.lora_down.weight": (8, 2048),
        f"{XL}.lora_up.weight": (640, 8),
        f"{TEXT}.lora_down.weight": (8, 768),
        f"{TEXT}.lora_up.weight": (3072, 8),
    }
    path = write(folder / "a.safetensors", shapes, ss_network_alpha="4")
    document = kizy("loras", "check", path, "--json").json
    assert (document["family"], document["rank"], document["alpha"]) == ("sdxl", 8, 4.0)
    assert (document["tensors"], document["modules"], document["text_encoder"]) == (4, 2, True)
    words = kizy("loras", "check", "a").words
    assert "1 module of the model and 1 of its text encoders" in words


def test_a_check_of_a_broken_file_says_why_and_fails(kizy, broken: Path) -> None:
    outcome = kizy("loras", "check", broken)
    assert outcome.status == 1 and "9 bytes are missing" in outcome.words
    assert kizy("loras", "check", broken, "--json").json["health"] == "damaged"


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_a_pickle_is_no_healthy_lora(kizy, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x80\x02}q\x00." + bytes(20))
    outcome = kizy("loras", "check", path)
    assert outcome.status == 1 and "pickled" in outcome.words


def test_what_is_no_lora_is_named(kizy, tmp_path: Path, write) -> None:
    path = write(tmp_path / "vae.safetensors", {"decoder.conv_in.weight": (4, 4, 3, 3)})
    outcome = kizy("loras", "check", path)
    assert outcome.status == 1 and "it is a VAE" in outcome.words


def test_help_says_what_each_command_does(kizy) -> None:
    out = kizy("loras", "--help").out
    assert all(word in out for word in ("search", "why", "add", "check"))


BLOCK = "a knight, ink wash\nNegative prompt: blurry\nSteps: 20, Seed: 1, Model: gone_v5"


def test_a_pasted_model_that_is_not_here_is_told_and_loras_are_chosen(kizy, ink: Path) -> None:
    document = kizy("loras", "why", BLOCK, "--json").json
    assert "error" not in document
    assert any("gone_v5" in note for note in document["notices"])
