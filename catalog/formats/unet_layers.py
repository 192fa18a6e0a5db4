"""The layers of Stable Diffusion's UNets, in diffusers' names and in those of the first code.

Source: diffusers, UNet2DConditionModel and unet_2d_blocks.py; ComfyUI,
comfy/ldm/modules/diffusionmodules/openaimodel.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...core.request import Frozen


class UnetFacts(Frozen):
    """`widths` and `depths` (transformers in a row) of the levels; `context`: the text's width.

    `linear`: a transformer's first and last layer are no convolutions. `added`: width of what is
    told of the picture's size; None: nothing is.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    context: int
    linear: bool = False
    added: int | None = None


class Entry(NamedTuple):
    """A layer that a model has. `kernel`: side of its convolution, 0 for none.

    `group`, `number`: which row of like blocks it belongs to, "" for none.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 0
    group: str = ""
    number: int = 0


_Names = tuple[str, str]
"""diffusers' and the first code's name of a layer."""

_RESNET: tuple[_Names, ...] = (
    ("conv1", "in_layers_2"),
    ("time_emb_proj", "emb_layers_1"),
    ("conv2", "out_layers_3"),
    ("conv_shortcut", "skip_connection"),
)


def unet_layers(facts: UnetFacts) -> Iterator[Entry]:
    """Every layer, in both namings."""
    for (theirs, first), inputs, outputs, kernel in _layers(facts):
        yield Entry(theirs, inputs, outputs, kernel)
        if first != theirs:
            yield Entry(first, inputs, outputs, kernel)


def _layers(facts: UnetFacts) -> Iterator[tuple[_Names, int, int, int]]:
    widths, count = facts.widths, len(facts.widths)
    time = 4 * widths[0]
    for level, width in enumerate(widths):
        before = widths[max(level - 1, 0)]
        for layer in range(2):
            first = f"input_blocks_{1 + 3 * level + layer}"
            names = (f"down_blocks_{level}_resnets_{layer}", f"{first}_0")
            yield from _resnet(names, before if layer == 0 else width, width, time)
            names = (f"down_blocks_{level}_attentions_{layer}", f"{first}_1")
            yield from _transformers(names, facts.depths[level], width, facts)
        if level < count - 1:
            names = f"down_blocks_{level}_downsamplers_0_conv", f"input_blocks_{3 * level + 3}_0_op"
            yield names, width, width, 3
    last = widths[-1]
    for layer, place in enumerate((0, 2)):
        names = (f"mid_block_resnets_{layer}", f"middle_block_{place}")
        yield from _resnet(names, last, last, time)
    depth = max(facts.depths[-2:])
    yield from _transformers(("mid_block_attentions_0", "middle_block_1"), depth, last, facts)
    yield from _way_up(facts, time)
    yield ("time_embedding_linear_1", "time_embed_0"), widths[0], time, 0
    yield ("time_embedding_linear_2", "time_embed_2"), time, time, 0
    if facts.added is not None:
        yield ("add_embedding_linear_1", "label_emb_0_0"), facts.added, time, 0
        yield ("add_embedding_linear_2", "label_emb_0_2"), time, time, 0


def _way_up(facts: UnetFacts, time: int) -> Iterator[tuple[_Names, int, int, int]]:
    widths, depths = facts.widths[::-1], facts.depths[::-1]
    for level, width in enumerate(widths):
        before, skipped = widths[max(level - 1, 0)], widths[min(level + 1, len(widths) - 1)]
        for layer in range(3):
            first = f"output_blocks_{3 * level + layer}"
            inputs = (before if layer == 0 else width) + (skipped if layer == 2 else width)
            yield from _resnet(
                (f"up_blocks_{level}_resnets_{layer}", f"{first}_0"), inputs, width, time
            )
            names = (f"up_blocks_{level}_attentions_{layer}", f"{first}_1")
            yield from _transformers(names, depths[level], width, facts)
        if level < len(widths) - 1:
            first = f"output_blocks_{3 * level + 2}_{2 if depths[level] else 1}_conv"
            yield (f"up_blocks_{level}_upsamplers_0_conv", first), width, width, 3


def _resnet(
    names: Sequence[str], inputs: int, width: int, time: int
) -> Iterator[tuple[_Names, int, int, int]]:
    sizes = ((inputs, 3), (time, 0), (width, 3), (inputs, 1))
    for (theirs, first), (wide, kernel) in zip(_RESNET, sizes, strict=True):
        if theirs == "conv_shortcut" and inputs == width:
            continue
        yield (f"{names[0]}_{theirs}", f"{names[1]}_{first}"), wide, width, kernel


def _transformers(
    names: Sequence[str], depth: int, width: int, facts: UnetFacts
) -> Iterator[tuple[_Names, int, int, int]]:
    if not depth:
        return
    ends = (width, width, 0 if facts.linear else 1)
    found: dict[str, tuple[int, int, int]] = {"proj_in": ends, "proj_out": ends}
    for i in range(depth):
        block = f"transformer_blocks_{i}"
        for attention, inputs in (("attn1", width), ("attn2", facts.context)):
            found[f"{block}_{attention}_to_q"] = (width, width, 0)
            found[f"{block}_{attention}_to_k"] = (inputs, width, 0)
            found[f"{block}_{attention}_to_v"] = (inputs, width, 0)
            found[f"{block}_{attention}_to_out_0"] = (width, width, 0)
        found[f"{block}_ff_net_0_proj"] = (width, 8 * width, 0)
        found[f"{block}_ff_net_2"] = (4 * width, width, 0)
    for name, (inputs, outputs, kernel) in found.items():
        yield (f"{names[0]}_{name}", f"{names[1]}_{name}"), inputs, outputs, kernel
