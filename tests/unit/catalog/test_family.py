from __future__ import annotations

import re
from pathlib import Path

import pytest
from kizy.catalog.families.family import FAMILIES_FOLDER, Family, family, load_families
from kizy.core.errors import UnknownNameError
from pydantic import ValidationError

IDS = [
    "flux1-dev",
    "flux1-kontext",
    "flux1-schnell",
    "sd15",
    "sd35",
    "sd35-medium",
    "sdxl",
    "starter",
]
FILES = sorted(FAMILIES_FOLDER.glob("*.toml"))


def test_all_families_are_loaded() -> None:
    assert sorted(load_families()) == IDS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_section_names_the_source_of_its_facts(path: Path) -> None:
    sections = re.split(r"^\[+([^\]]+)\]+\s*$", path.read_text(encoding="utf-8"), flags=re.M)
    titled = {"top": sections[0], **dict(zip(sections[1::2], sections[2::2], strict=True))}
    without = [title for title, text in titled.items() if "# source:" not in text]
    assert without == []


def test_the_starter_keeps_its_contract() -> None:
    starter = load_families()["starter"]
    assert (starter.native_width, starter.native_height, starter.multiple) == (128, 128, 32)
    assert (starter.sampler, starter.scheduler) == ("euler", "simple")
    assert (starter.guidance, starter.guidance_kind) == (2.0, "cfg")
    assert starter.steps == {"draft": 12, "balanced": 25, "best": 40}
    assert starter.enlarge == 4.0


@pytest.mark.parametrize("known", load_families().values(), ids=lambda known: known.id)
def test_every_name_of_a_family_leads_to_it_alone(known: Family) -> None:
    for name in (known.id, known.name, *known.aliases):
        assert family(name.upper()) is known


@pytest.mark.parametrize("known", load_families().values(), ids=lambda known: known.id)
def test_the_files_of_the_comfyui_forms_are_among_the_files(known: Family) -> None:
    listed = {file.name for file in known.files if file.folder != "controlnet"}
    wanted = set()
    if known.comfyui.checkpoint and known.comfyui.checkpoint.file:
        wanted.add(known.comfyui.checkpoint.file)
    if known.comfyui.split:
        split = known.comfyui.split
        wanted |= {split.diffusion_model, *split.text_encoders, split.vae}
    assert wanted == listed


def test_an_unknown_family_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "sdxl"') as caught:
        family("sdlx")
    assert caught.value.code == "family_unknown"


def test_a_size_off_the_multiple_is_refused() -> None:
    values = load_families()["starter"].model_dump()
    values["sizes"]["wide"] = (160, 90)
    with pytest.raises(ValidationError, match="no multiple of 32"):
        Family.model_validate(values)


def test_an_unknown_fact_is_refused() -> None:
    values = load_families()["starter"].model_dump() | {"colour": "red"}
    with pytest.raises(ValidationError, match="colour"):
        Family.model_validate(values)


@pytest.mark.parametrize(
    ("name", "less"),
    [
        ("flux1-dev.safetensors", 0.0),
        ("flux1-dev-fp8.safetensors", 11.9),
        ("flux1-dev-kontext_fp8_scaled.safetensors", 11.9),
        ("unet/flux1-dev-Q8_0.gguf", 11.9),
        ("fluxDev_fp8E4m3fn.safetensors", 11.9),
        ("flux_dev_t5xxlfp8.safetensors", 0.0),
    ],
)
def test_a_file_of_8_bits_a_weight_needs_less_memory(name: str, less: float) -> None:
    memory = load_families()["flux1-dev"].memory
    assert memory.gb - memory.for_file(name).gb == pytest.approx(less)
    assert memory.for_file(name).offload_gb <= memory.offload_gb
