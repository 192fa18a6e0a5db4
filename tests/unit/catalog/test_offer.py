"""What is told before a download, what is refused, and where an accepted file ends up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.downloads.civitai import Civitai
from kizy.catalog.downloads.getting import accept, find_offer
from kizy.catalog.downloads.hub import Caller, Hub
from kizy.catalog.downloads.offer import Folders, Machine, Offer, in_bytes, memory_fit
from kizy.catalog.families.family import load_families
from kizy.core.errors import KizyError

from tests.fakes.model_hub import FakeModelHub
from tests.fakes.model_hub_answers import (
    SD15_CHECKPOINT,
    SDXL_LORA,
    civitai_model,
    safetensors_bytes,
)

LORA = safetensors_bytes(SDXL_LORA)
CHECKPOINT = safetensors_bytes(SD15_CHECKPOINT)


class Setting:
    def __init__(self, fake: FakeModelHub, home: Path) -> None:
        self.fake = fake
        self.home = home
        self.free = 10**12
        self.hub = Hub("Civitai", fake.url)
        self.caller = Caller(sleep=lambda _seconds: None)

    def add(self, data: bytes = LORA, model: dict[str, Any] | None = None, **changes: Any) -> None:
        version = self.fake.add_civitai(data, **changes)
        kind = version["model"]["type"]
        self.fake.models[123] = civitai_model(version, **({"type": kind} | (model or {})))

    def find(self, **options: Any) -> Offer:
        civitai = Civitai(self.hub, caller=self.caller)
        return find_offer("456", civitai=civitai, folders=self.folders(), **options)

    def folders(self) -> Folders:
        return Folders(free=lambda _folder: self.free)

    def accept(self, offer: Offer) -> Path:
        [path] = accept(offer, hub=self.hub, caller=self.caller, folders=self.folders())
        return path


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Setting]:
    with FakeModelHub() as fake:
        yield Setting(fake, tmp_path)


def refusal(act: Callable[[], Any]) -> KizyError:
    with pytest.raises(KizyError) as caught:
        act()
    return caught.value


def test_an_offer_says_all_that_a_person_wants_to_know(at: Setting) -> None:
    at.add()
    offer = at.find(machine=Machine(gpu=8 * 10**9))
    text = "\n".join(offer.lines())
    assert "Paper Lanterns, v2.0 by lantern-maker: a LoRA for Illustrious." in text
    assert f"173 kB, from Civitai ({at.fake.url}/models/123?modelVersionId=456)." in text
    assert f"Goes to {at.home / 'loras'}, where 1000 GB are free." in text
    assert "Licence: Name the author when you show what you made with it." in text
    assert "CreativeML Open RAIL++-M: free for business, too." in text
    assert "It fits this machine, but draws slowly" in text
    assert (offer.family, offer.variant, offer.fits) == ("sdxl", "illustrious", "slowly")
    assert at.fake.seen("store") == []


@pytest.mark.parametrize(
    ("gpu", "fits"), [(24, "yes"), (10, "yes"), (8, "slowly"), (4, "no"), (None, "unknown")]
)
def test_the_memory_that_the_family_wants_decides_whether_it_fits(
    gpu: int | None, fits: str
) -> None:
    machine = Machine(gpu=gpu * 10**9 if gpu else None)
    assert memory_fit(load_families()["sdxl"], machine)[0] == fits
    assert memory_fit(None, machine)[0] == "unknown"


def test_too_little_space_is_told(at: Setting) -> None:
    at.add()
    at.free = 1000
    offer = at.find()
    assert not offer.enough_space
    assert "1.0 kB are free. That is not enough." in "\n".join(offer.lines())


def test_adult_content_is_refused_unless_it_is_allowed(at: Setting) -> None:
    at.add(model={"nsfw": True})
    assert refusal(at.find).code == "adult_content"
    assert "It is marked as adult content." in at.find(adult=True).lines()


def test_adult_content_with_somebody_young_is_always_refused(at: Setting) -> None:
    at.add(model={"nsfw": True, "minor": True})
    assert refusal(lambda: at.find(adult=True)).code == "download_refused"


@pytest.mark.parametrize(
    "changes",
    [
        {"file": {"name": "a.ckpt", "metadata": {"format": "PickleTensor"}}},
        {"file": {"virusScanResult": "Danger"}},
        {"file": {"type": "VAE"}},
        {"usageControl": "InternalGeneration"},
        {"model": {"type": "TextualInversion"}},
        {"model": {"mode": "Archived"}},
        {"files": []},
    ],
)
def test_what_kizy_cannot_use_or_have_is_refused(at: Setting, changes: dict[str, Any]) -> None:
    given = dict(changes)
    files = given.pop("files", None)
    at.add(LORA, given.pop("model", None), **given)
    if files is not None:
        at.fake.versions[456]["files"] = files
    assert refusal(at.find).code == "download_refused"


def test_real_persons_early_access_and_unknown_families_are_noted(at: Setting) -> None:
    early: dict[str, Any] = {
        "availability": "EarlyAccess",
        "earlyAccessEndsAt": "2026-02-01T00:00:00.000Z",
    }
    at.add(model={"poi": True}, baseModel="Wan Video", **early)
    text = "\n".join(at.find().notes)
    assert "real person" in text
    assert "until 2026-02-01" in text
    assert "Wan Video" in text


def test_a_lora_lands_among_the_loras(at: Setting) -> None:
    at.add()
    path = at.accept(at.find())
    assert path == at.home / "loras" / "paper_lanterns_v2.safetensors"
    assert path.read_bytes() == LORA


def test_tensors_decide_on_the_folder_and_not_what_its_page_says(at: Setting) -> None:
    at.add(CHECKPOINT)
    offer = at.find()
    assert offer.kind == "lora"
    path = at.accept(offer)
    assert path == at.home / "models" / "paper_lanterns_v2.safetensors"
    assert list((at.home / "loras").iterdir()) == []
    asked = len(at.fake.seen("store"))
    assert at.accept(offer) == path
    assert len(at.fake.seen("store")) == asked


def test_another_file_of_that_name_is_not_replaced(at: Setting) -> None:
    at.add()
    at.accept(at.find())
    other = safetensors_bytes(SDXL_LORA, seed=3)
    at.add(other)
    path = at.accept(at.find())
    assert path.name == "paper_lanterns_v2 (2).safetensors"
    assert path.read_bytes() == other
    assert at.accept(at.find()) == path


def test_a_name_that_leads_out_of_the_folder_stays_in_it(at: Setting) -> None:
    at.add(file={"name": "../../../evil.safetensors"})
    assert at.accept(at.find()) == at.home / "loras" / "evil.safetensors"


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 bytes"), (1500, "1.5 kB"), (144_000_000, "144 MB"), (6_938_078_334, "6.9 GB")],
)
def test_sizes_are_told_as_people_say_them(size: int, text: str) -> None:
    assert in_bytes(size) == text
