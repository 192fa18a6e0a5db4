"""The starter's text encoder in ComfyUI: MiniLM in ComfyUI's own BERT.

A plain prompt is encoded as `language.encode` does it; weights such as `(red:1.2)` work as for
every text encoder there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..language.encoder import BERT_CONFIG, MODEL_FILE, PROMPT_TOKENS, TOKENIZER_FILE, WIDTH
from ..language.quantized import load_quantized
from ._host import BertModel, SD1ClipModel, SD1Tokenizer, SDClipModel, SDTokenizer
from .word_pieces import END, PAD, START, WordPieces

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

READ = PROMPT_TOKENS - 2
"""Tokens beside the two marks."""

NAME = "minilm"
"""What ComfyUI calls the encoder in its state dict and in its options."""


class MiniLMTokenizer(SDTokenizer):
    """Text and weights to 32 tokens; what is longer is cut, as the starter was trained."""

    def __init__(
        self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            str(TOKENIZER_FILE),
            max_length=PROMPT_TOKENS,
            pad_with_end=False,
            embedding_directory=embedding_directory,
            embedding_size=WIDTH,
            embedding_key=NAME,
            tokenizer_class=WordPieces,
            tokenizer_data=tokenizer_data or {},
        )

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, **options: Any
    ) -> list[list[tuple[Any, ...]]]:
        """One row of 32 (token, weight); ComfyUI would go on in further rows."""
        rows = super().tokenize_with_weights(text, return_word_ids, **options)
        if len(rows) > 1:
            _log.warning("Kizy Starter reads %d tokens; left out: %s", READ, self._words(rows[1:]))
        return rows[:1]

    def _words(self, rows: list[list[tuple[Any, ...]]]) -> str:
        """What further rows say, in word pieces put together."""
        marks = (START, END, PAD)
        tokens = [entry[0] for row in rows for entry in row]
        pieces = [self.inv_vocab[t] for t in tokens if isinstance(t, int) and t not in marks]
        return " ".join(pieces).replace(" ##", "")


class StarterTokenizer(SD1Tokenizer):
    """The tokenizers of a starter: one."""

    def __init__(
        self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            embedding_directory=embedding_directory,
            tokenizer_data=tokenizer_data or {},
            name=NAME,
            tokenizer=MiniLMTokenizer,
        )


class MiniLM(SDClipModel):
    """BERT's last hidden states, 1 x 32 x 384; padding is masked inside BERT alone."""

    def __init__(
        self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            textmodel_json_config={**BERT_CONFIG, "pad_token_id": PAD},
            special_tokens={"start": START, "end": END, "pad": PAD},
            model_class=BertModel,
            enable_attention_masks=True,
            model_options=model_options or {},
        )


class StarterText(SD1ClipModel):
    """The text encoders of a starter: one, in float32."""

    def __init__(
        self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None
    ) -> None:
        import torch

        # ComfyUI offers float16. Token states are nearly parallel, and the starter lives on their
        # small differences: it would draw something else.
        del dtype
        super().__init__(
            device=device,
            dtype=torch.float32,
            model_options=model_options or {},
            name=NAME,
            clip_model=MiniLM,
        )


def text_weights() -> dict[str, torch.Tensor]:
    """MiniLM's weights by the names that StarterText gives them, float32."""
    tensors = load_quantized(MODEL_FILE)
    return {f"{NAME}.transformer.bert.{name}": value for name, value in tensors.items()}
