"""LoRAs as the field writes them: every family, every naming, every form; and those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from kizy.catalog.family import load_families
from kizy.catalog.lora_names import layers, parts
from kizy.catalog.reading import Reader, Reading
from kizy.catalog.recognize import decide, judge
from kizy.catalog.safetensors_header import Header, TensorInfo

Layer = tuple[str, int, int]
Shapes = dict[str, tuple[int, ...]]

RANK = 16
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
JOINT = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


# Layers of the models, in the names of their code.


def transformer(name: str, depth: int, width: int, context: int) -> Iterator[Layer]:
    yield f"{name}.proj_in", width, width
    yield f"{name}.proj_out", width, width
    for i in range(depth):
        block = f"{name}.transformer_blocks.{i}"
        for attention, inputs in (("attn1", width), ("attn2", context)):
            for part in ATTENTION:
                yield f"{block}.{attention}.{part}", inputs if part[3] in "kv" else width, width
        yield f"{block}.ff.net.0.proj", width, 8 * width
        yield f"{block}.ff.net.2", 4 * width, width


def unet(widths: Sequence[int], depths: Sequence[int], context: int, ldm: bool = False):
    levels = [(level, w, d) for level, (w, d) in enumerate(zip(widths, depths, strict=True)) if d]
    top = len(widths) - 1
    for level, width, depth in levels:
        for i in range(2):
            down = (
                f"input_blocks.{1 + 3 * level + i}.1"
                if ldm
                else f"down_blocks.{level}.attentions.{i}"
            )
            yield from transformer(down, depth, width, context)
        for i in range(3):
            up = top - level
            place = f"output_blocks.{3 * up + i}.1" if ldm else f"up_blocks.{up}.attentions.{i}"
            yield from transformer(place, depth, width, context)
    middle = "middle_block.1" if ldm else "mid_block.attentions.0"
    yield from transformer(middle, max(depths[-2:]), widths[-1], context)


def clip(layers: int, width: int) -> Iterator[Layer]:
    for i in range(layers):
        layer = f"text_model.encoder.layers.{i}"
        yield f"{layer}.mlp.fc1", width, 4 * width
        yield f"{layer}.mlp.fc2", 4 * width, width
        yield f"{layer}.self_attn.q_proj", width, width


def mmdit(width: int, depth: int, dual: int = 0) -> Iterator[Layer]:
    for i in range(depth):
        for part in ("context_block", "x_block"):
            block, two = f"joint_blocks.{i}.{part}", part == "x_block" and i < dual
            yield f"{block}.adaLN_modulation.1", width, (9 if two else 6) * width
            for attention in ("attn", "attn2")[: 1 + two]:
                yield f"{block}.{attention}.qkv", width, 3 * width
                yield f"{block}.{attention}.proj", width, width
            yield f"{block}.mlp.fc1", width, 4 * width
            yield f"{block}.mlp.fc2", 4 * width, width


def joint(width: int, depth: int, dual: int = 0) -> Iterator[Layer]:
    """SD 3's and FLUX's double blocks in diffusers' names."""
    for i in range(depth):
        block = f"transformer_blocks.{i}"
        for part in JOINT:
            yield f"{block}.attn.{part}", width, width
        for part in ("ff", "ff_context"):
            yield f"{block}.{part}.net.0.proj", width, 4 * width
            yield f"{block}.{part}.net.2", 4 * width, width
        yield f"{block}.norm1.linear", width, (9 if i < dual else 6) * width
        for part in ATTENTION if i < dual else ():
            yield f"{block}.attn2.{part}", width, width


def flux(double: int, single: int, width: int, names: str = "0 2 lin", mlp: int = 4, out: int = 4):
    first, second, modulation = names.split()
    for i in range(double):
        for part in ("img", "txt"):
            block = f"double_blocks.{i}.{part}"
            yield f"{block}_attn.qkv", width, 3 * width
            yield f"{block}_attn.proj", width, width
            yield f"{block}_mlp.{first}", width, mlp * width
            yield f"{block}_mlp.{second}", out * width, width
            if modulation != "none":
                yield f"{block}_mod.{modulation}", width, 6 * width
    for i in range(single):
        yield f"single_blocks.{i}.linear1", width, (3 + mlp) * width
        yield f"single_blocks.{i}.linear2", (1 + out) * width, width
        if modulation != "none":
            yield f"single_blocks.{i}.modulation.{modulation}", width, 3 * width


def flux_diffusers(double: int, single: int, width: int = 3072) -> Iterator[Layer]:
    yield from joint(width, double)
    for i in range(single):
        block = f"single_transformer_blocks.{i}"
        for part in ATTENTION[:3]:
            yield f"{block}.attn.{part}", width, width
        yield f"{block}.norm.linear", width, 3 * width
        yield f"{block}.proj_mlp", width, 4 * width
        yield f"{block}.proj_out", 5 * width, width


def rows(pattern: str, count: int, names: Iterable[str], width: int) -> list[Layer]:
    return [(f"{pattern}.{i}.{name}", width, width) for i in range(count) for name in names]


SD15 = [*unet((320, 640, 1280, 1280), (1, 1, 1, 0), 768)]
SD2 = [*unet((320, 640, 1280, 1280), (1, 1, 1, 0), 1024)]
SDXL = [*unet((320, 640, 1280), (0, 2, 10), 2048)]
SDXL_LDM = [*unet((320, 640, 1280), (0, 2, 10), 2048, ldm=True)]
REFINER = [*unet((384, 768, 1536, 1536), (0, 4, 4, 0), 1280, ldm=True)]
STARTER = [*unet((64, 128, 256), (1, 1, 1), 384)]
CLIP_L, CLIP_G, CLIP_H = [*clip(12, 768)], [*clip(32, 1280)], [*clip(23, 1024)]
T5 = rows("encoder.block", 24, [f"layer.0.SelfAttention.{part}" for part in "qkvo"], 4096)
LARGE, MEDIUM, SD3 = [*mmdit(2432, 38)], [*mmdit(1536, 24, 13)], [*mmdit(1536, 24)]
LARGE_D, MEDIUM_D, SD3_D = [*joint(2432, 38)], [*joint(1536, 24, 13)], [*joint(1536, 24)]
FLUX, FLUX_D = [*flux(19, 38, 3072)], [*flux_diffusers(19, 38)]
HUNYUAN, HUNYUAN_D = [*flux(20, 40, 3072, "fc1 fc2 linear")], [*flux_diffusers(20, 40)]
KLEIN = [*flux(5, 20, 3072, "0 2 none", 6, 3)]
QWEN = rows("transformer_blocks", 60, [f"attn.{part}" for part in JOINT], 3072)
AURA = rows("joint_transformer_blocks", 4, [f"attn.{part}" for part in JOINT], 3072) + rows(
    "single_transformer_blocks", 32, [f"attn.{part}" for part in ATTENTION], 3072
)
WAN = rows("blocks", 40, [f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"], 5120)
TWO = [f"{a}.{p}" for a in ("attn1", "attn2") for p in ATTENTION]


def some(layers: Iterable[Layer], *words: str) -> list[Layer]:
    return [layer for layer in layers if any(word in layer[0] for word in words)]


# Namings and forms.

Form = Callable[[int, int], Shapes]


def plain(inputs: int, outputs: int) -> Shapes:
    return {".lora_down.weight": (RANK, inputs), ".lora_up.weight": (outputs, RANK), ".alpha": ()}


def convolved(inputs: int, outputs: int) -> Shapes:
    return {".lora_down.weight": (RANK, inputs, 1, 1), ".lora_up.weight": (outputs, RANK, 1, 1)}


def dora(inputs: int, outputs: int) -> Shapes:
    return plain(inputs, outputs) | {".dora_scale": (1, inputs)}


def peft(inputs: int, outputs: int, adapter: str = "") -> Shapes:
    ends = f".lora_A{adapter}.weight", f".lora_B{adapter}.weight"
    return {ends[0]: (RANK, inputs), ends[1]: (outputs, RANK)}


def loha(inputs: int, outputs: int) -> Shapes:
    return {
        ".hada_w1_a": (outputs, RANK),
        ".hada_w1_b": (RANK, inputs),
        ".hada_w2_a": (outputs, RANK),
        ".hada_w2_b": (RANK, inputs),
        ".alpha": (),
    }


def lokr(inputs: int, outputs: int) -> Shapes:
    return {
        ".lokr_w1": (8, 8),
        ".lokr_w2_a": (outputs // 8, RANK),
        ".lokr_w2_b": (RANK, inputs // 8),
        ".alpha": (),
    }


def lokr_whole(inputs: int, outputs: int) -> Shapes:
    return {".lokr_w1": (8, 8), ".lokr_w2": (outputs // 8, inputs // 8), ".alpha": ()}


def lokr_both(inputs: int, outputs: int) -> Shapes:
    second = {".lokr_w2_a": (outputs // 8, RANK), ".lokr_w2_b": (RANK, inputs // 8)}
    return {".lokr_w1_a": (8, 2), ".lokr_w1_b": (2, 8), **second}


def glora(inputs: int, outputs: int) -> Shapes:
    first = {".a1.weight": (inputs, RANK), ".a2.weight": (RANK, inputs)}
    return first | {".b1.weight": (outputs, RANK), ".b2.weight": (RANK, inputs)}


def oft(_inputs: int, outputs: int) -> Shapes:
    return {".oft_blocks": (4, outputs // 4, outputs // 4), ".alpha": ()}


def boft(_inputs: int, outputs: int) -> Shapes:
    return {".oft_blocks": (3, 4, outputs // 4, outputs // 4), ".alpha": ()}


def full(inputs: int, outputs: int) -> Shapes:
    return {".diff": (outputs, inputs)}


def kohya(layers: Iterable[Layer], prefix: str = "lora_unet_", form: Form = plain) -> Shapes:
    return {
        prefix + name.replace(".", "_") + end: shape
        for name, inputs, outputs in layers
        for end, shape in form(inputs, outputs).items()
    }


def dotted(layers: Iterable[Layer], prefix: str = "", form: Form = peft) -> Shapes:
    return {
        prefix + name + end: shape
        for name, inputs, outputs in layers
        for end, shape in form(inputs, outputs).items()
    }


def named(adapter: str) -> Form:
    return lambda inputs, outputs: peft(inputs, outputs, adapter)


def ending(down: str, up: str) -> Form:
    return lambda inputs, outputs: {down: (RANK, inputs), up: (outputs, RANK)}


OLD = ending(".lora.down.weight", ".lora.up.weight")
OLDER = ending(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")
CANNY = {"img_in.lora_A.weight": (128, 128), "img_in.lora_B.weight": (3072, 128)}
FILL = {"transformer.x_embedder.lora_A.weight": (8, 384)}
GUIDED = [("distilled_guidance_layer.layers.0.in_layer", 5120, 5120)]
MOTION = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0"

PROVEN: dict[str, tuple[str, Shapes]] = {
    "starter": ("starter", kohya(STARTER, form=convolved)),
    "starter, LDM names": ("starter", kohya(unet((64, 128, 256), (1, 1, 1), 384, ldm=True))),
    "sd15": ("sd15", kohya(SD15) | kohya(CLIP_L, "lora_te_")),
    "sd15, UNet": ("sd15", kohya(SD15)),
    "sd15, first layers only": ("sd15", kohya(some(SD15, "proj_in"), form=convolved)),
    "sd15, one key": ("sd15", kohya(some(SD15, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"))),
    "sd15, PEFT": ("sd15", dotted(SD15, "unet.") | dotted(CLIP_L, "text_encoder.")),
    "sd15, PEFT alone": ("sd15", dotted(SD15, "base_model.model.", named(".default"))),
    "sd15, PEFT in a UNet": ("sd15", dotted(SD15, "unet.base_model.model.")),
    "sd15, adapter with a name": ("sd15", dotted(SD15, "unet.", named(".my-style"))),
    "sd15, old diffusers": ("sd15", dotted(SD15, "unet.", OLD)),
    "sd15, older diffusers": ("sd15", dotted(SD15, "unet.", OLDER)),
    "sd15, ComfyUI": ("sd15", dotted(unet((320, 640, 1280, 1280), (1, 1, 1, 0), 768, ldm=True), "diffusion_model.", plain)),
    "sd15, SimpleTuner": ("sd15", kohya(SD15, "lycoris_", lokr)),
    **{f"sd15, {form.__name__}": ("sd15", kohya(SD15, form=form)) for form in (dora, loha, lokr, lokr_whole, lokr_both, glora, full)},
    "sdxl": ("sdxl", kohya(SDXL_LDM) | kohya(CLIP_L, "lora_te1_") | kohya(CLIP_G, "lora_te2_")),
    "sdxl, LCM": ("sdxl", kohya(SDXL)),
    "sdxl, self-attention": ("sdxl", kohya(some(SDXL_LDM, "attn1"))),
    "sdxl, B-LoRA": ("sdxl", dotted(some(SDXL, "up_blocks.0.attentions.1"), "unet.", OLD)),
    "sdxl, one query": ("sdxl", dotted(some(SDXL, "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"), "unet.")),
    "sdxl, one MLP": ("sdxl", kohya(some(SDXL_LDM, "input_blocks.7.1.transformer_blocks.5.ff"))),
    "sdxl, PEFT": ("sdxl", dotted(SDXL, "unet.") | dotted(CLIP_G, "text_encoder_2.")),
    "sdxl, ComfyUI": ("sdxl", dotted(SDXL_LDM, "diffusion_model.", plain) | dotted(CLIP_G, "text_encoders.clip_g.transformer.", plain)),
    "sdxl, SimpleTuner": ("sdxl", kohya(SDXL, "lycoris_", lokr)),
    **{f"sdxl, {form.__name__}": ("sdxl", kohya(SDXL_LDM, form=form)) for form in (dora, loha, lokr, lokr_both, glora, oft, boft, full)},
    "sd35": ("sd35", kohya(LARGE) | kohya(CLIP_G, "lora_te2_") | kohya(T5, "lora_te3_")),
    "sd35, PEFT": ("sd35", dotted(LARGE_D, "transformer.")),
    "sd35, PEFT alone": ("sd35", dotted(LARGE_D, "base_model.model.")),
    "sd35, OneTrainer": ("sd35", kohya(LARGE_D, "lora_transformer_")),
    "sd35, ComfyUI": ("sd35", dotted(LARGE, "diffusion_model.")),
    "sd35, SimpleTuner": ("sd35", kohya(LARGE_D, "lycoris_", lokr)),
    "sd35, one key": ("sd35", dotted(some(LARGE_D, "blocks.30.attn.to_k"), "transformer.")),
    "sd35, MLPs": ("sd35", dotted(some(LARGE_D, ".ff."), "transformer.")),
    "sd35, one output": ("sd35", kohya(some(LARGE, "blocks.30.x_block.attn.proj"))),
    **{f"sd35, {form.__name__}": ("sd35", kohya(LARGE, form=form)) for form in (loha, lokr, oft, full)},
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
    "flux, two blocks": ("flux1-dev", dotted(some(FLUX_D, "single_transformer_blocks.7.", "single_transformer_blocks.20."), "transformer.")),
    "flux, ComfyUI": ("flux1-dev", dotted(FLUX, "diffusion_model.")),
    "flux, its makers": ("flux1-dev", dotted(FLUX)),
    "flux, OneTrainer": ("flux1-dev", kohya(FLUX_D, "lora_transformer_") | kohya(T5, "lora_te2_")),
    "flux, SimpleTuner": ("flux1-dev", kohya(FLUX_D, "lycoris_", lokr)),
    "flux, one linear2": ("flux1-dev", kohya(some(FLUX, "single_blocks.7.linear2"))),
    "flux, modulation": ("flux1-dev", kohya(some(FLUX, "_mod.lin"))),
    **{f"flux, {form.__name__}": ("flux1-dev", kohya(FLUX, form=form)) for form in (dora, loha, lokr, lokr_both, glora, oft, full)},
}  # fmt: skip

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
    "LTX": ("LTX-Video", dotted(rows("transformer_blocks", 28, TWO, 2048), "diffusion_model.")),
    "LTX, PEFT": ("LTX-Video", dotted(rows("transformer_blocks", 28, TWO, 2048), "transformer.")),
    "PixArt": ("PixArt", dotted(rows("transformer_blocks", 28, TWO, 1152), "transformer.")),
    "CogVideoX": ("CogVideoX", dotted(rows("transformer_blocks", 42, TWO[:4], 3072))),
    "Lumina": ("Lumina Image 2", kohya(rows("layers", 26, ["attention.qkv"], 2304))),
    "Z-Image": ("Z-Image", dotted(rows("layers", 30, ["attention.qkv"], 3840), "diffusion_model.")),
    "HiDream": ("HiDream", dotted(rows("double_stream_blocks", 16, ["block.attn1.to_q"], 2560))),
    "Cascade": ("Stable Cascade", kohya([("down_blocks.0.2.attention.attn.to_k", 2048, 2048)], "lora_prior_unet_")),
    "AnimateDiff": ("AnimateDiff (movement)", dotted([(f"{MOTION}.attention_blocks.0.to_q", 320, 320)])),
    "of nobody": (None, dotted(rows("strange", 8, ["layer"], 640), "diffusion_model.")),
}  # fmt: skip

FAMILIES = load_families()
LIES = [
    {"modelspec.architecture": f"{word}/lora"}
    for known in FAMILIES.values()
    if known.lora.twin_of is None
    for word in known.lora.architectures
] + [{"ss_base_model_version": w} for f in FAMILIES.values() for w in f.lora.base_versions[:1] if f.lora.twin_of is None]  # fmt: skip


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
    assert reading.text_encoder == any("te" in name[:9] for name in shapes if "lora_te" in name or "text_encoder" in name)  # fmt: skip


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
        (dotted(some(SDXL, "down_blocks.1.attentions.0.transformer_blocks.0.attn1")), {"sd15", "sdxl"}),
        (dotted(some(MEDIUM_D, ".attn."), "transformer."), {"sd35-medium"}),  # as SD 3 Medium
        (kohya(some(FLUX, "double_blocks.0.img_attn")), {"flux1-dev"}),  # as FLUX.2 [klein]
        (kohya(CLIP_L, "lora_te_"), {"sd15", "sdxl", "flux1-dev", "sd35", "sd35-medium"}),
        (kohya(CLIP_G, "lora_te2_"), {"sdxl", "sd35", "sd35-medium"}),
        (kohya(CLIP_L, "lora_te1_") | kohya(T5, "lora_te3_"), {"flux1-dev", "sd35", "sd35-medium"}),
    ],
)  # fmt: skip
def test_where_tensors_leave_it_open_metadata_decide(shapes: Shapes, possible: set[str]) -> None:
    assert family_of(shapes, {}) is None
    assert {family_of(shapes, lie) for lie in LIES} == {None, *possible}


@pytest.mark.parametrize(
    "shapes", [kohya(flux(19, 38, 3072, "0 2 none")), dotted(some(FLUX_D, ".attn.to_"))]
)
def test_a_chroma_lora_that_looks_like_one_of_flux_is_told_by_its_metadata(shapes: Shapes, read) -> None:  # fmt: skip
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
