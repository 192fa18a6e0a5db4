"""`kizy loras add` and `kizy models add`: from files, and from stand-ins for the services."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kizy.catalog.downloads.civitai import Civitai
from kizy.catalog.downloads.hub import Caller, Hub
from kizy.core.errors import KizyError
from kizy.orchestrator.cli import add as page
from kizy.orchestrator.settings import load_settings
from kizy.orchestrator.shelf import Shelf

from tests.fakes.model_hub import FakeModelHub
from tests.fakes.model_hub_answers import SD15_CHECKPOINT, SDXL_LORA, safetensors_bytes

LORA = safetensors_bytes(SDXL_LORA)
REPO = "ana/paper-lanterns-lora"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelHub]:
    with FakeModelHub() as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere/at/all")
        yield fake


@pytest.fixture
def loras(kizy_home: Path) -> Path:
    return kizy_home / "loras"


def files(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# From Hugging Face.


def test_the_offer_is_shown_and_nothing_comes_without_a_yes(kizy, hub, loras: Path) -> None:
    hub.add_repo(REPO, {"lanterns.safetensors": LORA})
    outcome = kizy("loras", "add", REPO)
    assert outcome.status == 2
    assert "confirmation_needed" in outcome.err and "--yes" in outcome.words
    for told in ("173 kB", "from Hugging Face", "Apache 2.0", str(loras), "Stable Diffusion XL"):
        assert told in outcome.words
    assert files(loras) == [] and hub.seen("store") == []


def test_with_yes_it_is_downloaded_to_the_loras(kizy, hub, loras: Path) -> None:
    hub.add_repo(REPO, {"lanterns.safetensors": LORA})
    document = kizy("loras", "add", REPO, "--yes", "--json").json
    assert document["path"] == str(loras / "lanterns.safetensors")
    assert (document["happened"], document["family"], document["rank"]) == ("downloaded", "sdxl", 8)
    assert (loras / "lanterns.safetensors").read_bytes() == LORA


def test_what_its_page_says_is_known_from_then_on(kizy, hub) -> None:
    hub.add_repo(REPO, {"lanterns.safetensors": LORA})
    outcome = kizy("loras", "add", REPO, "--yes")
    assert "Trigger words: paper lantern style" in outcome.words
    (lora,) = kizy("loras", "--json").json["loras"]
    assert (lora["name"], lora["triggers"]) == ("paper-lanterns-lora", ["paper lantern style"])


def test_what_is_here_already_does_not_come_again(kizy, hub, loras: Path) -> None:
    hub.add_repo(REPO, {"lanterns.safetensors": LORA})
    kizy("loras", "add", REPO, "--yes")
    (loras / "lanterns.safetensors").rename(loras / "renamed.safetensors")
    before = len(hub.seen("store"))
    outcome = kizy("loras", "add", REPO)
    assert outcome.status == 0 and "It is here already" in outcome.words
    assert len(hub.seen("store")) == before and files(loras) == ["renamed.safetensors"]


def test_a_model_goes_to_the_models_whoever_asked(kizy, hub, kizy_home: Path) -> None:
    model = safetensors_bytes(SD15_CHECKPOINT)
    hub.add_repo("ana/dreamy", {"dreamy.safetensors": model}, tags=["diffusers"])
    outcome = kizy("loras", "add", "ana/dreamy", "--yes")
    assert (kizy_home / "models" / "dreamy.safetensors").read_bytes() == model
    assert "It is a model: Stable Diffusion 1.5" in outcome.words


def test_adult_content_comes_only_if_it_is_allowed(kizy, hub, loras: Path) -> None:
    hub.add_repo(REPO, {"lanterns.safetensors": LORA}, tags=["lora", "not-for-all-audiences"])
    outcome = kizy("loras", "add", REPO, "--yes")
    assert (outcome.status, files(loras)) == (2, []) and "adult_content" in outcome.err
    assert kizy("loras", "add", REPO, "--yes", "--adult").status == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ana/none", "hub_unknown"),
        ("nothing at all", "request_invalid"),
        ("https://example.org/x", "request_invalid"),
        ("none.safetensors", "file_missing"),
        ("./a/none.safetensors", "file_missing"),
        ("~nobody-here/x.safetensors", "file_missing"),
    ],
)
def test_what_names_nothing_is_refused(kizy, hub, text: str, code: str) -> None:
    outcome = kizy("loras", "add", text, "--yes", "--json")
    assert (outcome.status, outcome.json["error"]["code"]) == (2, code)


# From Civitai, with somebody who is asked.


def add_456(fake: FakeModelHub, answer: bool) -> list[str]:
    """The questions that were asked about version 456."""
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return answer

    hub = Hub("Civitai", fake.url)
    civitai = Civitai(hub, caller=Caller(sleep=lambda _seconds: None))
    services = page.Services(civitai, hub, ask)
    page.add("456", kind="lora", view=page.View(), services=services)
    return asked


def test_a_yes_downloads(hub, loras: Path) -> None:
    hub.add_civitai(LORA)
    assert add_456(hub, answer=True) == ["Download it?"]
    assert files(loras) == ["paper_lanterns_v2.safetensors"]
    (record,) = Shelf(load_settings()).files()
    assert (record.card.name, record.card.source) == ("Paper Lanterns", "civitai")


def test_a_no_downloads_nothing(hub, loras: Path) -> None:
    hub.add_civitai(LORA)
    with pytest.raises(KizyError) as caught:
        add_456(hub, answer=False)
    assert caught.value.code == "cancelled" and files(loras) == []


def test_a_download_that_was_stopped_goes_on(hub, loras: Path, monkeypatch) -> None:
    hub.add_civitai(LORA)

    def stop(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(page, "accept", stop)
        with pytest.raises(KizyError) as caught:
            add_456(hub, answer=True)
    assert caught.value.code == "cancelled" and "goes on" in caught.value.fix
    add_456(hub, answer=True)
    assert files(loras) == ["paper_lanterns_v2.safetensors"]


# From a file.


@pytest.fixture
def outside(tmp_path: Path, write) -> Path:
    return write(tmp_path / "outside" / "ink.safetensors", ss_output_name="ink")


def test_a_file_is_copied_with_what_others_know_of_it(kizy, outside: Path, loras: Path) -> None:
    outside.with_name("ink.civitai.info").write_text("{}")
    outcome = kizy("loras", "add", outside)
    assert outcome.status == 0 and "It is a LoRA for Stable Diffusion XL, rank 4" in outcome.words
    assert (loras / "ink.safetensors").read_bytes() == outside.read_bytes()
    assert (loras / "ink.civitai.info").exists()


@pytest.mark.parametrize("name", ["ink.safetensors", "another name.safetensors"])
def test_a_file_that_is_here_is_not_copied_again(kizy, outside: Path, loras: Path, name) -> None:
    kizy("loras", "add", outside)
    same = outside.rename(outside.with_name(name))
    document = kizy("loras", "add", same, "--json").json
    assert (document["happened"], document["path"]) == (
        "there already",
        str(loras / "ink.safetensors"),
    )
    assert files(loras) == ["ink.safetensors"]


def test_another_file_of_that_name_is_not_overwritten(kizy, outside, loras: Path, write) -> None:
    mine = write(loras / "ink.safetensors", ss_output_name="mine").read_bytes()
    outcome = kizy("loras", "add", outside)
    assert outcome.status == 2 and "file_exists" in outcome.err
    assert (loras / "ink.safetensors").read_bytes() == mine
    assert files(loras) == ["ink.safetensors"]


def test_a_model_is_copied_to_the_models(kizy, tmp_path: Path, kizy_home: Path, write) -> None:
    path = write(tmp_path / "outside" / "dreamy.safetensors", SD15_CHECKPOINT)
    assert kizy("models", "add", path).status == 0
    assert files(kizy_home / "models") == ["dreamy.safetensors"]


def test_what_is_of_another_kind_says_where_it_belongs(kizy, outside, tmp_path, write) -> None:
    assert "kizy loras add" in kizy("models", "add", outside).words
    model = write(tmp_path / "dreamy.safetensors", SD15_CHECKPOINT)
    assert "kizy models add" in kizy("loras", "add", model).words


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.pt", b"\x80\x02}q\x00.", "model_file_pickled"),
        ("a.safetensors", b"\x80\x02}q\x00." + bytes(20), "model_file_pickled"),
        ("a.safetensors", b"<html></html>", "model_file_damaged"),
        ("a.safetensors", b"", "model_file_damaged"),
    ],
)
def test_what_is_no_whole_lora_is_refused(kizy, tmp_path, loras, name, data, code) -> None:
    path = tmp_path / "outside" / name
    path.parent.mkdir()
    path.write_bytes(data)
    outcome = kizy("loras", "add", path)
    assert outcome.status == 2 and code in outcome.err
    assert files(loras) == []


def test_a_folder_is_no_file(kizy, tmp_path: Path) -> None:
    outcome = kizy("models", "add", tmp_path)
    assert outcome.status == 2 and "is a folder" in outcome.words


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write")
def test_a_folder_that_cannot_be_written_is_told(kizy, outside: Path, loras: Path) -> None:
    loras.mkdir(mode=0o555)
    outcome = kizy("loras", "add", outside)
    assert outcome.status == 2 and "folder_not_writable" in outcome.err
