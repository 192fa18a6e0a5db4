"""Hugging Face, asked through its own library at a fake that answers in its shapes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.downloads.getting import accept, look_up
from kizy.catalog.downloads.hub import Caller
from kizy.catalog.downloads.huggingface import HuggingFace, Place, parse_place
from kizy.catalog.downloads.offer import make_offer
from kizy.core.errors import InputError, KizyError

from tests.fakes.model_hub import FakeModelHub
from tests.fakes.model_hub_answers import SDXL_LORA, digest, safetensors_bytes

pytest.importorskip("huggingface_hub")

REPO = "lantern-maker/paper-lanterns-lora"
DATA = safetensors_bytes(SDXL_LORA)
TOKEN = "hf_that_nobody_may_see"


class Setting:
    def __init__(self, fake: FakeModelHub, home: Path) -> None:
        self.fake = fake
        self.home = home
        self.now = 0.0
        self.said: list[str] = []
        self.caller = Caller(say=self.said.append, sleep=self.sleep, clock=lambda: self.now)
        self.hub = HuggingFace(caller=self.caller)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with FakeModelHub() as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url + "/")
        yield Setting(fake, tmp_path)


def refusal(act: Callable[[], Any]) -> KizyError:
    with pytest.raises(KizyError) as caught:
        act()
    assert TOKEN not in f"{caught.value} {caught.value.fix} {caught.value.raw}"
    return caught.value


def test_a_repository_is_told_without_downloading_it(at: Setting) -> None:
    at.fake.add_repo(REPO, {"README.md": b"words", "lanterns.safetensors": DATA, "a.png": b"x"})
    facts = at.hub.resolve(REPO)
    assert (facts.title, facts.author) == ("paper-lanterns-lora", "lantern-maker")
    assert facts.licence == "Apache 2.0: free for business, too."
    assert facts.base_model == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (facts.kind, facts.triggers) == ("lora", ("paper lantern style",))
    [file] = facts.files
    assert (file.name, file.size, file.sha256) == ("lanterns.safetensors", len(DATA), digest(DATA))
    assert file.url == f"{at.fake.url}/{REPO}/resolve/{'c' * 40}/lanterns.safetensors"
    assert at.fake.seen("store") == []


def test_a_lora_goes_from_its_address_into_the_folder(at: Setting) -> None:
    at.fake.add_repo(REPO, {"lanterns.safetensors": DATA})
    offer = make_offer(look_up(REPO, caller=at.caller))
    [path] = accept(offer, caller=at.caller)
    assert path == at.home / "loras" / "lanterns.safetensors"
    assert path.read_bytes() == DATA


def test_the_token_goes_to_the_service_and_not_to_the_store(at: Setting) -> None:
    at.fake.add_repo(REPO, {"lanterns.safetensors": DATA})
    at.fake.faults.wants_key = TOKEN
    accept(make_offer(at.hub.resolve(REPO)), caller=at.caller)
    sent = {one.headers.get("Authorization") for one in at.fake.seen("hub")}
    assert sent == {f"Bearer {TOKEN}"}
    assert ["Authorization" in one.headers for one in at.fake.seen("store")] == [False]


def test_of_several_files_one_has_to_be_named(at: Setting) -> None:
    files = {"a.safetensors": DATA, "sub/b.safetensors": DATA, "c.bin": b"x"}
    at.fake.add_repo(REPO, files)
    error = refusal(lambda: at.hub.resolve(REPO))
    assert error.code == "request_invalid"
    assert "a.safetensors, sub/b.safetensors" in error.message
    assert f"{REPO}/a.safetensors" in error.fix
    assert at.hub.resolve(f"{REPO}/sub/b.safetensors").files[0].name == "b.safetensors"
    address = f"https://huggingface.co/{REPO}/blob/main/a.safetensors"
    assert at.hub.resolve(address).files[0].name == "a.safetensors"
    assert refusal(lambda: at.hub.resolve(f"{REPO}/no.safetensors")).code == "hub_unknown"


def test_a_repository_of_pickles_is_refused(at: Setting) -> None:
    at.fake.add_repo(REPO, {"model.bin": b"x", "model.ckpt": b"x"})
    assert refusal(lambda: at.hub.resolve(REPO)).code == "download_refused"


def test_a_diffusers_model_comes_as_a_folder_in_its_small_form(at: Setting) -> None:
    tensors = safetensors_bytes({"a": (4, 4)})
    small = safetensors_bytes({"a": (2, 2)})
    wanted = {
        "model_index.json": b"{}",
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.fp16.safetensors": small,
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": tensors,
        "tokenizer/tokenizer_config.json": b"{}",
        "tokenizer/merges.txt": b"a b",
        "scheduler/scheduler_config.json": b"{}",
    }
    others = {
        "README.md": b"words",
        "whole_model.safetensors": tensors,
        "unet/diffusion_pytorch_model.safetensors": tensors,
        "unet/diffusion_pytorch_model.bin": b"x",
        "vae_encoder/model.onnx": b"x",
        "safety_checker/config.json": b"{}",
        "safety_checker/model.safetensors": tensors,
    }
    at.fake.add_repo("maker/small-model", {**wanted, **others}, tags=["diffusers"])
    offer = make_offer(at.hub.resolve("maker/small-model"))
    assert offer.size == sum(map(len, wanted.values()))
    at.fake.faults.cut_after = [10]
    paths = accept(offer, caller=at.caller)
    folder = at.home / "models" / "small-model"
    assert {str(path.relative_to(folder)): path.read_bytes() for path in paths} == wanted
    asked = len(at.fake.seen("store"))
    assert accept(offer, caller=at.caller) == paths
    assert len(at.fake.seen("store")) == asked


@pytest.mark.parametrize("path", ["../../evil.safetensors", "/etc/evil.safetensors", "a\\b"])
def test_paths_that_lead_out_of_the_repository_are_not_seen(at: Setting, path: str) -> None:
    at.fake.add_repo(REPO, {path: DATA, "good.safetensors": DATA})
    assert [file.name for file in at.hub.resolve(REPO).files] == ["good.safetensors"]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({}, None),
        ({"license": "other", "license_name": "flux-1-dev"}, "Its own licence (flux-1-dev): see"),
        ({"license": "bigscience-openrail-m"}, "bigscience-openrail-m: see its page."),
        ({"license": "cc-by-nc-4.0"}, "CC BY-NC 4.0: not for business"),
    ],
)
def test_the_licence_is_told_in_plain_words(
    at: Setting, card: dict[str, Any], licence: str | None
) -> None:
    at.fake.add_repo(REPO, {"a.safetensors": DATA}, cardData=card)
    found = at.hub.resolve(REPO).licence
    assert found == licence if licence is None else (found or "").startswith(licence)


def test_adult_content_is_known_by_its_tag(at: Setting) -> None:
    at.fake.add_repo(REPO, {"a.safetensors": DATA}, tags=["lora", "not-for-all-audiences"])
    facts = at.hub.resolve(REPO)
    assert refusal(lambda: make_offer(facts)).code == "adult_content"
    assert make_offer(facts, adult=True).mature


def test_outages_are_waited_out(at: Setting) -> None:
    at.fake.add_repo(REPO, {"a.safetensors": DATA})
    at.fake.faults.api = [(429, {"Retry-After": "30"}), (503, {})]
    assert at.hub.resolve(REPO).files
    assert at.said[0] == "Hugging Face asks to wait; trying again in 30 seconds."


def test_what_is_missing_or_private_is_told(at: Setting) -> None:
    assert refusal(lambda: at.hub.resolve("nobody/nothing")).code == "hub_unknown"
    at.fake.faults.api = [(404, {}), (400, {})]
    assert refusal(lambda: at.hub.resolve("nobody/nothing")).code == "hub_unknown"
    assert refusal(lambda: at.hub.resolve("nobody/nothing")).code == "hub_failed"


def test_conditions_that_are_not_accepted_are_told(at: Setting) -> None:
    at.fake.add_repo(REPO, {"a.safetensors": DATA})
    at.fake.faults.api = [(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access denied"})]
    error = refusal(lambda: at.hub.resolve(REPO))
    assert error.code == "hub_wants_key"
    assert "HF_TOKEN" in error.fix


def test_without_the_library_it_says_what_to_install(
    at: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    error = refusal(lambda: at.hub.resolve(REPO))
    assert error.code == "feature_unavailable"
    assert "python -m pip install huggingface_hub" in error.fix


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("owner/repo", Place("owner/repo")),
        ("owner/repo/a/b.safetensors", Place("owner/repo", "a/b.safetensors")),
        ("https://huggingface.co/owner/repo", Place("owner/repo")),
        ("hf.co/owner/repo", Place("owner/repo")),
        ("https://huggingface.co/owner/repo/tree/dev", Place("owner/repo", None, "dev")),
        (
            "https://huggingface.co/owner/repo/resolve/main/a%20b.safetensors?download=true",
            Place("owner/repo", "a b.safetensors", "main"),
        ),
        ("https://huggingface.co/datasets/owner/repo", None),
        ("https://evil.example/owner/repo", None),
        ("https://huggingface.co.evil.example/owner/repo", None),
        ("../../etc/passwd", None),
        ("owner/repo/../../x.safetensors", None),
        ("just words", None),
        ("one", None),
    ],
)
def test_a_place_is_read_from_a_text(text: str, place: Place | None) -> None:
    assert parse_place(text) == place


def test_texts_that_name_nothing_say_what_would(at: Setting) -> None:
    with pytest.raises(InputError) as caught:
        look_up("some words")
    assert "Hugging Face" in (caught.value.fix or "")
