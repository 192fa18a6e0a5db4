"""all-MiniLM-L6-v2 (Apache-2.0): one small encoder for search and for the starter's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

WEIGHTS = Path(__file__).parent / "weights"
MODEL_FILE = WEIGHTS / "minilm-int8.safetensors"
TOKENIZER_FILE = WEIGHTS / "tokenizer.json"

PROMPT_TOKENS = 32
"""Tokens of an encoded prompt, start and end marks included; longer prompts are cut."""

WIDTH = 384

# From the model's own config.json.
BERT_CONFIG: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": WIDTH,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
# From the model's own sentence_bert_config.json.
MAX_SENTENCE_TOKENS = 256
BATCH = 64


class Encoder:
    """MiniLM on the CPU, in float32. Make one with `encoder()`, which keeps it."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer
        from transformers.models.bert import BertConfig, BertModel

        from .quantized import load_quantized

        self._tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
        self._model = BertModel(BertConfig(**BERT_CONFIG), add_pooling_layer=False)
        self._model.eval()
        self.load_weights(load_quantized(MODEL_FILE))

    def load_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take other weights of the same shape, by the original's names."""
        missing = self._model.load_state_dict(tensors, strict=False).missing_keys
        if missing:
            raise ValueError(f"weights without {', '.join(missing)}")

    def embed(self, sentences: Sequence[str]) -> np.ndarray:
        """Mean-pooled, unit-length meaning of each sentence: float32, (len(sentences), 384)."""
        import numpy as np
        import torch

        rows: list[np.ndarray] = []
        for start in range(0, len(sentences), BATCH):
            ids, mask = self._tokens(sentences[start : start + BATCH], MAX_SENTENCE_TOKENS)
            states = self._states(ids, mask)
            weights = mask.unsqueeze(-1).float()
            mean = (states * weights).sum(1) / weights.sum(1)
            rows.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, WIDTH), np.float32)

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """The last hidden states of each prompt: float32, (len(prompts), 32, 384).

        Padded positions hold what the model gives for them; the starter was trained so.
        """
        import torch

        if not prompts:
            return torch.zeros(0, PROMPT_TOKENS, WIDTH)
        parts = []
        for start in range(0, len(prompts), BATCH):
            batch = prompts[start : start + BATCH]
            ids, mask = self._tokens(batch, PROMPT_TOKENS, pad_to=PROMPT_TOKENS)
            parts.append(self._states(ids, mask))
        return torch.cat(parts)

    def count_tokens(self, prompt: str) -> int:
        """How many tokens a prompt takes, start and end marks included."""
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        return len(self._tokenizer.encode(prompt).ids)

    def _tokens(
        self, texts: Sequence[str], limit: int, pad_to: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=pad_to)  # noqa: S106
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([e.ids for e in encoded])
        return ids, torch.tensor([e.attention_mask for e in encoded])

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return self._model(input_ids=ids, attention_mask=mask).last_hidden_state.clone()


@lru_cache(maxsize=1)
def encoder() -> Encoder:
    """The encoder of this process, loaded on the first call."""
    return Encoder()


def embed(sentences: Sequence[str]) -> np.ndarray:
    """Unit-length meanings of sentences; see `Encoder.embed`."""
    return encoder().embed(sentences)


def encode(prompts: Sequence[str]) -> torch.Tensor:
    """Token states of prompts; see `Encoder.encode`."""
    return encoder().encode(prompts)
