"""Layers of the models that LoRAs are made for, and LoRAs of them as each trainer writes them.

Sources: ComfyUI, comfy/lora.py and comfy/weight_adapter; sd-scripts, networks; LyCORIS; diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

Layer = tuple[str, int, int]
"""Name, input width, output width."""
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


def unet(
    widths: Sequence[int], depths: Sequence[int], context: int, ldm: bool = False
) -> Iterator[Layer]:
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


def flux(
    double: int, single: int, width: int, names: str = "0 2 lin", mlp: int = 4, out: int = 4
) -> Iterator[Layer]:
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
WAN_D = rows("blocks", 40, TWO, 5120)


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
