"""`kizy models`: the list as it was, and what is found, chosen and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from kizy.catalog.models import ModelEntry
from kizy.core.errors import EngineError
from kizy.orchestrator.engines.comfy.address import Address
from kizy.orchestrator.engines.comfy.models import entry, family_of
from kizy.orchestrator.models_here import HERE, ModelsHere, ServerModels, models_here
from kizy.orchestrator.settings import Settings

SD15 = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
STUDIO = Address("studio", "http://127.0.0.1:9")


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
    monkeypatch.setenv("KIZY_MODEL", "mine")
    assert 'your settings name the model "mine"' in kizy("models", "why", "a fox").words
    assert kizy("models", "why", "a fox", "--json").json["settings_model"] == "mine"


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


# With servers.


def server(*names: str, gigabytes: float | None = 24) -> ServerModels:
    entries = tuple(entry(name, family_of(name)) for name in names)
    memory = int(gigabytes * 1e9) if gigabytes is not None else None
    return ServerModels("studio", entries, memory)


def here(answer: ServerModels | EngineError, engine: str = "auto") -> ModelsHere:
    def ask(_address: Address) -> ServerModels:
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def find(_settings: Settings) -> Sequence[Address]:
        return [STUDIO]

    settings = Settings.model_validate({"engine": engine})
    return models_here(settings, ask=ask, find=find, memory=lambda: 8.0)


def chosen(models: ModelsHere, prompt: str) -> tuple[str, str]:
    """(name, where) of the model for a prompt."""
    found = models.choose(prompt)
    assert found.choice.model is not None
    return found.choice.model.name, found.models[found.choice.model.key].where


def test_a_servers_model_comes_before_those_of_this_machine() -> None:
    models = here(server("sd_xl_base_1.0.safetensors"))
    assert chosen(models, "a photo of a street") == ("sd_xl_base_1.0.safetensors", "studio")


def test_a_server_whose_memory_is_too_small_leaves_it_to_this_machine() -> None:
    models = here(server("flux1-dev.safetensors", gigabytes=4))
    assert chosen(models, "a fox sticker") == ("starter", HERE)
    reasons = [why for card, why in models.choose("a fox").choice.runners_up]
    assert any("GB of GPU memory" in why for why in reasons)


def test_a_server_that_does_not_answer_is_noted() -> None:
    models = here(EngineError("server_unreachable", "It does not answer."))
    assert models.notes == ("studio was not asked: It does not answer.",)
    assert chosen(models, "a fox") == ("starter", HERE)


def test_the_engine_of_the_settings_decides_whose_models_count(checkpoint: Path) -> None:
    answer = server("sd_xl_base_1.0.safetensors")
    assert {model.where for model in here(answer, "comfyui").all} == {"studio"}
    assert {model.where for model in here(answer, "embedded").all} == {HERE}


def test_a_checkpoint_that_a_server_has_is_named_once(checkpoint: Path) -> None:
    models = here(server("dreamy_v1.safetensors"))
    same = [model for model in models.all if "dreamy" in model.entry.name]
    assert [model.where for model in same] == ["studio"]
    assert isinstance(same[0].entry, ModelEntry)
