"""LoRAs as the field writes them: every family, every naming, every form; and those of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kizy.catalog.families.family import load_families
from kizy.catalog.formats.lora_names import layers, parts
from kizy.catalog.formats.lora_reader import Reader, Reading
from kizy.catalog.formats.recognize import decide, judge
from kizy.catalog.formats.safetensors_header import Header, TensorInfo

from tests.fakes.lora_files import (
    AURA,
    CANNY,
    CLIP_G,
    CLIP_H,
    CLIP_L,
    FILL,
    FLUX,
    FLUX_D,
    GUIDED,
    HUNYUAN,
    HUNYUAN_D,
    KLEIN,
    LARGE,
    LARGE_D,
    MEDIUM,
    MEDIUM_D,
    MOTION,
    OLD,
    OLDER,
    QWEN,
    RANK,
    REFINER,
    SD2,
    SD3,
    SD3_D,
    SD15,
    SDXL,
    SDXL_LDM,
    STARTER,
    T5,
    TWO,
    WAN,
    WAN_D,
    Shapes,
    boft,
    convolved,
    dora,
    dotted,
    flux,
    flux_diffusers,
    full,
    glora,
    kohya,
    loha,
    lokr,
    lokr_both,
    lokr_whole,
    named,
    oft,
    plain,
    rows,
    some,
    unet,
)

PROVEN: dict[str, tuple[str, Shapes]] = {
    "starter": ("starter", kohya(STARTER, form=convolved)),
    "starter, LDM names": ("starter", kohya(unet((64, 128, 256), (1, 1, 1), 384, ldm=True))),
    "sd15": ("sd15", kohya(SD15) | kohya(CLIP_L, "lora_te_")),
    "sd15, UNet": ("sd15", kohya(SD15)),
    "sd15, first layers only": ("sd15", kohya(some(SD15, "proj_in"), form=convolved)),
    "sd15, one key": (
        "sd15",
        kohya(some(SD15, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k")),
    ),
    "sd15, PEFT": ("sd15", dotted(SD15, "unet.") | dotted(CLIP_L, "text_encoder.")),
    "sd15, PEFT alone": ("sd15", dotted(SD15, "base_model.model.", named(".default"))),
    "sd15, PEFT in a UNet": ("sd15", dotted(SD15, "unet.base_model.model.")),
    "sd15, adapter with a name": ("sd15", dotted(SD15, "unet.", named(".my-style"))),
    "sd15, old diffusers": ("sd15", dotted(SD15, "unet.", OLD)),
    "sd15, older diffusers": ("sd15", dotted(SD15, "unet.", OLDER)),
    "sd15, ComfyUI": (
        "sd15",
        dotted(
            unet((320, 640, 1280, 1280), (1, 1, 1, 0), 768, ldm=True), "diffusion_model.", plain
        ),
    ),
    "sd15, SimpleTuner": ("sd15", kohya(SD15, "lycoris_", lokr)),
    **{
        f"sd15, {form.__name__}": ("sd15", kohya(SD15, form=form))
        for form in (dora, loha, lokr, lokr_whole, lokr_both, glora, full)
    },
    "sdxl": ("sdxl", kohya(SDXL_LDM) | kohya(CLIP_L, "lora_te1_") | kohya(CLIP_G, "lora_te2_")),
    "sdxl, LCM": ("sdxl", kohya(SDXL)),
    "sdxl, self-attention": ("sdxl", kohya(some(SDXL_LDM, "attn1"))),
    "sdxl, B-LoRA": ("sdxl", dotted(some(SDXL, "up_blocks.0.attentions.1"), "unet.", OLD)),
    "sdxl, one query": (
        "sdxl",
        dotted(some(SDXL, "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"), "unet."),
    ),
    "sdxl, one MLP": ("sdxl", kohya(some(SDXL_LDM, "input_blocks.7.1.transformer_blocks.5.ff"))),
    "sdxl, PEFT": ("sdxl", dotted(SDXL, "unet.") | dotted(CLIP_G, "text_encoder_2.")),
    "sdxl, ComfyUI": (
        "sdxl",
        dotted(SDXL_LDM, "diffusion_model.", plain)
        | dotted(CLIP_G, "text_encoders.clip_g.transformer.", plain),
    ),
    "sdxl, SimpleTuner": ("sdxl", kohya(SDXL, "lycoris_", lokr)),
    **{
        f"sdxl, {form.__name__}": ("sdxl", kohya(SDXL_LDM, form=form))
        for form in (dora, loha, lokr, lokr_both, glora, oft, boft, full)
    },
    "sd35": ("sd35", kohya(LARGE) | kohya(CLIP_G, "lora_te2_") | kohya(T5, "lora_te3_")),
    "sd35, PEFT": ("sd35", dotted(LARGE_D, "transformer.")),
    "sd35, PEFT alone": ("sd35", dotted(LARGE_D, "base_model.model.")),
    "sd35, OneTrainer": ("sd35", kohya(LARGE_D, "lora_transformer_")),
    "sd35, ComfyUI": ("sd35", dotted(LARGE, "diffusion_model.")),
    "sd35, SimpleTuner": ("sd35", kohya(LARGE_D, "lycoris_", lokr)),
    "sd35, one key": ("sd35", dotted(some(LARGE_D, "blocks.30.attn.to_k"), "transformer.")),
    "sd35, MLPs": ("sd35", dotted(some(LARGE_D, ".ff."), "transformer.")),
    "sd35, one output": ("sd35", kohya(some(LARGE, "blocks.30.x_block.attn.proj"))),
    **{
        f"sd35, {form.__name__}": ("sd35", kohya(LARGE, form=form))
        for form in (loha, lokr, oft, full)
    },
    "sd35-medium": ("sd35-medium", kohya(MEDIUM)),
    "sd35-medium, PEFT": ("sd35-medium", dotted(MEDIUM_D, "transformer.")),
    "sd35-medium, OneTrainer": ("sd35-medium", kohya(MEDIUM_D, "lora_transformer_")),
    "sd35-medium, SimpleTuner": ("sd35-medium", kohya(MEDIUM_D, "lycoris_", lokr)),
    "sd35-medium, second attention": ("sd35-medium", kohya(some(MEDIUM, "attn2.proj"))),
    "sd35-medium, modulation": ("sd35-medium", kohya(some(MEDIUM, "adaLN"))),
    "flux": ("flux1-dev", kohya(FLUX) | kohya(CLIP_L, "lora_te1_") | kohya(T5, "lora_te3_")),
    "flux, PEFT": ("flux1-dev", dotted(FLUX_D, "transformer.")),
    "flux, PEFT alone": ("flux1-dev", dotted(FLUX_D, "base_model.model.")),
    "flux, no prefix": ("flux1-dev", dotted(FLUX_D)),
    "flux, attention": ("flux1-dev", dotted(some(FLUX_D, ".attn.to_"), "transformer.")),
    "flux, two blocks": (
        "flux1-dev",
        dotted(
            some(FLUX_D, "single_transformer_blocks.7.", "single_transformer_blocks.20."),
            "transformer.",
        ),
    ),
    "flux, ComfyUI": ("flux1-dev", dotted(FLUX, "diffusion_model.")),
    "flux, its makers": ("flux1-dev", dotted(FLUX)),
    "flux, OneTrainer": ("flux1-dev", kohya(FLUX_D, "lora_transformer_") | kohya(T5, "lora_te2_")),
    "flux, SimpleTuner": ("flux1-dev", kohya(FLUX_D, "lycoris_", lokr)),
    "flux, one linear2": ("flux1-dev", kohya(some(FLUX, "single_blocks.7.linear2"))),
    "flux, modulation": ("flux1-dev", kohya(some(FLUX, "_mod.lin"))),
    **{
        f"flux, {form.__name__}": ("flux1-dev", kohya(FLUX, form=form))
        for form in (dora, loha, lokr, lokr_both, glora, oft, full)
    },
}

OTHERS: dict[str, tuple[str | None, Shapes]] = {
    "SD 2": ("Stable Diffusion 2", kohya(SD2) | kohya(CLIP_H, "lora_te_")),
    "SD 2, PEFT": ("Stable Diffusion 2", dotted(SD2, "unet.")),
    "SD 2, text": ("Stable Diffusion 2", kohya(CLIP_H, "lora_te_")),
    "SD 2, LoKr": ("Stable Diffusion 2", kohya(SD2, form=lokr)),
    "refiner": ("the SDXL refiner", kohya(REFINER)),
    "refiner, self-attention": ("the SDXL refiner", kohya(some(REFINER, "attn1"))),
    "SD 3": ("Stable Diffusion 3 Medium", kohya(SD3)),
    "SD 3, PEFT": ("Stable Diffusion 3 Medium", dotted(SD3_D, "transformer.")),
    "Chroma's guidance": ("Chroma", kohya([*flux(19, 38, 3072, "0 2 none"), *GUIDED])),
    "HunyuanVideo": ("HunyuanVideo", kohya(HUNYUAN)),
    "HunyuanVideo, PEFT": ("HunyuanVideo", dotted(HUNYUAN_D, "transformer.")),
    "HunyuanVideo, some": ("HunyuanVideo", kohya(some(HUNYUAN, "double_blocks.3."))),
    "HunyuanVideo, double": ("HunyuanVideo", kohya(some(HUNYUAN, "double_"))),
    "LongCat": ("LongCat-Image", dotted(flux_diffusers(10, 20), "transformer.")),
    "FLUX.2 klein": ("FLUX.2 [klein]", dotted(KLEIN, "diffusion_model.")),
    "FLUX.2": ("FLUX.2 [dev]", dotted(flux(8, 48, 6144, "0 2 none", 6, 3), "diffusion_model.")),
    "Canny": ("FLUX.1 with a map (Canny or Depth)", dotted(FLUX) | CANNY),
    "Fill": ("FLUX.1 Fill", dotted(FLUX_D, "transformer.") | FILL),
    "Qwen-Image": ("Qwen-Image", dotted(QWEN, "transformer.")),
    "Qwen-Image, musubi": ("Qwen-Image", kohya(QWEN)),
    "Qwen-Image, one block": (None, dotted(QWEN[:8], "transformer.")),
    "AuraFlow": ("AuraFlow", dotted(AURA, "transformer.")),
    "AuraFlow, single": ("AuraFlow", dotted(some(AURA, "single_"), "transformer.")),
    "Wan": ("Wan", dotted(WAN, "diffusion_model.")),
    "Wan, musubi": ("Wan", kohya(WAN)),
    "Wan, diffusers": ("Wan", dotted(WAN_D, "transformer.")),
    "Wan, kohya of diffusers": ("Wan", kohya(WAN_D)),
    "Wan 1.3B, diffusers": ("Wan", dotted(rows("blocks", 30, TWO, 1536), "transformer.")),
    "Wan, PEFT": ("Wan", dotted(WAN, "base_model.model.")),
    "Wan, down and up": ("Wan", dotted(WAN, "diffusion_model.", plain)),
    "Wan, MLP": ("Wan", dotted([("blocks.0.ffn.net.0.proj", 5120, 13824)], "transformer.")),
    "Hunyuan-DiT": (None, dotted(rows("blocks", 40, TWO, 1408), "transformer.")),
    "LTX": ("LTX-Video", dotted(rows("transformer_blocks", 28, TWO, 2048), "diffusion_model.")),
    "LTX, PEFT": ("LTX-Video", dotted(rows("transformer_blocks", 28, TWO, 2048), "transformer.")),
    "PixArt": ("PixArt", dotted(rows("transformer_blocks", 28, TWO, 1152), "transformer.")),
    "CogVideoX": ("CogVideoX", dotted(rows("transformer_blocks", 42, TWO[:4], 3072))),
    "Lumina": ("Lumina Image 2", kohya(rows("layers", 26, ["attention.qkv"], 2304))),
    "Z-Image": ("Z-Image", dotted(rows("layers", 30, ["attention.qkv"], 3840), "diffusion_model.")),
    "HiDream": ("HiDream", dotted(rows("double_stream_blocks", 16, ["block.attn1.to_q"], 2560))),
    "Cascade": (
        "Stable Cascade",
        kohya([("down_blocks.0.2.attention.attn.to_k", 2048, 2048)], "lora_prior_unet_"),
    ),
    "AnimateDiff": (
        "AnimateDiff (movement)",
        dotted([(f"{MOTION}.attention_blocks.0.to_q", 320, 320)]),
    ),
    "of nobody": (None, dotted(rows("strange", 8, ["layer"], 640), "diffusion_model.")),
}

FAMILIES = load_families()
LIES = [
    {"modelspec.architecture": f"{word}/lora"}
    for known in FAMILIES.values()
    if known.lora.twin_of is None
    for word in known.lora.architectures
] + [
    {"ss_base_model_version": w}
    for f in FAMILIES.values()
    for w in f.lora.base_versions[:1]
    if f.lora.twin_of is None
]


@pytest.fixture
def read(tmp_path: Path, write_tensors) -> Callable[..., Reading]:
    def build(shapes: Shapes, name: str = "a", **metadata: str) -> Reading:
        path = write_tensors(tmp_path / f"{name}.safetensors", shapes, metadata)
        return Reader().read(path)

    return build


def family_of(shapes: Shapes, metadata: dict[str, str]) -> str | None:
    tensors = {name: TensorInfo("F16", shape, 0) for name, shape in shapes.items()}
    header = Header(Path("a.safetensors"), tensors, metadata)
    family = decide(judge(layers(parts(header), tensors), FAMILIES), header, FAMILIES)
    return family and family.id


@pytest.mark.parametrize("case", PROVEN)
def test_a_lora_is_recognised_in_every_naming_and_form(case: str, read) -> None:
    family, shapes = PROVEN[case]
    reading = read(shapes)
    assert (reading.what, reading.family, reading.made_for) == ("lora", family, None)
    assert reading.text_encoder == any(
        "te" in name[:9] for name in shapes if "lora_te" in name or "text_encoder" in name
    )


@pytest.mark.parametrize("case", PROVEN)
def test_metadata_that_lie_change_no_proven_family(case: str) -> None:
    family, shapes = PROVEN[case]
    assert {family_of(shapes, lie) for lie in LIES} == {family}


@pytest.mark.parametrize("case", OTHERS)
def test_a_lora_of_another_model_is_told_as_such(case: str, read) -> None:
    made_for, shapes = OTHERS[case]
    reading = read(shapes)
    assert (reading.what, reading.family, reading.made_for) == ("lora", None, made_for)


@pytest.mark.parametrize("case", [case for case, (made_for, _) in OTHERS.items() if made_for])
def test_metadata_that_lie_make_no_lora_of_another_model_ours(case: str) -> None:
    assert {family_of(OTHERS[case][1], lie) for lie in LIES} == {None}


# What tensors alone do not tell: metadata may, and only what the tensors allow.


@pytest.mark.parametrize(
    ("shapes", "possible"),
    [
        (kohya(some(SD15, "attn1")), {"sd15"}),  # Stable Diffusion 2 has the same ones
        (
            dotted(some(SDXL, "down_blocks.1.attentions.0.transformer_blocks.0.attn1")),
            {"sd15", "sdxl"},
        ),
        (dotted(some(MEDIUM_D, ".attn."), "transformer."), {"sd35-medium"}),  # as SD 3 Medium
        (kohya(some(FLUX, "double_blocks.0.img_attn")), {"flux1-dev"}),  # as FLUX.2 [klein]
        (kohya(CLIP_L, "lora_te_"), {"sd15", "sdxl", "flux1-dev", "sd35", "sd35-medium"}),
        (kohya(CLIP_G, "lora_te2_"), {"sdxl", "sd35", "sd35-medium"}),
        (kohya(CLIP_L, "lora_te1_") | kohya(T5, "lora_te3_"), {"flux1-dev", "sd35", "sd35-medium"}),
    ],
)
def test_where_tensors_leave_it_open_metadata_decide(shapes: Shapes, possible: set[str]) -> None:
    assert family_of(shapes, {}) is None
    assert {family_of(shapes, lie) for lie in LIES} == {None, *possible}


@pytest.mark.parametrize(
    "shapes", [kohya(flux(19, 38, 3072, "0 2 none")), dotted(some(FLUX_D, ".attn.to_"))]
)
def test_a_chroma_lora_that_looks_like_one_of_flux_is_told_by_its_metadata(
    shapes: Shapes, read
) -> None:
    assert read(shapes).family == "flux1-dev"
    reading = read(shapes, ss_base_model_version="chroma")
    assert (reading.family, reading.made_for) == (None, "Chroma")


def test_rank_and_form_are_told(read) -> None:
    told = {case: read(PROVEN[case][1]) for case in PROVEN if case.startswith("sd15, ")}
    forms = {case[6:]: (reading.form, reading.rank) for case, reading in told.items()}
    assert forms["dora"] == ("dora", RANK)
    assert forms["loha"] == ("loha", RANK)
    assert forms["lokr"] == ("lokr", RANK)
    assert forms["glora"] == ("glora", RANK)
    assert forms["full"] == ("full", None)
