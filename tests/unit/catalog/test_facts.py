"""What Civitai's answers, and what other programs store of them, come to in Kizy's words."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.formats.published_facts import Facts, from_civitai
from kizy.catalog.words.civitai_words import family_of_base, licence_in_words
from kizy.catalog.words.descriptions import recommended_weight, text_of_html

from tests.fakes.model_hub_answers import civitai_file, civitai_model, civitai_version, digest

DATA = b"some bytes of a file"


def facts_of(**changes: Any) -> Facts:
    version = civitai_version(civitai_file(DATA), **changes)
    return from_civitai(version, civitai_model(version))


def test_a_version_and_its_model_give_all_facts() -> None:
    facts = facts_of()
    assert facts.title == "Paper Lanterns"
    assert facts.version == "v2.0"
    assert facts.author == "lantern-maker"
    assert facts.about == "Lanterns\nRecommended weight: 0.6 - 0.9.\nSofter light than v1."
    assert facts.triggers == ("paper lantern style", "glowing paper")
    assert facts.tags == ("style", "lantern", "light")
    assert (facts.base_model, facts.kind) == ("Illustrious", "lora")
    assert (facts.weight, facts.weight_range) == (0.75, (0.6, 0.9))
    assert facts.url == "https://civitai.com/models/123?modelVersionId=456"
    assert not (facts.mature or facts.minor or facts.real_person)
    assert (facts.held_back, facts.early_access) == (None, None)


def test_a_file_has_bytes_a_lower_case_sha256_and_an_address_without_a_key() -> None:
    url = "https://undefined/api/download/models/456?type=Model&format=SafeTensor&token=secret"
    version = civitai_version(civitai_file(DATA, downloadUrl=url))
    file = from_civitai(version).files[0]
    assert file.size == len(DATA)
    assert file.sha256 == digest(DATA)
    assert file.format == "safetensors"
    assert file.kind == "lora"
    expected = "https://civitai.com/api/download/models/456?type=Model&format=SafeTensor"
    assert file.url == expected


@pytest.mark.parametrize(
    "url", ["https://evil.example/a.safetensors", "file:///etc/passwd", "//[", None, 7]
)
def test_an_address_that_is_no_download_of_civitai_is_replaced(url: Any) -> None:
    version = civitai_version(civitai_file(DATA, downloadUrl=url))
    assert from_civitai(version).files[0].url == "https://civitai.com/api/download/models/456"


def test_only_examples_that_are_safe_to_show_are_kept_and_without_lora_tags() -> None:
    assert facts_of().examples == ("a street of paper lanterns at dusk",)


def test_what_civitai_helper_and_lora_manager_store_in_the_version_counts() -> None:
    stored = civitai_version(civitai_file(DATA))
    stored["model"] |= {"description": "<p>All about lanterns</p>", "tags": [{"name": "Style"}]}
    stored["creator"] = {"username": "lantern-maker"}
    facts = from_civitai(stored)
    assert facts.tags == ("style",)
    assert "All about lanterns" in facts.about
    assert facts.author == "lantern-maker"
    assert facts.licence is None


def test_the_weight_of_the_settings_goes_before_the_description() -> None:
    facts = facts_of(settings={"strength": 0.5, "minStrength": 0.2, "maxStrength": 0.8})
    assert (facts.weight, facts.weight_range) == (0.5, (0.2, 0.8))


def test_without_advice_the_weight_is_what_the_authors_examples_use() -> None:
    used = [
        {"meta": {"civitaiResources": [{"weight": w, "modelVersionId": 456}]}}
        for w in (0.6, 0.8, 1)
    ]
    assert from_civitai(civitai_version(images=used)).weight == 0.8
    assert from_civitai(civitai_version(images=used[:1])).weight is None


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ({"nsfw": True}, {}),
        ({"tags": ["Hentai"]}, {}),
        ({}, {"nsfwLevel": 24}),
        ({}, {"nsfwLevel": 4}),
    ],
)
def test_adult_content_is_known_by_flag_tag_or_level(
    model: dict[str, Any], version: dict[str, Any]
) -> None:
    answer = civitai_version(**version)
    assert from_civitai(answer, civitai_model(answer, **model)).mature


def test_some_adult_pictures_among_safe_ones_do_not_make_adult_content() -> None:
    assert not facts_of(nsfwLevel=31).mature


def test_what_cannot_be_downloaded_says_why() -> None:
    assert "Civitai's own service" in (facts_of(usageControl="Generation").held_back or "")
    gone = civitai_version(model={"name": "x", "type": "LORA", "mode": "Archived"})
    assert "taken off" in (from_civitai(gone).held_back or "")
    early = {"availability": "EarlyAccess", "earlyAccessEndsAt": "2026-02-01T00:00:00.000Z"}
    assert facts_of(**early).early_access == "until 2026-02-01"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"id": "456", "model": None, "files": {}, "images": "none", "trainedWords": 3},
        {"model": {"name": 5, "type": [], "tags": "style"}, "nsfwLevel": "high"},
        {"files": [None, 3, {"name": None}, {"name": "a", "sizeKB": "x", "hashes": []}]},
        {"images": [None, {"meta": {"prompt": 3, "civitaiResources": [3, {"weight": "1"}]}}]},
        {"description": 5, "settings": {"strength": float("nan")}},
        {"files": [{"name": "a.safetensors", "sizeKB": float("inf")}]},
    ],
)
def test_answers_of_a_wrong_shape_leave_facts_out(answer: dict[str, Any]) -> None:
    facts = from_civitai(answer, {"tags": None})
    assert facts.weight is None
    assert facts.triggers == ()


def test_texts_are_cut_and_freed_of_control_characters() -> None:
    facts = facts_of(trainedWords=["a\x1b[31m\u202eb" + "x" * 500] * 3, baseModel="y" * 500)
    assert facts.triggers[0].startswith("a [31m bx")
    assert len(facts.triggers) == 1
    assert len(facts.triggers[0]) <= 200
    assert len(facts.base_model or "") <= 60


@pytest.mark.parametrize(
    ("text", "weight", "span"),
    [
        ("Recommended weight: 0.7", 0.7, None),
        ("recommended strength 0.6-0.8", 0.7, (0.6, 0.8)),
        ("Use a LoRA weight of 0.5 to 1.0, best at 0.8 strength", 0.8, (0.5, 1.0)),
        ("Weight 0,8 works well", 0.8, None),
        ("推荐权重：0.6~0.9", 0.75, (0.6, 0.9)),
        ("put <lora:lanterns:0.65> into the prompt", 0.65, None),
        ("Strength 1", 1.0, None),
        ("Weight: 0.5\nRecommended weight: 0.9", 0.9, None),
        ("Denoising strength: 0.4, CFG scale 7", None, None),
        ("ControlNet weight 0.5", None, None),
        ("Weights are 144 MB, step 1.5k", None, None),
        ("weight 80%", None, None),
        ("weight: 7", None, None),
        ("version 1.5 is out", None, None),
        ("", None, None),
    ],
)
def test_the_recommended_weight_is_read_from_the_authors_words(
    text: str, weight: float | None, span: tuple[float, float] | None
) -> None:
    assert recommended_weight(text) == (weight, span)


def test_html_becomes_its_words() -> None:
    html = "<p>One &amp; <b>two</b></p><script>three()</script><ul><li>four<li>five</ul>"
    assert text_of_html(html) == "One & two\nfour\nfive"


@pytest.mark.parametrize(
    ("word", "family", "variant"),
    [
        ("SD 1.5", "sd15", None),
        ("SD 1.5 LCM", "sd15", None),
        ("SDXL 1.0", "sdxl", None),
        ("SDXL Lightning", "sdxl", None),
        ("Pony", "sdxl", "pony"),
        ("Pony V7", None, None),
        ("Illustrious", "sdxl", "illustrious"),
        ("NoobAI", "sdxl", "noobai"),
        ("SD 3.5", "sd35", None),
        ("SD 3.5 Large Turbo", "sd35", None),
        ("Flux.1 D", "flux1-dev", None),
        ("Flux.1 S", "flux1-schnell", None),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl", None),
        ("black-forest-labs/FLUX.1-dev", "flux1-dev", None),
        ("SD 2.1", None, None),
        ("Wan Video", None, None),
        (None, None, None),
    ],
)
def test_the_family_is_told_by_the_base_models_name(
    word: str | None, family: str | None, variant: str | None
) -> None:
    assert family_of_base(word) == (family, variant)


@pytest.mark.parametrize(
    ("uses", "sold", "service"),
    [
        (["Image", "RentCivit"], True, "on Civitai's own service"),
        (["Image", "Rent", "Sell"], True, "The file itself may be sold"),
        ("{Image}", True, "neither sold nor offered"),
        ("Sell", True, "The file itself may be sold"),
        ("None", False, "neither sold nor offered"),
        ([], False, "neither sold nor offered"),
    ],
)
def test_permissions_are_told_in_plain_words(uses: Any, sold: bool, service: str) -> None:
    words = licence_in_words({"allowCommercialUse": uses, "allowNoCredit": False}) or ""
    assert words.startswith("Name the author")
    assert ("Pictures made with it may be sold." in words) == sold
    assert service in words
