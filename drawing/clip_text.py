"""Prompts through CLIP text encoders as ComfyUI encodes them: rows, weights and parts.

Each part of a prompt (BREAK) is cut into rows of 77 tokens; each row goes through the encoder by
itself, its states are moved by the weights, and all rows follow one another. What is pooled is the
first row's of the first part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..language.chunks import Marks, moved, rows, weighed
from ..language.prompt_syntax import parts, segments

_Read = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(rows x length) tokens to (states, pooled)."""


def last_layer(prompt: str, tokenizer: Any, encoder: Any, device: torch.device) -> torch.Tensor:
    """As SD 1.5 reads CLIP: the last layer, normed; 1 x (rows x 77) x width."""
    marks = marks_of(tokenizer, encoder)
    return _encoded(prompt, tokenizer, marks, device, lambda ids: (encoder(ids)[0], ids))[0]


def layer_before(
    prompt: str, tokenizer: Any, encoder: Any, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """As SDXL reads CLIP: (the last layer but one, 1 x (rows x 77) x width; what is pooled)."""

    def read(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = encoder(ids, output_hidden_states=True)
        return out.hidden_states[-2], out[0]

    return _encoded(prompt, tokenizer, marks_of(tokenizer, encoder), device, read)


def _encoded(
    prompt: str, tokenizer: Any, marks: Marks, device: torch.device, read: _Read
) -> tuple[torch.Tensor, torch.Tensor]:
    states, pools = [], []
    for part in parts(prompt):
        found = rows(segments(part), lambda text: tokens_of(text, tokenizer), marks)
        ids = [[token for token, _ in row] for row in found]
        if weighed(found):
            ids.append(marks.empty)
        out, pooled = read(torch.tensor(ids, device=device))
        if weighed(found):
            out = moved(out[:-1], out[-1], found)
        states.append(out.reshape(1, -1, out.shape[-1]))
        pools.append(pooled[:1])
    return torch.cat(states, 1), pools[0]


def marks_of(tokenizer: Any, encoder: Any) -> Marks:
    """What a tokenizer of transformers puts around words, in rows as long as the encoder reads."""
    return Marks(
        start=tokenizer.bos_token_id,
        end=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
        length=min(tokenizer.model_max_length, encoder.config.max_position_embeddings),
    )


def tokens_of(text: str, tokenizer: Any) -> list[int]:
    """A text's tokens without marks, however many."""
    return tokenizer(text, add_special_tokens=False, verbose=False).input_ids
