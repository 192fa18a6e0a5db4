"""Families that share their tensors: variants of SDXL, and twins of FLUX.1 [dev]."""

from __future__ import annotations

from pathlib import Path

import pytest
from kizy.catalog.families.family import Family, load_families
from kizy.catalog.formats.recognize import checkpoint_family, lora_family, variant_of
from kizy.catalog.formats.safetensors_header import Header, TensorInfo

Shapes = dict[str, tuple[int, ...]]

ATTN = "attentions_0_transformer_blocks_0"
FLUX: Shapes = {
    "lora_unet_single_blocks_37_linear1.lora_down.weight": (8, 3072),
    "lora_unet_single_blocks_37_linear1.lora_up.weight": (21504, 8),
}
DEV: Shapes = {
    "img_in.weight": (3072, 64),
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "guidance_in.in_layer.weight": (3072, 256),
}
SDXL = load_families()["sdxl"]


def header(shapes: Shapes, name: str = "a", metadata: dict[str, str] | None = None) -> Header:
    tensors = {key: TensorInfo("F16", shape, 0) for key, shape in shapes.items()}
    return Header(Path(f"{name}.safetensors"), tensors, metadata or {})


def id_of(family: Family | None) -> str | None:
    return family.id if family else None


def variant(name: str = "a", metadata: dict[str, str] | None = None, *more: str) -> str | None:
    found = variant_of(header({}, name, metadata), SDXL, more)
    return found.id if found else None


@pytest.mark.parametrize(
    ("name", "metadata", "family"),
    [
        ("a", {}, "flux1-dev"),
        ("relight_kontext_v2", {}, "flux1-kontext"),
        ("a", {"ss_base_model_version": "flux.1_kontext"}, "flux1-kontext"),
        ("a", {"ss_sd_model_name": "flux1-kontext-dev.safetensors"}, "flux1-kontext"),
        ("a", {"modelspec.architecture": "flux-1-dev/lora"}, "flux1-dev"),
        ("quick_schnell", {}, "flux1-schnell"),
    ],
)
def test_a_twin_of_flux_dev_is_told_by_metadata_or_name(
    name: str, metadata: dict[str, str], family: str
) -> None:
    assert id_of(lora_family(header(FLUX, name, metadata), load_families())) == family


def test_a_kontext_checkpoint_is_told_by_its_name() -> None:
    found = checkpoint_family(header(DEV, "flux1-dev-kontext_fp8_scaled"), load_families())
    assert id_of(found) == "flux1-kontext"


@pytest.mark.parametrize(
    ("module", "inputs", "metadata", "family"),
    [
        ("lora_unet_joint_blocks_0_x_block_attn2_qkv", 1536, {}, "sd35-medium"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", 1536, {}, None),
        (
            "lora_unet_joint_blocks_0_x_block_attn_qkv",
            1536,
            {"ss_base_model_version": "5-medium"},
            "sd35-medium",
        ),
        (
            "lora_unet_joint_blocks_0_x_block_attn_qkv",
            2432,
            {"ss_base_model_version": "5-medium"},
            "sd35",
        ),
    ],
)
def test_sd35_medium_is_told_from_large_and_from_sd3(
    module: str, inputs: int, metadata: dict[str, str], family: str | None
) -> None:
    shapes = {f"{module}.lora_down.weight": (8, inputs)}
    assert id_of(lora_family(header(shapes, metadata=metadata), load_families())) == family


@pytest.mark.parametrize("family", load_families())
def test_metadata_that_the_tensors_refute_are_not_believed(family: str) -> None:
    facts = load_families()[family].lora
    said = {"ss_base_model_version": (facts.base_versions or ("sdxl_base_v1-0",))[0]}
    strangers: list[Shapes] = [
        {f"lora_unet_down_blocks_0_{ATTN}_attn2_to_k.lora_down.weight": (4, 1024)},
        {"lora_unet_blocks_0_cross_attn_k.lora_down.weight": (4, 5120)},
        {"lora_transformer_blocks_0_attn1_to_q.lora_down.weight": (4, 2048)},
    ]
    for shapes in strangers:
        assert lora_family(header(shapes, metadata=said), load_families()) is None


def test_a_loha_and_a_lokr_are_recognised_by_the_width_of_their_layers() -> None:
    module = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    loha = {f"{module}.hada_w1_a": (640, 4), f"{module}.hada_w1_b": (4, 2048)}
    lokr = {f"{module}.lokr_w1": (16, 16), f"{module}.lokr_w2": (40, 128)}
    for shapes in (loha, lokr):
        assert id_of(lora_family(header(shapes), load_families())) == "sdxl"


@pytest.mark.parametrize(
    ("name", "metadata", "more", "expected"),
    [
        ("a", {"ss_sd_model_name": "ponyDiffusionV6XL_v6StartWithThisOne.safetensors"}, (), "pony"),
        ("a", {"ss_sd_model_name": "Illustrious-XL-v0.1.safetensors"}, (), "illustrious"),
        ("a", {"ss_sd_model_name": "noobaiXLNAIXL_epsilonPred10Version"}, (), "noobai"),
        ("ink_pdxl", {}, (), "pony"),
        ("Ink-Illu_v2", {}, (), "illustrious"),
        ("illusion_of_depth", {}, (), None),
        ("a", {}, ("NoobAI",), "noobai"),
        ("a_pony_v2", {"ss_sd_model_name": "noobaiXL.safetensors"}, (), "noobai"),
        ("a", {"ss_tag_frequency": '{"5_x": {"score_9": 12, "fox": 9}}'}, (), "pony"),
        ("a", {"ss_sd_model_name": "sd_xl_base_1.0.safetensors"}, (), None),
    ],
)
def test_a_variant_of_sdxl_is_told_by_what_it_was_trained_on(
    name: str, metadata: dict[str, str], more: tuple[str, ...], expected: str | None
) -> None:
    assert variant(name, metadata, *more) == expected


def test_other_families_have_no_variants() -> None:
    assert variant_of(header({}, "pony"), load_families()["sd15"]) is None


def test_variants_are_found_by_every_name() -> None:
    for known in SDXL.variants:
        for name in (known.id, known.name, *known.aliases):
            assert SDXL.variant(name.upper()) is known
    assert SDXL.variant("sdxl") is None


def test_pony_wants_its_score_tags_and_clip_skip() -> None:
    pony = SDXL.variant("pony")
    assert pony is not None
    assert pony.quality_tags.startswith("score_9, score_8_up")
    assert (pony.clip_skip, pony.default_negative) == (2, "")
