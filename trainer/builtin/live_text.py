"""Captions through text encoders that are trained themselves, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..lora_file import Part
from .cached import Size, Text


def encoders(pipe: Any) -> dict[Part, torch.nn.Module]:
    """The text encoders of a pipeline, by part."""
    parts: tuple[Part, ...] = ("text_encoder", "text_encoder_2")
    return {part: getattr(pipe, part) for part in parts if getattr(pipe, part, None) is not None}


def encode(pipe: Any, captions: Sequence[str], size: Size) -> Text:
    """As diffusers' pipelines encode a prompt (clip skip 0), but with gradients."""
    found = encoders(pipe)
    states = []
    pooled = None
    for part, encoder in found.items():
        tokenizer = getattr(pipe, part.replace("text_encoder", "tokenizer"))
        device = next(encoder.parameters()).device
        tokens = tokenizer(
            list(captions),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(device)
        if len(found) == 1:
            return Text(encoder(tokens)[0], {})
        out = encoder(tokens, output_hidden_states=True)
        # SDXL reads the last layer but one of both, and what the second one pools.
        states.append(out.hidden_states[-2])
        pooled = out[0]
    assert pooled is not None
    width, height = size
    ids = torch.tensor([[height, width, 0, 0, height, width]] * len(captions), device=pooled.device)
    extra = {"text_embeds": pooled, "time_ids": ids.to(pooled.dtype)}
    return Text(torch.cat(states, -1), extra)
