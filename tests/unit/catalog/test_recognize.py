from __future__ import annotations

import struct
from pathlib import Path

import pytest
from kizy.catalog.families.family import load_families
from kizy.catalog.formats.recognize import checkpoint_family, lora_family, lora_modules
from kizy.catalog.formats.safetensors_header import Header, TensorInfo, read_header

Shapes = dict[str, tuple[int, ...]]

ATTN = "transformer_blocks_0_attn2_to_k"
UNET_ROOT = "model.diffusion_model."


def header(shapes: Shapes, metadata: dict[str, str] | None = None) -> Header:
    tensors = {name: TensorInfo("F16", shape, 0) for name, shape in shapes.items()}
    return Header(Path("a.safetensors"), tensors, metadata or {})


def lora(module: str, inputs: int, outputs: int = 320) -> Shapes:
    """One module in kohya's names, rank 8."""
    return {
        f"{module}.lora_down.weight": (8, inputs),
        f"{module}.lora_up.weight": (outputs, 8),
        f"{module}.alpha": (),
    }


def peft(module: str, inputs: int, outputs: int = 320) -> Shapes:
    """One module in diffusers' names, rank 8."""
    return {f"{module}.lora_A.weight": (8, inputs), f"{module}.lora_B.weight": (outputs, 8)}


def lora_id(shapes: Shapes, metadata: dict[str, str] | None = None) -> str | None:
    family = lora_family(header(shapes, metadata), load_families())
    return family.id if family else None


def checkpoint_id(shapes: Shapes, metadata: dict[str, str] | None = None) -> str | None:
    family = checkpoint_family(header(shapes, metadata), load_families())
    return family.id if family else None


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("starter", lora(f"lora_unet_down_blocks_0_attentions_0_{ATTN}", 384, 64)),
        ("sd15", lora(f"lora_unet_down_blocks_0_attentions_0_{ATTN}", 768)),
        ("sdxl", lora(f"lora_unet_input_blocks_4_1_{ATTN}", 2048, 640)),
        ("sd35", lora("lora_unet_joint_blocks_0_x_block_attn_qkv", 2432, 7296)),
        ("flux1-dev", lora("lora_unet_single_blocks_37_linear1", 3072, 21504)),
        ("flux1-dev", lora("lora_unet_double_blocks_18_img_attn_qkv", 3072, 9216)),
        ("flux1-dev", lora("lora_unet_double_blocks_0_img_mlp_0", 3072, 12288)),
    ],
)
def test_a_lora_in_kohya_names_is_recognised(family: str, shapes: Shapes) -> None:
    assert lora_id(shapes) == family


@pytest.mark.parametrize(
    ("family", "module", "inputs"),
    [
        ("starter", "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 384),
        ("sd15", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 768),
        ("sd15", "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v", 768),
        ("sdxl", "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 2048),
        (
            "sdxl",
            "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
            2048,
        ),
        ("sd35", "transformer.transformer_blocks.0.attn.to_q", 2432),
        ("flux1-dev", "transformer.single_transformer_blocks.0.attn.to_q", 3072),
        ("flux1-dev", "transformer.transformer_blocks.0.ff.net.0.proj", 3072),
    ],
)
def test_a_lora_in_diffusers_names_is_recognised(family: str, module: str, inputs: int) -> None:
    assert lora_id(peft(module, inputs)) == family


@pytest.mark.parametrize(
    ("family", "module", "inputs", "outputs"),
    [
        ("sdxl", "input_blocks.4.1.transformer_blocks.0.attn2.to_k", 2048, 640),
        ("flux1-dev", "single_blocks.0.linear1", 3072, 21504),
        ("sd35", "joint_blocks.0.x_block.attn.qkv", 2432, 7296),
    ],
)
def test_a_lora_in_comfyui_names_is_recognised(
    family: str, module: str, inputs: int, outputs: int
) -> None:
    assert lora_id(peft(f"diffusion_model.{module}", inputs, outputs)) == family


def test_a_lora_of_an_old_diffusers_processor_is_recognised() -> None:
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora"
    shapes = {f"{module}.down.weight": (4, 768), f"{module}.up.weight": (320, 4)}
    assert lora_id(shapes) == "sd15"
    expected = f"lora_unet_down_blocks_0_attentions_0_{ATTN}"
    assert lora_modules(header(shapes)).names == {expected}


@pytest.mark.parametrize(
    "shapes",
    [
        lora(f"lora_unet_down_blocks_0_attentions_0_{ATTN}", 1024),
        peft("diffusion_model.transformer_blocks.0.attn2.to_k", 2048, 2048),
        lora("lora_unet_single_blocks_37_linear1", 3072, 21504)
        | lora("lora_unet_single_blocks_39_linear1", 3072, 21504),
        lora("lora_unet_single_blocks_0_linear1", 3072, 27648),
        peft("transformer.transformer_blocks.0.attn.to_q", 3072, 3072),
        {"some.weight": (4, 768)},
    ],
    ids=["sd2", "ltx", "hunyuan-video", "flux2-klein", "qwen-image", "no-lora"],
)
def test_a_lora_of_another_model_is_of_no_family(shapes: Shapes) -> None:
    assert lora_id(shapes) is None


@pytest.mark.parametrize(
    ("family", "metadata"),
    [
        ("sd15", {"ss_base_model_version": "sd_v1"}),
        ("sdxl", {"ss_base_model_version": "sdxl_base_v1-0"}),
        ("sdxl", {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}),
        ("flux1-dev", {"ss_base_model_version": "flux1"}),
        ("flux1-schnell", {"modelspec.architecture": "flux-1-schnell/lora"}),
        ("sd35", {"modelspec.architecture": "stable-diffusion-3-5-large/lora"}),
    ],
)
def test_metadata_decides_where_tensors_do_not(family: str, metadata: dict[str, str]) -> None:
    assert lora_id(lora("lora_te_text_model_encoder_layers_0_mlp_fc1", 768), metadata) == family


def test_tensors_win_over_metadata() -> None:
    shapes = lora(f"lora_unet_down_blocks_0_attentions_0_{ATTN}", 768)
    assert lora_id(shapes, {"ss_base_model_version": "sdxl_base_v1-0"}) == "sd15"


def test_metadata_tells_a_schnell_lora_from_a_dev_lora() -> None:
    shapes = lora("lora_unet_single_blocks_37_linear1", 3072, 21504)
    metadata = {"modelspec.architecture": "flux-1-schnell/lora", "ss_base_model_version": "flux1"}
    assert lora_id(shapes, metadata) == "flux1-schnell"


def test_a_chroma_lora_is_no_flux_lora() -> None:
    shapes = lora("lora_unet_single_blocks_37_linear1", 3072, 21504)
    assert lora_id(shapes, {"ss_base_model_version": "chroma"}) is None


SD15: Shapes = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
SDXL: Shapes = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "label_emb.0.0.weight": (1280, 2816),
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    "input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
}
STARTER: Shapes = {
    "input_blocks.0.0.weight": (64, 8, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (64, 384),
}
SD35: Shapes = {
    "x_embedder.proj.weight": (2432, 16, 2, 2),
    "joint_blocks.0.context_block.attn.ln_k.weight": (64,),
}
SD35_MEDIUM: Shapes = {
    "x_embedder.proj.weight": (1536, 16, 2, 2),
    "joint_blocks.0.context_block.attn.ln_k.weight": (64,),
    "joint_blocks.0.x_block.attn2.qkv.weight": (4608, 1536),
}
SCHNELL: Shapes = {
    "img_in.weight": (3072, 64),
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
}
DEV: Shapes = SCHNELL | {"guidance_in.in_layer.weight": (3072, 256)}


@pytest.mark.parametrize("root", [UNET_ROOT, ""], ids=["checkpoint", "denoiser"])
@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("starter", STARTER),
        ("sd15", SD15),
        ("sdxl", SDXL),
        ("sd35", SD35),
        ("sd35-medium", SD35_MEDIUM),
        ("flux1-dev", DEV),
        ("flux1-schnell", SCHNELL),
    ],
)
def test_a_checkpoint_is_recognised(family: str, shapes: Shapes, root: str) -> None:
    assert checkpoint_id({root + name: shape for name, shape in shapes.items()}) == family


@pytest.mark.parametrize(
    "shapes",
    [
        SD15 | {"input_blocks.0.0.weight": (320, 9, 3, 3)},
        {name: shape for name, shape in SDXL.items() if ".9." not in name},
        SD35_MEDIUM | {"joint_blocks.0.x_block.attn2.qkv.weight": (3456, 1152)},
        DEV | {"img_in.weight": (3072, 384)},
        SCHNELL | {"distilled_guidance_layer.norms.0.scale": (5120,)},
        {},
    ],
    ids=["sd15-inpaint", "ssd-1b", "sd35-of-another-width", "flux-fill", "chroma", "empty"],
)
def test_a_variant_of_another_shape_is_of_no_family(shapes: Shapes) -> None:
    assert checkpoint_id({UNET_ROOT + name: shape for name, shape in shapes.items()}) is None


def test_a_checkpoint_with_unknown_tensors_is_recognised_by_metadata() -> None:
    metadata = {"modelspec.architecture": "stable-diffusion-xl-v1-base"}
    assert checkpoint_id({"x": (1,)}, metadata) == "sdxl"


def test_a_lora_is_no_checkpoint() -> None:
    metadata = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    assert checkpoint_id(lora(f"lora_unet_input_blocks_4_1_{ATTN}", 2048), metadata) is None


def test_modules_come_in_kohya_names() -> None:
    shapes = peft("unet.mid_block.attentions.0.proj_in", 1280) | peft(
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 768
    )
    assert lora_modules(header(shapes)).names == {
        "lora_unet_mid_block_attentions_0_proj_in",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    }


def test_two_text_encoders_are_numbered() -> None:
    layer = "text_model.encoder.layers.0.self_attn.q_proj"
    shapes = peft(f"text_encoder.{layer}", 768) | peft(f"text_encoder_2.{layer}", 1280)
    names = lora_modules(header(shapes)).names
    assert {name[:9] for name in names} == {"lora_te1_", "lora_te2_"}


def test_the_commonest_rank_is_the_rank() -> None:
    shapes = lora("lora_unet_a", 320) | lora("lora_unet_b", 320)
    shapes |= {"lora_unet_c.lora_down.weight": (64, 320)}
    assert lora_modules(header(shapes)).rank == 8


def test_the_alpha_is_read_from_the_file(tmp_path, write_bytes) -> None:
    values = {
        "lora_unet_a.alpha": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "lora_unet_a.lora_down.weight": {"dtype": "U8", "shape": [1, 1], "data_offsets": [4, 5]},
    }
    path = write_bytes(tmp_path / "a.safetensors", values, struct.pack("<f", 4.0) + b"\0")
    assert lora_modules(read_header(path)).alpha == 4.0


def test_the_alpha_comes_from_metadata_where_no_tensor_has_it() -> None:
    shapes = peft("unet.mid_block.attentions.0.proj_in", 1280)
    assert lora_modules(header(shapes, {"ss_network_alpha": "16.0"})).alpha == 16.0


def test_a_file_without_an_alpha_has_none() -> None:
    assert lora_modules(header(peft("unet.conv_in", 4), {"ss_network_alpha": "None"})).alpha is None
