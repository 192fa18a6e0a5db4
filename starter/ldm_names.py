"""Names of a UNet's layers in the original (latent-diffusion) form, which ComfyUI reads.

Good for every UNet of two residual layers a level with attention at the upsampling levels: the
starter and SDXL (Stability's sd_xl_base.yaml: channel_mult [1, 2, 4], num_res_blocks 2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

# The input side holds two layers and one change of size a level behind its first convolution,
# the output side three layers a level.
_PLAIN = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_PLAIN_BACK = {original: name for name, original in _PLAIN.items()}
_RESNET_BACK = {original: name for name, original in _RESNET.items()}


def _of_such_a_unet(translate: Callable[[str], str]) -> Callable[[str], str]:
    """Turns the KeyError of a name that no table and no rule has into a ValueError."""

    @wraps(translate)
    def checked(name: str) -> str:
        try:
            return translate(name)
        except KeyError:
            raise ValueError(f"{name} is no layer of such a UNet") from None

    return checked


@_of_such_a_unet
def ldm_name(name: str) -> str:
    """The original name of a layer that diffusers calls `name` (no `.weight` at its end).

    Raises ValueError for a layer that such a UNet does not have.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    if found := re.fullmatch(r"down_blocks\.(\d)\.(attentions|resnets)\.(\d)\.(.+)", name):
        level, kind, layer, rest = found.groups()
        return _layer(f"input_blocks.{1 + 3 * int(level) + int(layer)}", kind, rest)
    if found := re.fullmatch(r"up_blocks\.(\d)\.(attentions|resnets)\.(\d)\.(.+)", name):
        level, kind, layer, rest = found.groups()
        return _layer(f"output_blocks.{3 * int(level) + int(layer)}", kind, rest)
    if found := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", name):
        return f"middle_block.1.{found[1]}"
    if found := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", name):
        return f"middle_block.{2 * int(found[1])}.{_RESNET[found[2]]}"
    if found := re.fullmatch(r"down_blocks\.(\d)\.downsamplers\.0\.conv", name):
        return f"input_blocks.{3 * int(found[1]) + 3}.0.op"
    if found := re.fullmatch(r"up_blocks\.(\d)\.upsamplers\.0\.conv", name):
        return f"output_blocks.{3 * int(found[1]) + 2}.2.conv"
    raise KeyError(name)


@_of_such_a_unet
def diffusers_name(name: str) -> str:
    """The way back: diffusers' name of a layer that is called `name` in the original form.

    Raises ValueError for a layer that such a UNet does not have.
    """
    if name in _PLAIN_BACK:
        return _PLAIN_BACK[name]
    if found := re.fullmatch(r"middle_block\.(\d)\.(.+)", name):
        index, rest = int(found[1]), found[2]
        if index == 1:
            return f"mid_block.attentions.0.{rest}"
        return f"mid_block.resnets.{index // 2}.{_RESNET_BACK[rest]}"
    if found := re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name):
        side, block, part, rest = found[1], int(found[2]), int(found[3]), found[4]
        level, layer = divmod(block - 1 if side == "input" else block, 3)
        way = "down_blocks" if side == "input" else "up_blocks"
        if rest == "op":
            return f"down_blocks.{level}.downsamplers.0.conv"
        if part == 2:
            return f"up_blocks.{level}.upsamplers.0.conv"
        if part == 1:
            return f"{way}.{level}.attentions.{layer}.{rest}"
        return f"{way}.{level}.resnets.{layer}.{_RESNET_BACK[rest]}"
    raise KeyError(name)


def _layer(block: str, kind: str, rest: str) -> str:
    return f"{block}.1.{rest}" if kind == "attentions" else f"{block}.0.{_RESNET[rest]}"
